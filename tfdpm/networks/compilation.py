"""What is compiled: XLA takes seconds and saves a millisecond a step, a graph half a second."""

from __future__ import annotations

from tfdpm.config import DeepDPMConfig

# On one core compiling took as long as 2,000 to 3,000 steps saved, of 128 or 512 points in 10 to
# 128 dimensions, and 200 MiB. Fits often end after half of the epochs that they may take.
_PAYING_STEPS = 20_000
# A pass of statistics over 70,000 points takes twice as long without a graph, and tracing one as
# long as three passes.
_FEW_EPOCHS = 6


def compiles_steps(config: DeepDPMConfig, steps_per_epoch: int) -> bool:
    """`config.jit_compile`, or where that is `"auto"`, whether a fit has enough steps to pay."""
    if config.jit_compile != "auto":
        return config.jit_compile
    return _planned_epochs(config) * steps_per_epoch >= _PAYING_STEPS


def is_brief(config: DeepDPMConfig) -> bool:
    """Whether a fit has so few epochs that tracing what is done once in each does not pay."""
    return _planned_epochs(config) <= _FEW_EPOCHS


def _planned_epochs(config: DeepDPMConfig) -> int:
    if config.stable_epochs is None:
        return config.epochs
    # Moves that are accepted may add more.
    return min(config.epochs, config.first_move_epoch + config.stable_epochs)
