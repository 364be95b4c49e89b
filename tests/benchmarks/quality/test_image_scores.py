"""Raw images in one call: what is measured of held-out ones, and what is written."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfdpm
from tfdpm import DeepDPMConfig
from tfdpm.benchmarks import sweep as sweeps
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.quality import image_scores
from tfdpm.benchmarks.sweep import Sweep


def bars(count=90):
    """Grey images of 8 x 8: an upright bar or a lying one."""
    labels = np.arange(count) % 2
    x = np.random.default_rng(0).integers(0, 50, size=(count, 8, 8)).astype(np.uint8)
    x[labels == 0, 2:4, 1:7] += 200
    x[labels == 1, 1:7, 5:7] += 200
    return x, labels


@pytest.fixture
def quick_fits(monkeypatch):
    """Fits two clusters of pixels, whatever is asked for; returns the calls."""
    calls, real = [], tfdpm.fit

    def fit(x, **options):
        asked = options.pop("features", "auto")
        calls.append((len(x), options["seed"], *[asked] * (asked != "auto")))
        options["config"] = DeepDPMConfig(fixed_k=2, epochs=1, min_steps_per_epoch=5)
        return real(x, features="pca", **options)

    monkeypatch.setattr(tfdpm, "fit", fit)
    return calls


def test_held_out_images_go_through_the_saved_model(quick_fits) -> None:
    record = image_scores.measure_held_out(LabelledData("bars", *bars()), seed=3)
    assert quick_fits == [(81, 3)] and record["count"] == 9
    assert record["nearest_cluster"] == record["neighbours"] == record["nmi"] == 1.0


def test_a_model_that_forgets_its_clusters_does_not_agree(quick_fits, monkeypatch) -> None:
    load = image_scores.keras.models.load_model

    class Swapped:
        def __init__(self, model):
            self._model, self.embed = model, model.embed

        def predict_labels(self, x):
            return 1 - self._model.predict_labels(x)

    monkeypatch.setattr(image_scores.keras.models, "load_model", lambda path: Swapped(load(path)))
    record = image_scores.measure_held_out(LabelledData("bars", *bars()), seed=0)
    assert record["nearest_cluster"] == record["neighbours"] == 0.0
    assert record["nmi"] == 1.0  # names of clusters are nothing to the score


def test_nearest_means_are_those_of_a_loop() -> None:
    generator = np.random.default_rng(0)
    rows, new = generator.normal(size=(30, 3)), generator.normal(size=(12, 3))
    labels = generator.choice([0, 2, 5], size=30)
    wanted = [
        min((0, 2, 5), key=lambda k: np.linalg.norm(rows[labels == k].mean(axis=0) - row))
        for row in new
    ]
    np.testing.assert_array_equal(image_scores._nearest_means(rows, labels, new), wanted)


def test_digits_and_files_are_clustered_whole_and_held_out(
    quick_fits, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(sweeps, "_QUICK_POINTS", 60)
    x, y = bars()
    np.savez(tmp_path / "bars.npz", x=x, y=y)
    out = tmp_path / "images.json"
    sweep = Sweep(data=[tmp_path / "bars.npz"], out=out, seed=2, quick=True)
    results = image_scores.run(sweep, peers="kmeans", features="auto")
    assert quick_fits == [(60, 2), (60, 2), (54, 2), (54, 2)]
    rows = [(record["data"], record["method"]) for record in results["records"]]
    methods = ("tfdpm", "kmeans on pixels")
    assert rows == [(data, method) for data in ("digits", "bars") for method in methods]
    assert [record["data"] for record in results["held_out"]] == ["digits", "bars"]
    assert results["held_out"][1]["nearest_cluster"] == 1.0
    assert json.loads(out.read_text())["held_out"] == results["held_out"]
    assert "New images through the saved model" in capsys.readouterr().out


def test_features_that_are_asked_for_are_learnt_once_for_each_file(
    quick_fits, tmp_path, capsys
) -> None:
    x, y = bars()
    np.savez(tmp_path / "bars.npz", x=x, y=y)
    sweep = Sweep(data=[tmp_path / "bars.npz"], out=tmp_path / "images.json", seeds=2)
    results = image_scores.run(sweep, features="swav", peers="none")
    assert quick_fits == [(90, 0, "swav"), (90, 1, "swav")]
    assert [record["data"] for record in results["records"]] == ["bars", "bars"]
    assert not results["held_out"] and "New images" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="^`--data`: got no file"):
        image_scores.run(Sweep(), features="swav", peers="none")
