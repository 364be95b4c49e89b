"""The watchdog speaks when training is made to fail, and only then."""

from __future__ import annotations

import math
import warnings

import keras
import numpy as np
import pytest

from tests.swav.methods.test_swav import make_crops, make_dataset, make_model
from tfdpm.swav.monitoring import CollapseWatchdog, NearestNeighbours, TrainingState


def judge(watchdog, **logs):
    watchdog.set_model(make_model())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watchdog.on_epoch_end(5, logs)
    return watchdog.findings, [str(entry.message) for entry in caught]


HEALTHY = {
    "loss": 1.2,
    "code_entropy": 0.8,
    "mean_code_entropy": math.log(10),
    "used_prototypes": 1.0,
}


def test_healthy_training_passes_in_silence():
    assert judge(CollapseWatchdog(), **HEALTHY) == ({}, [])


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        ({"loss": math.log(10)}, "stuck", "sinkhorn_epsilon"),
        ({"loss": float("nan")}, "loss", "learning rate"),
        ({"code_entropy": 0.99 * math.log(10)}, "uniform", "sinkhorn_epsilon"),
        ({"mean_code_entropy": 0.3}, "mean", "sinkhorn_iterations"),
        ({"used_prototypes": 0.1}, "dead", "num_prototypes"),
    ],
)
def test_each_failure_is_named_with_its_remedy(change, name, remedy):
    findings, said = judge(CollapseWatchdog(), **(HEALTHY | change))
    assert list(findings) == [name]
    assert len(said) == 1 and remedy in said[0]


def test_nothing_is_judged_during_patience():
    watchdog = CollapseWatchdog(patience=6)
    assert judge(watchdog, **(HEALTHY | {"loss": 2.3}))[0] == {}


def test_bad_settings_make_the_watchdog_speak():
    model = make_model(sinkhorn_epsilon=1.0, renormalize_prototypes=False)
    watchdog = CollapseWatchdog(patience=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(make_dataset(make_crops()), epochs=1, verbose=0, callbacks=[watchdog])
    assert "uniform" in watchdog.findings


def test_logs_gain_accuracy_rate_and_queue():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.uniform(0, 0.2, size=(40, 12, 12, 1)).astype(np.float32)
    images[labels == 1] += 0.7
    model = make_model(keras.optimizers.SGD(0.25), queue_length=32)
    neighbours = NearestNeighbours(images[:30], labels[:30], images[30:], labels[30:], every=2, k=3)
    history = model.fit(
        make_dataset(make_crops()), epochs=3, verbose=0, callbacks=[neighbours, TrainingState()]
    ).history
    assert [epoch for epoch, _ in neighbours.history] == [2, 3]
    assert history["knn_accuracy"] == [accuracy for _, accuracy in neighbours.history]
    assert history["learning_rate"] == pytest.approx([0.25] * 3)
    assert history["queue_filled"] == [0.5, 1.0, 1.0]
    assert history["queue_active"] == [0.0, 1.0, 1.0]
