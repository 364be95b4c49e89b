"""Whether XLA compiles gradient steps, which takes seconds and saves a millisecond a step."""

from __future__ import annotations

from tfdpm.config import DeepDPMConfig

__all__ = ["compiles_steps"]

# On one core compiling took as long as 2,000 to 3,000 steps saved, of 128 or 512 points in 10 to
# 128 dimensions, and 200 MiB. Fits often end after half of the epochs that they may take.
_PAYING_STEPS = 20_000


def compiles_steps(config: DeepDPMConfig, steps_per_epoch: int) -> bool:
    """`config.jit_compile`; where that is `"auto"`, whether a fit has so many steps that it pays.

    Args:
        config: with the epochs of the fit.
        steps_per_epoch: gradient steps of each.
    """
    if config.jit_compile != "auto":
        return config.jit_compile
    epochs = config.epochs
    if config.stable_epochs is not None:  # moves that are accepted may add more
        epochs = min(epochs, config.first_move_epoch + config.stable_epochs)
    return epochs * steps_per_epoch >= _PAYING_STEPS
