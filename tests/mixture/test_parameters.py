from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special, stats

from tests.reference import mixture as reference
from tests.reference import samples
from tfdpm.mixture import niw, statistics
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import (
    MixtureParameters,
    m_step,
    map_mixture_weights,
    pooled_moments,
)
from tfdpm.mixture.statistics import accumulate


def as_numpy(mixture):
    return [part.numpy() for part in mixture]


def assert_proper(mixture):
    """Finite, positive definite, weights on the simplex."""
    weights, means, covariances = as_numpy(mixture)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    assert (weights >= 0).all() and np.isfinite(means).all() and np.isfinite(covariances).all()
    assert np.linalg.eigvalsh(covariances).min() > 0.0
    np.testing.assert_allclose(covariances, np.swapaxes(covariances, -1, -2), rtol=1e-9)


@pytest.mark.parametrize("concentration", [0.0, 1.0, 12.0])
def test_mixture_weights_add_an_even_share_of_the_concentration(concentration):
    counts = np.array([0.0, 3.5, 96.5])
    actual = map_mixture_weights(counts, concentration)
    np.testing.assert_allclose(
        actual, (counts + concentration / 3) / (100 + concentration), rtol=1e-12
    )


def test_mixture_weights_are_the_peak_of_the_dirichlet_posterior():
    counts, concentration = np.array([1.0, 4.0, 10.0]), 6.0
    posterior = counts + 1 + concentration / 3

    def negative_log_density(logits):
        weights = special.softmax(logits)
        return -stats.dirichlet(posterior).logpdf(weights / weights.sum())

    best = optimize.minimize(negative_log_density, np.zeros(3), tol=1e-12)
    actual = map_mixture_weights(counts, concentration)
    np.testing.assert_allclose(actual, special.softmax(best.x), atol=1e-5)


def test_official_mixture_weights_add_a_tenth_to_fractions():
    # At K = 50 five sixths of the weight is uniform, whatever the counts.
    counts = np.arange(50.0)
    actual = map_mixture_weights(counts, 7.0, rule="official")
    np.testing.assert_allclose(actual, (counts / counts.sum() + 0.1) / 6.0, rtol=1e-12)


@pytest.mark.parametrize("rule", ["dirichlet_map", "official"])
def test_mixture_weights_of_nothing_are_equal(rule):
    actual = map_mixture_weights(np.zeros(4), 0.0, rule=rule)
    np.testing.assert_allclose(actual, np.full(4, 0.25), rtol=1e-12)


def test_unknown_rule_is_named():
    with pytest.raises(ValueError, match="`rule`: got 'dirichlet', wanted one of 'dirichlet_map'"):
        map_mixture_weights(np.ones(2), 1.0, rule="dirichlet")


@pytest.mark.parametrize("denominator", ["joint_mode", "paper"])
@pytest.mark.parametrize("feature_dim", [1, 4])
def test_m_step_is_the_papers_weighted_map(denominator, feature_dim):
    prior = samples.prior(feature_dim)
    points, weights = samples.points(60, feature_dim, loc=0.5), samples.weights(60, 3)
    mixture = m_step(
        accumulate(points, weights),
        niw.niw_parameters(*prior),
        concentration=2.0,
        denominator=denominator,
    )
    means, covariances = reference.map_components(prior, points, weights, denominator)
    np.testing.assert_allclose(mixture.means, means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mixture.covariances, covariances, rtol=1e-9, atol=1e-12)
    counts = weights.sum(axis=0)
    np.testing.assert_allclose(mixture.mixture_weights, (counts + 2 / 3) / 62, rtol=1e-12)
    assert mixture.num_components == 3


def test_m_step_passes_the_weight_rule_on():
    points, weights = samples.points(20, 2), samples.weights(20, 2)
    prior = niw.niw_parameters(*samples.prior(2))
    mixture = m_step(accumulate(points, weights), prior, weight_rule="official")
    truth = (weights.mean(axis=0) + 0.1) / 1.2
    np.testing.assert_allclose(mixture.mixture_weights, truth, rtol=1e-12)


def test_m_step_without_a_prior_is_weighted_maximum_likelihood_and_a_small_ridge():
    points, weights = samples.points(80, 3, loc=0.2), samples.weights(80, 2)
    mixture = m_step(accumulate(points, weights), None)
    ridge = 1e-6 * np.var(points, axis=0).mean()
    for k, column in enumerate(weights.T):
        mean = np.average(points, axis=0, weights=column)
        np.testing.assert_allclose(mixture.means[k], mean, rtol=1e-10)
        covariance = np.cov(points.T, ddof=0, aweights=column) + ridge * np.eye(3)
        np.testing.assert_allclose(mixture.covariances[k], covariance, rtol=0, atol=1e-12)


