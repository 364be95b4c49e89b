"""The NumPy formulas of whole partitions against the TensorFlow ones and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, m_step
from tfdpm.mixture.partition import PartitionPrior, squared_distances
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard, moment_features
from tfdpm.proposals.hastings import log_partition_terms


def drawn(seed, dim, count=4, num_points=60):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(num_points, dim)) * rng.uniform(0.5, 2.0, dim)
    labels = rng.integers(count, size=num_points)
    labels[labels == 1] = 0  # one component stays empty
    statistics = accumulate_hard(tf.constant(points), tf.constant(labels), count)
    factor = rng.normal(size=(dim, dim))
    scale = factor @ factor.T + np.eye(dim)
    ours = PartitionPrior(scale, dim + 2.5, 1e-3, 7.0, 1.5)
    theirs = niw.niw_parameters(np.zeros(dim), 1e-3, dim + 2.5, scale)
    as_numpy = SufficientStatistics(*(part.numpy() for part in statistics))
    return points, statistics, as_numpy, ours, theirs


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_terms_are_those_of_the_hastings_ratios(seed, dim):
    _, statistics, as_numpy, ours, theirs = drawn(seed, dim)
    expected = log_partition_terms(statistics, theirs, dp_concentration=7.0)
    np.testing.assert_allclose(ours.terms(as_numpy), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_map_mixture_is_that_of_the_m_step(seed):
    _, statistics, as_numpy, ours, theirs = drawn(seed, 3)
    expected = m_step(statistics, theirs, concentration=1.5)
    for actual, wanted in zip(ours.map_mixture(as_numpy), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-12)


def test_the_spread_is_what_the_points_add_to_the_posterior_scale():
    _, statistics, as_numpy, _, _ = drawn(0, 3)
    prior = PartitionPrior(2.0 * np.eye(3), 5.0, 1e-3, 1.0, 1.0)
    after = niw.posterior(niw.niw_parameters(np.zeros(3), 1e-3, 5.0, 2.0 * np.eye(3)), statistics)
    expected = np.linalg.eigvalsh(after.scale.numpy()) - 2.0
    np.testing.assert_allclose(prior.spread(as_numpy), expected, atol=1e-9)


@pytest.mark.parametrize("with_moments", [False, True])
def test_squared_distances_are_scipys(with_moments):
    points, _, as_numpy, ours, _ = drawn(1, 4)
    mixture = MixtureParameters(*(np.asarray(part) for part in ours.map_mixture(as_numpy)))
    moments = moment_features(tf.constant(points)).numpy() if with_moments else None
    distances, log_determinants = squared_distances(mixture, points, moments)
    for index, (mean, covariance) in enumerate(
        zip(mixture.means, mixture.covariances, strict=True)
    ):
        inverse = np.linalg.inv(covariance)
        expected = cdist(points, mean[np.newaxis], "mahalanobis", VI=inverse)[:, 0] ** 2
        np.testing.assert_allclose(distances[:, index], expected, rtol=1e-8)
    np.testing.assert_allclose(log_determinants, np.linalg.slogdet(mixture.covariances)[1])
