"""Long training schedules made short enough to measure many fits."""

from __future__ import annotations

from tfdpm import checks
from tfdpm.config import DeepDPMConfig


def shorten_schedule(config: DeepDPMConfig, epochs: int | None) -> DeepDPMConfig:
    """Returns the configuration with fewer epochs and with its schedule shortened in proportion.

    No `epochs` return the configuration itself; of no fewer than it has, only these change.
    """
    if epochs is None:
        return config
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
