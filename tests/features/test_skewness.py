"""Logarithms of skewed columns, held to SciPy, slow loops and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfdpm.features import skewness as module

SCALES = np.array([0.5, np.inf, 40.0])


def lognormal_clusters(seed=0, num_points=600):
    """Two clusters far apart, log-normal in the first column and Gaussian in the second."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [num_points // 3, num_points - num_points // 3])
    noise = generator.normal(size=(num_points, 2))
    first = np.exp(0.6 * noise[:, 0] + np.array([0.0, 4.0])[labels])
    return np.stack([first, 20.0 + noise[:, 1]], axis=1), labels


def test_expanding_undoes_compressing_for_numbers_of_either_sign():
    rows = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 10.0, 1000.0]
    compressed = module.compress(rows, SCALES)
    np.testing.assert_allclose(module.expand(compressed, SCALES), rows, rtol=1e-10)
    np.testing.assert_array_equal(compressed[:, 1], rows[:, 1])
    np.testing.assert_array_equal(module.compress(-rows, SCALES), -compressed)


def test_compressed_numbers_are_logarithms_beside_the_scale():
    expected = [0.5 * np.log(1.0 + 3.0 / 0.5), 3.0, 40.0 * np.log(1.0 + 3.0 / 40.0)]
    np.testing.assert_allclose(module.compress(np.full(3, 3.0), SCALES), expected)


def test_slopes_are_numerical_derivatives():
    rows, step = np.random.default_rng(1).normal(size=(50, 3)) * 20.0, 1e-6
    rise = module.compress(rows + step, SCALES) - module.compress(rows - step, SCALES)
    slopes = module.log_slopes(module.compress(rows, SCALES), SCALES)
    np.testing.assert_allclose(slopes, np.log(rise / (2 * step)), atol=1e-6)


def test_skewness_within_clusters_is_scipys_weighted_by_sizes():
    x, labels = lognormal_clusters()
    expected = np.average([stats.skew(x[labels == k, 0]) for k in (0, 1)], weights=[200, 400])
    assert module._mean_skewness(x[:, 0], labels) == pytest.approx(expected)
    # Points of a cluster that are all alike are not skewed.
    alike = np.where(labels == 0, 3.0, x[:, 0])
    expected = 400 / 600 * stats.skew(x[labels == 1, 0])
    assert module._mean_skewness(alike, labels) == pytest.approx(expected)


def test_scale_and_origin_are_those_of_the_largest_likelihood():
    x, labels = lognormal_clusters()
    column, likelihoods = x[:, 0], {}
    for origin in (0.0, column.min(), column.max()):
        distances = np.abs(column - origin)
        for multiple in (*module._SETTINGS.multiples, 1e9):
            scale = multiple * np.median(distances)
            values = scale * np.log1p(distances / scale)
            centred = values - np.array([values[labels == k].mean() for k in (0, 1)])[labels]
            density = stats.norm(0.0, centred.std()).logpdf(centred)
            likelihoods[scale, origin] = np.mean(density - np.log1p(distances / scale))
            likelihoods[scale, origin] -= 0.05 * (origin > 0.0)
    scales, origins = module.fit_logs(x, labels)
    assert (scales[0], origins[0]) == pytest.approx(max(likelihoods, key=likelihoods.get))
    assert np.isinf(scales[1]) and origins[1] == 0.0


def test_shifted_columns_have_the_logarithms_of_their_mirror_images():
    x = np.random.default_rng(0).exponential(size=(600, 1)) - 3.0
    labels = np.zeros(600, int)
    (scale,), (origin,) = module.fit_logs(x, labels)
    assert np.isfinite(scale) and origin == x.min()
    mirrored = module.fit_logs(-2.0 * x, labels)
    np.testing.assert_allclose(mirrored, [[2.0 * scale], [-2.0 * origin]])
    assert module.has_skewed_columns(x, labels) and module.has_skewed_columns(-x, labels)


@pytest.mark.parametrize(
    "column",
    [
        np.full(600, 3.0),
        np.where(np.arange(600) % 10, np.random.default_rng(0).exponential(size=600), 0.0),
    ],
    ids=["constant", "many zeros"],
)
def test_columns_that_cannot_have_logarithms_are_left(column):
    x, labels = column[:, np.newaxis], np.zeros(600, int)
    assert np.isinf(module.fit_logs(x, labels)[0]).all()
    assert not module.has_skewed_columns(x, labels)


@pytest.mark.parametrize("draw", ["exponential", "lognormal", "gamma"])
def test_columns_with_long_tails_are_skewed(draw):
    generator = np.random.default_rng(0)
    arguments = (2.0,) if draw == "gamma" else ()
    x = getattr(generator, draw)(*arguments, size=(600, 2))
    assert module.has_skewed_columns(x, np.zeros(600, int))


def test_clusters_far_apart_are_not_skewed_columns():
    generator = np.random.default_rng(0)
    labels = (np.arange(1000) >= 850).astype(int)
    x = generator.normal(size=(1000, 2)) + np.array([5.0, 30.0])[labels, np.newaxis]
    assert stats.skew(x[:, 0]) > 1.5
    assert not module.has_skewed_columns(x, labels)
    assert module.has_skewed_columns(x, np.zeros(1000, int))


def test_few_points_are_skewed_by_chance():
    generator = np.random.default_rng(0)
    samples = 20.0 + 6.0 * generator.normal(size=(200, 20, 1))
    found = [module.has_skewed_columns(x, np.zeros(20, int)) for x in samples]
    assert np.mean(found) < 0.05


def test_positive_columns_never_begin_at_their_least_value():
    column = 3.0 + np.random.default_rng(0).lognormal(size=(400, 1))
    as_one = np.zeros(400, int)
    scales, origins = module.fit_logs(column, as_one)
    assert np.isfinite(scales[0]) and origins[0] == 0.0
    # With negative numbers zero means nothing, and the least one begins.
    scales, origins = module.fit_logs(column - 10.0, as_one)
    assert np.isfinite(scales[0]) and origins[0] == pytest.approx(column.min() - 10.0)
