"""Callbacks that stop by K, record moves and draw clusters."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfdpm
from tfdpm.callbacks import ClusterPlot, MoveLedger, StableClusters


def stopped_after(counts, **arguments):
    """The epoch after which a callback stops a training with these numbers of clusters."""
    callback = StableClusters(**arguments)
    callback.set_model(SimpleNamespace(stop_training=False))
    callback.on_train_begin()
    for epoch, count in enumerate(counts):
        callback.on_epoch_end(epoch, {"n_clusters": count})
        if callback.model.stop_training:
            return epoch
    return None


def test_training_stops_when_the_number_has_not_changed_for_as_long_as_asked():
    assert stopped_after([1, 2, 3, 3, 3, 3, 3], patience=3) == 5
    assert stopped_after([1, 2, 3, 3, 3, 2, 2], patience=3) is None


def test_epochs_before_the_start_do_not_count():
    assert stopped_after([1] * 10, patience=2) == 2
    assert stopped_after([1] * 10, patience=2, start_epoch=5) == 7


def test_logs_without_the_number_of_clusters_are_an_error():
    with pytest.raises(ValueError, match="`n_clusters`: got no such entry"):
        StableClusters().on_epoch_end(0, {"loss": 1.0})


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"start_epoch": -1}])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        StableClusters(**arguments)


# -- with a model ---------------------------------------------------------------------------------

X, _ = tfdpm.data.gaussian_mixture(3, 4, 300, seed=0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model that splits on its way, with what its ledger and its pictures have kept."""
    folder = tmp_path_factory.mktemp("callbacks")
    config = tfdpm.DeepDPMConfig(
        start="kmeans",
        min_steps_per_epoch=20,
        first_move_epoch=1,
        move_interval_epochs=1,
        stable_epochs=None,
    )
    ledger = MoveLedger(folder / "moves.csv")
    pictures = ClusterPlot(folder / "pictures", X, every_epochs=3)
    model = tfdpm.DeepDPM(config, seed=0)
    model.fit(X, epochs=7, verbose=0, callbacks=[ledger, pictures])
    return model, ledger, folder


def test_ledger_agrees_with_the_history(fitted):
    model, ledger, _ = fitted
    history = model.history.history
    assert sum(history["accepted_splits"]) >= 2
    for epoch in range(7):
        for kind in ("split", "merge"):
            made = [r for r in ledger.records if r["epoch"] == epoch and r["kind"] == kind]
            assert len(made) == history[f"proposed_{kind}s"][epoch]
            accepted = sum(record["is_accepted"] for record in made)
            assert accepted == history[f"accepted_{kind}s"][epoch]


def test_number_of_clusters_follows_from_the_ledger(fitted):
    model, ledger, _ = fitted
    change = {"split": 1, "merge": -1, "removal": -1}
    accepted = [record for record in ledger.records if record["is_accepted"]]
    assert 1 + sum(change[record["kind"]] for record in accepted) == model.n_clusters
    for record in accepted:
        assert record["kind"] == "removal" or record["log_ratio"] > 0
    first = next(record for record in ledger.records if record["kind"] == "split")
    assert first["components"] == (0,) and sum(first["sizes"]) == 300


def test_ledgers_file_holds_the_same(fitted):
    _, ledger, folder = fitted
    frame = pd.read_csv(folder / "moves.csv")
    assert list(frame.columns) == [
        "epoch",
        "kind",
        "components",
        "sizes",
        "log_ratio",
        "is_accepted",
    ]
    assert frame["kind"].tolist() == [record["kind"] for record in ledger.records]
    np.testing.assert_allclose(frame["log_ratio"], [r["log_ratio"] for r in ledger.records])


def test_pictures_are_drawn_every_few_epochs_and_at_the_end(fitted):
    pictures = sorted((fitted[2] / "pictures").iterdir())
    assert [path.name for path in pictures] == ["epoch_0003.png", "epoch_0006.png", "final.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_pictures_need_matplotlib_and_points_in_memory(tmp_path, monkeypatch):
    pictures = ClusterPlot(tmp_path, X)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="`ClusterPlot`: got no matplotlib"):
        pictures.on_train_begin()
    with pytest.raises(ValueError, match="`x`: got a stream"):
        ClusterPlot(tmp_path, tf.data.Dataset.from_tensor_slices(X))
    assert len(ClusterPlot(tmp_path, np.zeros((12_001, 2))).x) == 4001
