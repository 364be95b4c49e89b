"""Schedules brought forward in proportion."""

from __future__ import annotations

import pytest

from tfdpm.benchmarks.schedule import shorten_schedule
from tfdpm.config import DeepDPMConfig


def test_the_schedule_keeps_its_proportions() -> None:
    config = shorten_schedule(DeepDPMConfig.official(), 100)
    assert config.epochs == 100
    assert (config.frozen_epochs, config.subcluster_start_epoch) == (5, 9)
    assert (config.first_move_epoch, config.move_interval_epochs) == (11, 6)
    assert config.frozen_epochs_after_move == 1
    assert config.stable_epochs is None
    assert config.learning_rate == DeepDPMConfig.official().learning_rate


def test_moves_stay_possible_however_short_it_is() -> None:
    config = shorten_schedule(DeepDPMConfig.paper(), 3)
    assert (config.first_move_epoch, config.move_interval_epochs) == (1, 1)
    assert config.stable_epochs == 1


def test_longer_than_its_own_changes_only_the_epochs() -> None:
    assert shorten_schedule(DeepDPMConfig(), 80) == DeepDPMConfig(epochs=80)
    assert shorten_schedule(DeepDPMConfig.paper(), None) == DeepDPMConfig.paper()
    with pytest.raises(ValueError, match="--epochs"):
        shorten_schedule(DeepDPMConfig(), 0)
