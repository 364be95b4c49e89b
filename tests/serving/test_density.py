"""Served densities and p-values against the exact ones of the mixture."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.mixture import niw
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.serving.density import ServedPredictive


def posterior(count, dim, *, width=0.3, seed=0):
    """NIW posteriors of components of very different sizes and shapes, and their weights."""
    rng = np.random.default_rng(seed)
    locs = rng.normal(size=(count, dim))
    sizes = np.geomspace(2.0, 1e6, count)
    roots = width * rng.normal(size=(count, dim, dim)) / np.sqrt(dim)
    shapes = roots @ roots.transpose(0, 2, 1) + 0.01 * width**2 * np.eye(dim)
    scales = sizes[:, None, None] * shapes
    parts = (locs, sizes, dim + sizes, scales)
    return sizes / sizes.sum(), niw.NIWParameters(*(tf.constant(part) for part in parts))


def served(weights, after, points, log_volume_change=0.0):
    predictive = ServedPredictive(weights, after, log_volume_change)
    return predictive, [np.asarray(p) for p in predictive(tf.cast(points, predictive.dtype))]


@pytest.mark.parametrize(("count", "dim"), [(1, 1), (4, 1), (5, 2), (7, 10), (3, 60)])
def test_densities_and_p_values_are_the_exact_ones(count, dim):
    weights, after = posterior(count, dim)
    rng = np.random.default_rng(1)
    points = np.concatenate([after.loc.numpy(), rng.normal(size=(400, dim)), [[30.0] * dim]])
    predictive, (log_density, p_values) = served(weights, after, points, log_volume_change=1.5)
    exact, exact_p = (
        np.asarray(p) for p in PredictiveTails(tf.constant(weights), after).tails(points)
    )
    assert predictive.dtype == tf.float32 and log_density.dtype == np.float32
    np.testing.assert_allclose(log_density, exact + 1.5, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(p_values, exact_p, atol=2e-5)
    # Small p-values keep their digits, so that a low threshold means what it says.
    is_small = (exact_p < 1e-2) & (exact_p > 1e-6)
    np.testing.assert_allclose(p_values[is_small], exact_p[is_small], rtol=5e-3)


def test_narrow_components_far_from_the_origin_are_served_in_float64():
    weights, after = posterior(3, 4, width=1e-5)
    points = after.loc.numpy()[[0, 1, 2]] + 1e-6
    predictive, (log_density, p_values) = served(weights, after, points)
    exact, exact_p = (
        np.asarray(p) for p in PredictiveTails(tf.constant(weights), after).tails(points)
    )
    assert predictive.dtype == tf.float64
    np.testing.assert_allclose(log_density, exact, rtol=1e-5)
    np.testing.assert_allclose(p_values, exact_p, atol=2e-5)


def test_nothing_comes_of_what_is_no_number_and_none_of_it_is_an_error():
    weights, after = posterior(3, 2)
    _, (log_density, p_values) = served(weights, after, np.array([[np.nan, 0.0], [0.0, 0.0]]))
    assert np.isnan([log_density[0], p_values[0]]).all()
    assert np.isfinite([log_density[1], p_values[1]]).all()


def test_rows_are_mapped_to_points():
    weights, after = posterior(3, 2)
    rng = np.random.default_rng(1)
    rows, kernel, bias = rng.normal(size=(50, 5)), rng.normal(size=(5, 2)), rng.normal(size=2)
    mapped = ServedPredictive(weights, after, 0.0, (kernel, bias))
    _, expected = served(weights, after, rows @ kernel + bias)
    for result, truth in zip(mapped(tf.cast(rows, mapped.dtype)), expected, strict=True):
        np.testing.assert_allclose(result, truth, rtol=1e-4, atol=1e-5)


def test_components_too_many_for_constants_are_served_alike():
    weights, after = posterior(200, 12)
    points = after.loc.numpy()[:20] + 0.1
    predictive, (log_density, p_values) = served(weights, after, points)
    exact, exact_p = (
        np.asarray(p) for p in PredictiveTails(tf.constant(weights), after).tails(points)
    )
    assert predictive.variables  # the table at least
    np.testing.assert_allclose(log_density, exact, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(p_values, exact_p, atol=2e-5)


def test_p_values_never_rise_with_the_distance():
    weights, after = posterior(1, 3)
    points = after.loc.numpy() + np.geomspace(1e-4, 1e4, 3000)[:, None] * [1.0, 0.0, 0.0]
    _, (_, p_values) = served(weights, after, points)
    assert p_values[0] > 0.999 and p_values[-1] < 1e-9
    assert (np.diff(p_values) <= 1e-6).all()
