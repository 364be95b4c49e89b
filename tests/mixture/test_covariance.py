"""Diagonal and spherical structures against closed forms in one dimension, TFP and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import m_step
from tfdpm.mixture.statistics import accumulate_hard


def one_component(points):
    return accumulate_hard(tf.constant(points), tf.zeros(len(points), tf.int64), 1)


def prior_of(dim, df=None, scale=1.3, mean_precision=0.4):
    return niw.niw_parameters(
        np.linspace(-0.5, 0.5, dim),
        mean_precision,
        dim + 2.0 if df is None else df,
        scale * np.eye(dim),
    )


def points_of(dim, count=7, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)) * np.linspace(0.5, 2.0, dim)


@pytest.mark.parametrize("structure", ["diagonal", "spherical"])
def test_in_one_dimension_every_structure_is_the_full_one(structure):
    statistics, prior = one_component(points_of(1)), prior_of(1)
    np.testing.assert_allclose(
        niw.log_evidence(prior, statistics, structure), niw.log_evidence(prior, statistics)
    )
    for restricted, full in zip(
        m_step(statistics, prior, covariance=structure), m_step(statistics, prior), strict=True
    ):
        np.testing.assert_allclose(restricted, full)


def test_diagonal_evidence_is_the_sum_over_single_features():
    points, prior = points_of(4), prior_of(4)
    singles = [
        niw.log_evidence(
            niw.niw_parameters(prior.loc[d : d + 1], 0.4, 3.0, [[1.3]]),
            one_component(points[:, d : d + 1]),
        )
        for d in range(4)
    ]
    together = niw.log_evidence(prior, one_component(points), "diagonal")
    np.testing.assert_allclose(together, sum(singles), rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_spherical_evidence_is_the_integral_over_mean_and_variance(dim):
    points, prior = points_of(dim), prior_of(dim)
    loc, count = prior.loc.numpy(), len(points)

    def integrand(log_variance):
        variance = np.exp(log_variance)
        # The mean integrates out coordinate by coordinate: jointly normal points.
        cov = variance * (np.eye(count) + 1.0 / 0.4)
        likelihood = sum(
            stats.multivariate_normal(np.full(count, loc[d]), cov).logpdf(points[:, d])
            for d in range(dim)
        )
        prior_density = stats.invgamma(1.5, scale=0.65).logpdf(variance)
        return np.exp(likelihood + prior_density + log_variance)

    expected = np.log(integrate.quad(integrand, -8.0, 8.0, epsabs=0, epsrel=1e-10)[0])
    actual = niw.log_evidence(prior, one_component(points), "spherical")
    np.testing.assert_allclose(actual, [expected], rtol=1e-8)


def test_what_one_more_point_adds_to_spherical_evidence_is_its_predictive_density():
    points, prior = points_of(3), prior_of(3)
    after = niw.posterior(prior, one_component(points[:-1]), "spherical")
    df, loc, scale_tril = (part.numpy()[0] for part in niw.predictive(after))
    expected = stats.multivariate_t(loc, scale_tril @ scale_tril.T, df).logpdf(points[-1])
    whole, part = (
        niw.log_evidence(prior, one_component(each), "spherical") for each in (points, points[:-1])
    )
    np.testing.assert_allclose(whole - part, [expected], rtol=1e-10)


def test_what_one_more_point_adds_to_diagonal_evidence_is_a_product_of_t_densities():
    points, prior = points_of(3), prior_of(3)
    after = niw.posterior(prior, one_component(points[:-1]), "diagonal")
    df, loc, scale_tril = (part.numpy()[0] for part in niw.predictive(after))
    expected = stats.t(df, loc, np.diag(scale_tril)).logpdf(points[-1]).sum()
    whole, part = (
        niw.log_evidence(prior, one_component(each), "diagonal") for each in (points, points[:-1])
    )
    np.testing.assert_allclose(whole - part, [expected], rtol=1e-10)


def test_spherical_components_sit_at_the_joint_mode():
    points, prior = points_of(3), prior_of(3)
    _, means, covariances = m_step(one_component(points), prior, covariance="spherical")
    mode, best = means.numpy()[0], covariances.numpy()[0][0, 0]

    def log_posterior(mean, variance):
        given = stats.multivariate_normal(mean, variance * np.eye(3)).logpdf(points).sum()
        location = stats.multivariate_normal(prior.loc.numpy(), variance / 0.4 * np.eye(3))
        return given + location.logpdf(mean) + stats.invgamma(1.5, scale=0.65).logpdf(variance)

    top = log_posterior(mode, best)
    for shift in 0.01 * np.eye(3):
        assert log_posterior(mode + shift, best) < top > log_posterior(mode - shift, best)
    assert log_posterior(mode, 1.01 * best) < top > log_posterior(mode, best / 1.01)


def test_diagonal_components_sit_at_the_joint_mode():
    points, prior = points_of(2), prior_of(2)
    _, means, covariances = m_step(one_component(points), prior, covariance="diagonal")
    mode, best = means.numpy()[0], np.diag(covariances.numpy()[0])

    def log_posterior(variances):
        deviations = np.sqrt(variances)
        given = stats.norm(mode, deviations).logpdf(points).sum()
        location = stats.norm(prior.loc.numpy(), deviations / np.sqrt(0.4)).logpdf(mode).sum()
        return given + location + stats.invgamma(1.5, scale=0.65).logpdf(variances).sum()

    top = log_posterior(best)
    for factor in ([1.01, 1.0], [1.0, 1.01], [1 / 1.01, 1.0], [1.0, 1 / 1.01]):
        assert log_posterior(best * factor) < top


@pytest.mark.parametrize("structure", ["diagonal", "spherical"])
def test_maximum_likelihood_covariances_have_the_structure(structure):
    points = points_of(3, count=50)
    _, _, covariances = m_step(one_component(points), None, covariance=structure)
    variances = points.var(axis=0)
    expected = variances if structure == "diagonal" else np.full(3, variances.mean())
    np.testing.assert_allclose(covariances[0], np.diag(expected), rtol=1e-4)
