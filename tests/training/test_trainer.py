from __future__ import annotations

import pytest

from tfdpm.config import DeepDPMConfig
from tfdpm.training.trainer import kinds_due


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {4: (True, True), 6: (True, True)}),
        ({"alternate_moves": True}, {4: (True, False), 6: (False, True), 8: (True, False)}),
        ({"splits": False}, {4: (False, True), 6: (False, True)}),
        ({"merges": False}, {4: (True, False), 6: (True, False)}),
        ({"fixed_k": 3}, {4: (False, False), 6: (False, False)}),
    ],
)
def test_proposals_are_due_when_the_schedule_says(changes, expected):
    config = DeepDPMConfig(first_move_epoch=4, move_interval_epochs=2, **changes)
    for epoch in (0, 3, 5, 7):
        assert kinds_due(config, epoch) == (False, False)
    for epoch, kinds in expected.items():
        assert kinds_due(config, epoch) == kinds
