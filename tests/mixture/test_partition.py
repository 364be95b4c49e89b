"""The NumPy formulas of whole partitions against the TensorFlow ones and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import multivariate_normal

from tests.reference import niw as reference
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.parameters import MixtureParameters, m_step
from tfdpm.mixture.partition import (
    PartitionPrior,
    log_joint_coefficients,
    triangle_moments,
    whitening,
)
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard

STRUCTURES = ["full", "diagonal", "spherical"]


def test_further_axes_get_the_share_of_their_variance_that_the_first_has():
    prior = PartitionPrior(0.3 * np.eye(2), 4.0, 1e-3, 7.0, 1.5).with_axes(np.array([0.5, 0.1]))
    np.testing.assert_allclose(prior.scale, np.diag([0.3, 0.3, 0.15, 0.03]))
    assert (prior.dim, prior.df) == (4, 6.0)
    as_niw = prior.as_niw()
    np.testing.assert_allclose(as_niw.scale, prior.scale)
    assert float(as_niw.df) == 6.0 and float(as_niw.mean_precision) == 1e-3


def drawn(seed, dim, count=4, num_points=60, covariance="full"):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(num_points, dim)) * rng.uniform(0.5, 2.0, dim)
    labels = rng.integers(count, size=num_points)
    labels[labels == 1] = 0  # one component stays empty
    statistics = accumulate_hard(tf.constant(points), tf.constant(labels), count)
    factor = rng.normal(size=(dim, dim))
    scale = factor @ factor.T + np.eye(dim)
    ours = PartitionPrior(scale, dim + 2.5, 1e-3, 7.0, 1.5, covariance)
    theirs = niw.niw_parameters(np.zeros(dim), 1e-3, dim + 2.5, scale)
    as_numpy = SufficientStatistics(*(part.numpy() for part in statistics))
    return points, statistics, as_numpy, ours, theirs


@pytest.mark.parametrize("covariance", STRUCTURES)
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("seed", range(2))
def test_terms_are_those_of_the_hastings_ratios(seed, dim, covariance):
    _, statistics, as_numpy, ours, theirs = drawn(seed, dim, covariance=covariance)
    expected = evidence.log_partition_terms(theirs, statistics, 7.0, covariance)
    np.testing.assert_allclose(ours.terms(as_numpy), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance", STRUCTURES)
@pytest.mark.parametrize("seed", range(2))
def test_the_map_mixture_is_that_of_the_m_step(seed, covariance):
    _, statistics, as_numpy, ours, theirs = drawn(seed, 3, covariance=covariance)
    expected = m_step(statistics, theirs, concentration=1.5, covariance=covariance)
    for actual, wanted in zip(ours.map_mixture(as_numpy), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance", STRUCTURES)
def test_no_other_scale_has_more_evidence_than_the_fitted_one(covariance):
    _, _, statistics, _, _ = drawn(0, 3, covariance=covariance)

    def prior(scale):
        return PartitionPrior(scale * np.eye(3), 5.0, 1e-3, 1.0, 1.0, covariance)

    fitted = prior(2.0).fit_scale(statistics, 2.0)
    evidence = [prior(fitted * factor).terms(statistics).sum() for factor in (0.7, 1.0, 1.4)]
    assert max(evidence) == evidence[1]


def test_moments_and_coefficients_give_the_log_joint_of_scipy():
    points, _, as_numpy, ours, _ = drawn(1, 4)
    mixture = MixtureParameters(*(np.asarray(part) for part in ours.map_mixture(as_numpy)))
    actual = triangle_moments(points) @ log_joint_coefficients(mixture)
    expected = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(points)
        for weight, mean, covariance in zip(*mixture, strict=True)
    ]
    np.testing.assert_allclose(actual - 2 * np.log(2 * np.pi), np.transpose(expected), rtol=1e-9)


def test_triangle_moments_are_one_the_point_and_its_products():
    np.testing.assert_array_equal(
        triangle_moments(np.array([[2.0, 3.0, 5.0]])), [[1, 2, 3, 5, 4, 6, 10, 9, 15, 25]]
    )


def test_whitened_points_have_unit_covariance():
    points, _, as_numpy, ours, _ = drawn(2, 3)
    mixture = MixtureParameters(*(np.asarray(part) for part in ours.map_mixture(as_numpy)))
    whiteners, log_determinants = whitening(mixture)
    unit = whiteners @ mixture.covariances @ np.swapaxes(whiteners, 1, 2)
    np.testing.assert_allclose(unit, np.tile(np.eye(3), (len(unit), 1, 1)), atol=1e-9)
    np.testing.assert_allclose(log_determinants, np.linalg.slogdet(mixture.covariances)[1])


def fitted_scale(scale, statistics, dim=2):
    """The scale that repeated fits from `scale` end at."""
    for _ in range(100):
        prior = PartitionPrior(scale * np.eye(dim), dim + 2.0, 1e-4, 1.0, 1.0)
        scale = prior.fit_scale(statistics, scale)
    return scale


def blobs(spreads, dim=2, num_points=60, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=dim) * 5 + s * rng.normal(size=(num_points, dim)) for s in spreads]


def statistics_of(parts):
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return accumulate_hard(tf.constant(np.concatenate(parts)), tf.constant(labels), len(parts))


@pytest.mark.parametrize("start", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("spreads", [(0.1, 0.12, 0.09), (0.05, 0.3, 1.0, 0.2)])
def test_the_fitted_scale_maximises_the_evidence(spreads, start):
    parts = blobs(spreads)
    actual = fitted_scale(start, statistics_of(parts))
    grid = actual * np.exp(np.linspace(-0.5, 0.5, 21))
    evidence = [
        sum(
            reference.log_evidence_closed_form((np.zeros(2), 1e-4, 4.0, scale * np.eye(2)), part)
            for part in parts
        )
        for scale in grid
    ]
    assert abs(np.argmax(evidence) - 10) <= 1, (actual, grid[np.argmax(evidence)])


def test_the_fitted_scale_follows_the_units():
    parts = blobs((0.1, 0.2))
    once = fitted_scale(1.0, statistics_of(parts))
    scaled = [10.0 * part for part in parts]
    again = fitted_scale(100.0, statistics_of(scaled))
    np.testing.assert_allclose(again, 100.0 * once, rtol=1e-6)
