"""The models that the project ships: each has its card, loads, and gives what its card says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm import metrics

FOLDER = Path(__file__).parents[1] / "saved_models"
NAMES = ("digits", "gaussians15", "mnist_embeddings")


def test_all_models_are_small_and_none_drops_out() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == list(NAMES)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 5_000_000


def test_one_documented_line_makes_each_model_anew() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"renew (\w+) ", text) == ["digits", "gaussians15", "mnist_embeddings"]


@pytest.mark.parametrize("name", NAMES)
def test_a_server_answers_as_the_model_that_python_loads(name) -> None:
    served = tf.saved_model.load(str(FOLDER / name / "1")).signatures["serving_default"]
    model = tfdpm.load(FOLDER / name)
    x = np.random.default_rng(0).normal(size=(20, *model.input_shape)).astype(np.float32)
    answers = served(inputs=tf.constant(x))
    np.testing.assert_array_equal(answers["labels"], model.predict_labels(x))
    np.testing.assert_allclose(answers["outlier_p"], model.outlier_p(x), atol=1e-6)


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
        assert model.drift(x).smallest_p < 0.01  # noise is unlike the digits of the fit
        return
    x, y = tfdpm.data.load(name)
    assert not any(model.drift(x).changes) and not model.drift(x).has_appeared
    accuracy = metrics.clustering_accuracy(y, model.predict_labels(x))
    printed = float(re.search(r"accuracy (\d\.\d+)", text)[1])
    assert accuracy == pytest.approx(printed, abs=0.002)
