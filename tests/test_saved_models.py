"""The models that the project ships: each has its card, loads, and gives what its card says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tfdpm
from tfdpm import metrics

FOLDER = Path(__file__).parents[1] / "saved_models"
NAMES = ("digits", "gaussians15", "mnist_embeddings")


def test_all_models_are_small_and_none_drops_out() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == list(NAMES)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 5_000_000


@pytest.mark.parametrize("name", NAMES)
def test_model_loads_and_answers_as_its_card_says(name) -> None:
    model = tfdpm.load(FOLDER / name)
    text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    for wanted in ("| data |", "--seed 0", "| result |", f"saved_models/{name}/1"):
        assert wanted in text
    assert f"K = {model.n_clusters}" in text
    if name == "mnist_embeddings":  # whose data are not shipped
        x = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
        np.testing.assert_allclose(model.predict(x).sum(axis=1), 1.0, atol=1e-5)
        assert np.isfinite(model.score_samples(x)).all()
        return
    x, y = tfdpm.data.load(name)
    accuracy = metrics.clustering_accuracy(y, model.predict_labels(x))
    printed = float(re.search(r"accuracy (\d\.\d+)", text)[1])
    assert accuracy == pytest.approx(printed, abs=0.002)
