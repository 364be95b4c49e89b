from __future__ import annotations

import numpy as np
import pytest

from tfdpm.config import DeepDPMConfig
from tfdpm.data import gaussian_mixture
from tfdpm.deepdpm import DeepDPM
from tfdpm.training.sources import ArraySource
from tfdpm.training.trainer import Trainer, kinds_due


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


def test_last_pass_serves_the_end_unless_weights_have_changed(monkeypatch):
    x, _ = gaussian_mixture(3, 2, 300, seed=0)
    model = DeepDPM(DeepDPMConfig(start="kmeans", fixed_k=3, min_steps_per_epoch=5), seed=0)
    model.compile()
    trainer = Trainer(ArraySource(x.astype(np.float32)), model.config, 0)
    fitted, _ = trainer.step(trainer.begin(model.create_networks))
    passes, reduce = [], trainer.source.reduce
    monkeypatch.setattr(
        trainer.source, "reduce", lambda *given: passes.append(given) or reduce(*given)
    )
    trainer.finish(fitted)
    assert not passes
    bias = fitted.networks.clustering.head.bias
    before = np.array(bias)
    bias.assign(before + 1e-6)
    trainer.finish(fitted)
    assert len(passes) == 1
    bias.assign(before)
    trainer.finish(fitted)
    assert len(passes) == 1
