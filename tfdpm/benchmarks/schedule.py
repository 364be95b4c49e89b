"""Long configurations made short enough to measure many of."""

from __future__ import annotations

from tfdpm import checks
from tfdpm.config import DeepDPMConfig

__all__ = ["shortened"]


def shortened(config: DeepDPMConfig, epochs: int) -> DeepDPMConfig:
    """The configuration with fewer epochs and its whole schedule brought forward in proportion.

    Args:
        config: any; its schedule stays as it is where `epochs` is not fewer than its own.
        epochs: most epochs, at least 1.
    """
    epochs = checks.integer(epochs, "--epochs", minimum=1)
    share = min(epochs / config.epochs, 1.0)
    changes = {
        name: round(getattr(config, name) * share)
        for name in ("frozen_epochs", "subcluster_start_epoch", "frozen_epochs_after_move")
    }
    changes |= {
        name: max(1, round(getattr(config, name) * share))
        for name in ("first_move_epoch", "move_interval_epochs")
    }
    if config.stable_epochs is not None:
        changes["stable_epochs"] = max(1, round(config.stable_epochs * share))
    return config.replace(epochs=epochs, **changes)
