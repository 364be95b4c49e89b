"""Calibration of a fitted model's p-values on points that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfdpm

X, _ = tfdpm.data.gaussian_mixture(4, 3, 8000, separation=4.0, seed=2)
X = 5.0 * X - 40.0
TRAIN, HELD_OUT = X[:5000], X[5000:]


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(seed=0)
    model.fit(TRAIN, epochs=3, verbose=0)
    assert model.n_clusters == 4
    return model


def test_p_values_of_held_out_points_are_uniform(model):
    p_values = model.outlier_p(HELD_OUT)
    assert p_values.shape == (3000,) and p_values.dtype == np.float64
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_share_of_held_out_points_that_is_rejected_is_the_level(model, level):
    labels = model.predict_labels(HELD_OUT, reject_below=level)
    spread = np.sqrt(level * (1 - level) / len(HELD_OUT))
    assert (labels == -1).mean() == pytest.approx(level, abs=4 * spread)
    kept = labels >= 0
    np.testing.assert_array_equal(labels[kept], model.predict_labels(HELD_OUT)[kept])


def test_planted_outliers_are_rejected(model):
    rng = np.random.default_rng(0)
    span = TRAIN.max(axis=0) - TRAIN.min(axis=0)
    planted = rng.uniform(TRAIN.min(axis=0) - span, TRAIN.max(axis=0) + span, size=(500, 3))
    # Some fall into a cluster by chance: six deviations away from each is an outlier.
    offsets = planted[:, None] - model.means_
    precisions = np.linalg.inv(model.covariances_)
    distances = np.einsum("nkd,kde,nke->nk", offsets, precisions, offsets)
    planted = planted[distances.min(axis=1) > 36.0]
    assert len(planted) > 300
    assert (model.predict_labels(planted, reject_below=0.01) == -1).all()
    assert model.outlier_p(planted).max() < 1e-3


def test_nothing_is_rejected_unless_asked(model):
    far = np.full((3, 3), 1e6)
    assert (model.predict_labels(far) >= 0).all()
    assert (model.predict_labels(far, reject_below=0.0) >= 0).all()
    assert (model.predict_labels(far, reject_below=0.01) == -1).all()
    for level in (-0.1, 1.5):
        with pytest.raises(ValueError, match="`reject_below`"):
            model.predict_labels(far, reject_below=level)


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "1"
    model.export(folder)
    return tfdpm.load(folder)


@pytest.mark.parametrize("size", [1e18, 1e30, 3e38, 1e100, 1e150])
def test_points_beyond_all_others_belong_to_no_cluster(model, served, size):
    far = size * np.array([[1.0, 0.0, 0.0], [1.0, 1.0, -1.0], [0.0, -1.0, 0.0]])
    for answers in (model, served):
        np.testing.assert_array_equal(answers.outlier_p(far), 0.0)
        np.testing.assert_array_equal(answers.predict_labels(far, reject_below=0.01), -1)
        assert np.isfinite(answers.score_samples(far)).all()
        np.testing.assert_allclose(answers.predict(far).sum(axis=1), 1.0, rtol=1e-5)


def test_what_is_no_number_is_refused_or_has_no_probability(model, served):
    bad = np.full((2, 3), [np.nan, 0.0, 1.0], np.float32)
    for answers in (model, served):
        with pytest.raises(ValueError, match="`x`: got 2 NaN"):
            answers.predict_labels(bad)
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
        served._serve(inputs=tf.constant(bad))  # as a server calls it
    assert np.isfinite(model(bad)).all()