@pytest.mark.parametrize("structure", ["diagonal", "spherical"])
def test_maximum_likelihood_covariances_have_the_structure(structure):
    points = samples.points(50, 3) * np.array([0.5, 1.0, 2.0])
    statistics = accumulate(points, np.ones((50, 1)))
    _, _, covariances = m_step(statistics, None, covariance=structure)
    variances = points.var(axis=0)
    expected = variances if structure == "diagonal" else np.full(3, variances.mean())
    np.testing.assert_allclose(covariances[0], np.diag(expected), rtol=1e-4)


def test_relabelling_components_permutes_the_m_step():
    prior = niw.niw_parameters(*samples.prior(3))
    stats_of_four = accumulate(samples.points(50, 3), samples.weights(50, 4))
    order = [2, 0, 3, 1]
    permuted = m_step(stats_of_four.select(order), prior)
    for part, truth in zip(permuted, m_step(stats_of_four, prior), strict=True):
        np.testing.assert_allclose(part, truth.numpy()[order], rtol=1e-12)


DEGENERATE_POINTS = {
    "all points equal": np.full((30, 3), 0.7),
    "all points at the origin": np.zeros((30, 3)),
    "duplicates of two points": np.repeat([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]], 15, axis=0),
    "constant column": samples.points(30, 3) * [1.0, 0.0, 1.0] + [0.0, 5.0, 0.0],
    "column twice": samples.points(30, 3)[:, [0, 0, 1]],
    "fewer points than features": samples.points(3, 8),
    "one point": samples.points(1, 3),
    "no points": np.zeros((0, 3)),
    "a line": np.outer(np.linspace(-1.0, 1.0, 30), [1.0, 2.0, 3.0]),
    "a line far away": 1e4 + 1e3 * np.outer(samples.points(30, 1)[:, 0], np.ones(3)),
    "tiny units": 1e-8 * samples.points(30, 3)[:, [0, 0, 1]],
}


@pytest.mark.parametrize("points", DEGENERATE_POINTS.values(), ids=DEGENERATE_POINTS.keys())
@pytest.mark.parametrize("prior_scale", [None, 1e-3, 1e-20])
def test_degenerate_data_and_empty_components_leave_a_proper_mixture(points, prior_scale):
    feature_dim = points.shape[1]
    # Component 2 gets nothing at all, component 1 next to nothing.
    weights = np.tile([1.0 - 1e-12, 1e-12, 0.0], (len(points), 1))
    prior = None
    if prior_scale is not None:
        scale = prior_scale * np.eye(feature_dim)
        prior = niw.niw_parameters(np.zeros(feature_dim), 1e-4, feature_dim + 2, scale)
    mixture = m_step(accumulate(points, weights), prior)
    assert_proper(mixture)
    log_joint = LogJoint(mixture)(points)
    assert np.isfinite(log_joint).all()
    rows = tf.nn.softmax(log_joint).numpy()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-12)


def test_an_empty_component_returns_to_the_prior():
    loc, _, df, scale = samples.prior(3)
    prior = niw.niw_parameters(*samples.prior(3))
    mixture = m_step(statistics.zeros(2, 3), prior)
    np.testing.assert_allclose(mixture.means, [loc, loc], rtol=1e-12)
    np.testing.assert_allclose(mixture.covariances[1], scale / (df + 5), rtol=1e-12)


def test_pooled_moments_are_those_of_the_groups_mixtures():
    rng = np.random.default_rng(4)
    factors = rng.normal(size=(4, 2, 2))
    mixture = MixtureParameters(
        tf.constant([0.1, 0.2, 0.3, 0.4], tf.float64),
        tf.constant(rng.normal(size=(4, 2))),
        tf.constant(factors @ factors.transpose(0, 2, 1) + np.eye(2)),
    )
    weights, means, covariances = (part.numpy() for part in mixture)
    pooled = pooled_moments(mixture, np.array([0, 1, 0, 1]))
    for group, own in enumerate([[0, 2], [1, 3]]):
        total = sum(weights[k] for k in own)
        mean = sum(weights[k] * means[k] for k in own) / total
        second = sum(weights[k] * (covariances[k] + np.outer(means[k], means[k])) for k in own)
        np.testing.assert_allclose(pooled.mixture_weights[group], total)
        np.testing.assert_allclose(pooled.means[group], mean)
        np.testing.assert_allclose(
            pooled.covariances[group], second / total - np.outer(mean, mean), rtol=1e-9
        )


def test_groups_of_one_component_are_these_components():
    mixture = MixtureParameters(
        tf.constant([0.25, 0.75], tf.float64),
        tf.constant([[1.0], [2.0]], tf.float64),
        tf.constant([[[1.0]], [[3.0]]], tf.float64),
    )
    for own, pooled in zip(mixture, pooled_moments(mixture, np.arange(2)), strict=True):
        np.testing.assert_array_equal(own, pooled)
