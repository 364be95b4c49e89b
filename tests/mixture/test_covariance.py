from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import samples
from tfdpm.mixture.covariance import cholesky, positive_definite, restrict_covariances

DEGENERATE = {
    "all points equal": np.zeros((3, 3)),
    "constant column": np.array([[2.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]]),
    "fewer points than features": np.cov(samples.points(3, 6).T),
    "column twice": np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]]),
    "rank one": np.outer([1.0, 2.0, -3.0], [1.0, 2.0, -3.0]),
    "slightly indefinite": np.ones((3, 3)) - 1e-13 * np.eye(3),
    "variance rounded below zero": np.diag([1.0, -1e-16, 2.0]),
    "large units": 1e12 * np.ones((4, 4)),
    "small units": 1e-12 * np.ones((4, 4)),
    "rank one of forty": np.outer(np.arange(1.0, 41.0), np.arange(1.0, 41.0)),
}


@pytest.mark.parametrize("matrix", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("dtype, lifted", [(np.float64, 1e-10), (np.float32, 1e-3)])
def test_degenerate_matrices_get_factors_of_nearly_themselves(matrix, dtype, lifted):
    factor = cholesky(tf.constant(matrix, dtype)).numpy()
    assert factor.dtype == dtype
    assert np.isfinite(factor).all() and (np.diag(factor) > 0).all()
    np.testing.assert_array_equal(factor, np.tril(factor))
    largest = np.diag(matrix).max() or 1.0
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=0, atol=lifted * largest)


@pytest.mark.parametrize("matrix", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("dtype, lifted", [(np.float64, 1e-10), (np.float32, 1e-3)])
def test_degenerate_matrices_become_positive_definite(matrix, dtype, lifted):
    actual = positive_definite(tf.constant(matrix, dtype)).numpy()
    assert np.isfinite(actual).all()
    assert np.linalg.eigvalsh(actual.astype(np.float64))[0] > 0.0
    largest = np.diag(matrix).max() or 1.0
    np.testing.assert_allclose(actual, matrix, rtol=0, atol=lifted * largest)
    np.testing.assert_allclose(actual, actual.T, rtol=1e-6)


def test_clearly_indefinite_matrices_still_get_finite_factors():
    factor = cholesky(tf.constant([[1.0, 2.0], [2.0, 1.0]], tf.float64)).numpy()
    assert np.isfinite(factor).all() and (np.diag(factor) > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_well_conditioned_matrices_are_left_alone_even_beside_singular_ones(seed):
    good = samples.positive_definite(4, seed)
    units = np.array([1e-2, 1.0, 30.0, 1e3])  # features in units of their own
    skewed = good * np.outer(units, units)
    batch = tf.constant(np.stack([good, np.ones((4, 4)), skewed]))
    factors = cholesky(batch).numpy()
    np.testing.assert_allclose(factors[0], np.linalg.cholesky(good), rtol=1e-12)
    np.testing.assert_allclose(factors[2], np.linalg.cholesky(skewed), rtol=1e-10)
    kept = positive_definite(batch).numpy()
    np.testing.assert_array_equal(kept[[0, 2]], [good, skewed])
    assert np.linalg.eigvalsh(kept[1])[0] > 0.0
    np.testing.assert_array_equal(positive_definite(batch[:1])[0], good)


@pytest.mark.parametrize("matrix", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20])
def test_factors_do_not_depend_on_units(matrix, unit):
    if not np.diag(matrix).max():
        matrix = matrix + 1e-3  # a matrix of zeros has no unit that could be changed
    factor = cholesky(tf.constant(matrix))
    rescaled = cholesky(tf.constant(unit**2 * matrix))
    np.testing.assert_array_equal(rescaled, unit * factor)
    lifted = positive_definite(tf.constant(unit**2 * matrix))
    np.testing.assert_array_equal(lifted, unit**2 * positive_definite(tf.constant(matrix)))


def test_restricted_covariances_keep_variances_or_their_mean():
    full = np.stack([samples.positive_definite(3, seed) for seed in range(2)])
    variances = np.diagonal(full, axis1=1, axis2=2)
    np.testing.assert_array_equal(restrict_covariances(full, "full"), full)
    for matrix, own in zip(restrict_covariances(full, "diagonal"), variances, strict=True):
        np.testing.assert_array_equal(matrix, np.diag(own))
    for matrix, own in zip(restrict_covariances(full, "spherical"), variances, strict=True):
        np.testing.assert_allclose(matrix, own.mean() * np.eye(3))
