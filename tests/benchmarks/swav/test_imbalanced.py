"""SwAV and DPSwAV on a long tail: how the tail is made, what is measured of both."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

import tfdpm
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.swav import imbalanced as swav_imbalanced
from tfdpm.benchmarks.swav import overview as swav


def test_classes_fall_geometrically_to_a_tenth() -> None:
    y = np.repeat([3, 5, 9], 200)
    data = LabelledData("three", np.arange(600).reshape(600, 1, 1), y)
    tail = swav_imbalanced.long_tailed(data, seed=0)
    assert np.bincount(tail.y)[[3, 5, 9]].tolist() == [200, 63, 20]
    np.testing.assert_array_equal(y[tail.x.ravel()], tail.y)
    again, other = (swav_imbalanced.long_tailed(data, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.x, tail.x)
    assert not np.array_equal(other.x, tail.x)


def stand_in(seeds):
    """A model with the names that are used, whose encoder gives the mean and the spread."""

    class Model:
        @classmethod
        def small(cls, **options):
            seeds.append((options["seed"], options["num_images"], options["epochs"]))
            return cls()

        def view_options(self):
            return {"batch_size": 8}

        def fit(self, views, verbose):
            return types.SimpleNamespace(history={"loss": [3.0, 2.0]})

        @property
        def encoder(self):
            def predict(x, **_):
                return np.stack([x.mean(axis=(1, 2, 3)), np.full(len(x), 50.0)], axis=1)

            return types.SimpleNamespace(predict=predict)

    return Model


def test_both_are_trained_alike_and_scored(tmp_path, monkeypatch, capsys) -> None:
    seeds: list[tuple] = []
    methods = {"SwAV": stand_in(seeds), "DPSwAV": stand_in(seeds)}
    monkeypatch.setattr(swav_imbalanced, "_METHODS", methods)
    labelled = types.SimpleNamespace(labels_=np.zeros(112, np.int64))
    monkeypatch.setattr(tfdpm, "fit", lambda x, **options: labelled)
    y = np.repeat([0, 1], [100, 400])
    x = (20 + 150 * y[:, None, None] + np.zeros((500, 8, 8))).astype(np.uint8)
    np.savez(tmp_path / "two.npz", x=x, y=y)
    out = tmp_path / "s.json"
    results = swav.run([tmp_path / "two.npz"], out=out, seed=4, epochs=3, imbalanced=True)
    assert seeds == [(4, 112, 3)] * 2  # 100 + 40 images are left, four fifths train
    assert [record["method"] for record in results["records"]] == ["SwAV", "DPSwAV"]
    for record in results["records"]:
        assert (record["knn"], record["knn_by_class"], record["loss"]) == (1.0, 1.0, 2.0)
        assert (record["nmi"], record["clusters"]) == (0.0, 1)
    assert json.loads(out.read_text())["records"] == results["records"]
    assert "knn_by_class" in capsys.readouterr().out


def test_images_are_needed(tmp_path) -> None:
    with pytest.raises(ValueError, match="`--data`: got no file"):
        swav.run([], out=tmp_path / "s.json", imbalanced=True)
