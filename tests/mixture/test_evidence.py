"""Evidence, posterior and predictive against closed forms, TFP, SciPy and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, special, stats

from tests.reference import niw as reference
from tests.reference import partitions, samples
from tfdpm.mixture import evidence, niw, statistics
from tfdpm.mixture.parameters import m_step
from tfdpm.mixture.statistics import accumulate


def one(points, weights=None):
    """Statistics of one component."""
    weights = np.ones(len(points)) if weights is None else weights
    return accumulate(points, weights[:, None])


def assert_same_parameters(actual, expected, rtol=1e-10):
    for part, truth in zip(actual, expected, strict=True):
        np.testing.assert_allclose(part, truth, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("feature_dim", [1, 2, 5])
def test_posterior_is_the_papers_for_hard_and_soft_points(feature_dim):
    prior = samples.prior(feature_dim)
    points = samples.points(30, feature_dim, loc=0.5)
    weights = samples.weights(30, 3)
    after = evidence.posterior(niw.niw_parameters(*prior), accumulate(points, weights))
    for k in range(3):
        truth = reference.posterior(prior, points, weights[:, k])
        assert_same_parameters((part[k] for part in after), truth)
    hard = evidence.posterior(niw.niw_parameters(*prior), one(points))
    assert_same_parameters((part[0] for part in hard), reference.posterior(prior, points))


def test_posterior_of_nothing_is_the_prior():
    prior = niw.niw_parameters(*samples.prior(3))
    after = evidence.posterior(prior, statistics.zeros(2, 3))
    for part, before in zip(after, prior, strict=True):
        np.testing.assert_array_equal(part, np.stack([before, before]))


def test_posterior_of_batches_in_turn_is_that_of_all_points():
    prior = niw.niw_parameters(*samples.prior(3))
    points = samples.points(20, 3)
    in_turn = evidence.posterior(evidence.posterior(prior, one(points[:7])), one(points[7:]))
    assert_same_parameters(in_turn, evidence.posterior(prior, one(points)))


@pytest.mark.parametrize("feature_dim", [1, 2, 4])
@pytest.mark.parametrize("num_points", [1, 2, 12])
def test_evidence_is_the_chain_of_one_step_predictives(feature_dim, num_points):
    prior = samples.prior(feature_dim)
    points = samples.points(num_points, feature_dim, seed=num_points, loc=0.4)
    actual = evidence.log_evidence(niw.niw_parameters(*prior), one(points))
    np.testing.assert_allclose(actual, [reference.log_evidence(prior, points)], rtol=1e-10)


def test_evidence_is_the_papers_closed_form_at_its_weak_prior():
    points = samples.points(2000, 10, scale=3.0)
    prior = points.mean(axis=0), 1e-4, 12.0, 12.0 * 0.005 * np.eye(10)
    actual = evidence.log_evidence(niw.niw_parameters(*prior), one(points))
    np.testing.assert_allclose(
        actual, [reference.log_evidence_closed_form(prior, points)], rtol=1e-10
    )


@pytest.mark.parametrize(
    "values", [[0.3], [0.2, 1.1, -0.4], [1.5, 1.7, 1.6, 1.4]], ids=["one", "three", "four"]
)
def test_evidence_in_one_dimension_is_the_integral(values):
    prior = np.array([0.5]), 0.8, 3.0, np.array([[1.2]])
    points = np.array(values)[:, None]
    actual = evidence.log_evidence(niw.niw_parameters(*prior), one(points))
    np.testing.assert_allclose(
        actual, [reference.log_evidence_by_integration(prior, points)], rtol=0, atol=1e-8
    )


def test_evidence_is_one_value_per_component_and_zero_without_points():
    prior = samples.prior(2)
    points = samples.points(9, 2)
    hard = statistics.accumulate_hard(points, np.array([0, 0, 2, 2, 2, 2, 0, 0, 0]), 3)
    actual = evidence.log_evidence(niw.niw_parameters(*prior), hard)
    left, right = points[[0, 1, 6, 7, 8]], points[2:6]
    truth = [reference.log_evidence(prior, left), 0.0, reference.log_evidence(prior, right)]
    np.testing.assert_allclose(actual, truth, rtol=1e-10, atol=1e-12)


def test_evidence_ignores_the_order_of_points_and_the_cut_into_batches():
    prior = niw.niw_parameters(*samples.prior(3))
    points = samples.points(50, 3)
    whole = evidence.log_evidence(prior, one(points))
    shuffled = np.random.default_rng(1).permutation(points)
    np.testing.assert_allclose(evidence.log_evidence(prior, one(shuffled)), whole, rtol=1e-12)
    in_batches = one(points[:20]).plus(one(points[20:]))
    np.testing.assert_allclose(evidence.log_evidence(prior, in_batches), whole, rtol=1e-12)


def test_evidence_of_a_whole_is_that_of_a_part_times_the_rest_given_the_part():
    prior = niw.niw_parameters(*samples.prior(3))
    points = samples.points(30, 3)
    after = niw.NIWParameters(*(part[0] for part in evidence.posterior(prior, one(points[:11]))))
    in_turn = evidence.log_evidence(prior, one(points[:11])) + evidence.log_evidence(
        after, one(points[11:])
    )
    np.testing.assert_allclose(in_turn, evidence.log_evidence(prior, one(points)), rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_evidence_changes_with_units_as_a_density_does(unit):
    loc, mean_precision, df, scale = samples.prior(3)
    points = samples.points(30, 3)
    before = evidence.log_evidence(niw.niw_parameters(loc, mean_precision, df, scale), one(points))
    rescaled = niw.niw_parameters(unit * loc, mean_precision, df, unit**2 * scale)
    after = evidence.log_evidence(rescaled, one(unit * points))
    np.testing.assert_allclose(after, before - 30 * 3 * np.log(unit), rtol=1e-12)


@pytest.mark.parametrize("labels", [[0] * 9, [0, 1, 0, 2, 2, 2, 1, 1, 0]])
def test_partition_terms_sum_to_the_log_joint_of_a_seating(labels):
    prior, points, alpha = samples.prior(2), samples.points(9, 2), 3.0
    hard = statistics.accumulate_hard(points, np.array(labels), 4)
    terms = evidence.log_partition_terms(niw.niw_parameters(*prior), hard, alpha)
    assert terms[3] == 0.0  # nobody sits there
    constant = special.gammaln(alpha) - special.gammaln(alpha + 9)
    truth = partitions.log_joint(prior, points, np.array(labels), alpha)
    np.testing.assert_allclose(terms.sum() + constant, truth, rtol=1e-9)


@pytest.mark.parametrize("denominator, extra", [("joint_mode", 3 + 2), ("paper", -3 + 1)])
def test_map_covariance_divides_the_scale_by_the_denominator_asked_for(denominator, extra):
    prior, points = samples.prior(3), samples.points(20, 3)
    after = evidence.posterior(niw.niw_parameters(*prior), one(points))
    means, covariances = evidence.map_components(after, denominator)
    loc, _, df, scale = reference.posterior(prior, points)
    np.testing.assert_allclose(means[0], loc, rtol=1e-10)
    np.testing.assert_allclose(covariances[0], scale / (df + extra), rtol=1e-10)


def test_joint_mode_is_the_peak_of_the_posterior_density():
    prior, points = samples.prior(3), samples.points(20, 3)
    after = reference.posterior(prior, points)
    means, covariances = evidence.map_components(niw.niw_parameters(*after))
    peak = reference.log_prob(after, means, covariances)
    rng = np.random.default_rng(0)
    for _ in range(20):
        tilt = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
        nearby = tilt @ covariances @ tilt.T
        moved = means + 0.01 * rng.normal(size=3)
        assert reference.log_prob(after, means, nearby) < peak
        assert reference.log_prob(after, moved, covariances) < peak
    for factor in (0.97, 1.03):  # within one unit of the denominator either side
        assert reference.log_prob(after, means, factor * covariances) < peak


def test_unknown_denominator_is_named():
    with pytest.raises(ValueError, match="`denominator`: got 'mode', wanted one of 'joint_mode'"):
        evidence.map_components(niw.niw_parameters(*samples.prior(2)), "mode")


def test_predictive_is_the_ratio_of_evidences():
    prior, points = samples.prior(3), samples.points(10, 3)
    parameters = niw.niw_parameters(*prior)
    df, loc, scale_tril = evidence.predictive(evidence.posterior(parameters, one(points[:9])))
    truth = reference.predictive(reference.posterior(prior, points[:9]))
    np.testing.assert_allclose(df, [truth.df], rtol=1e-12)
    np.testing.assert_allclose(loc[0], truth.loc, rtol=1e-10)
    np.testing.assert_allclose(scale_tril[0] @ tf.transpose(scale_tril[0]), truth.shape, rtol=1e-9)
    ratio = evidence.log_evidence(parameters, one(points)) - evidence.log_evidence(
        parameters, one(points[:9])
    )
    np.testing.assert_allclose(ratio, [truth.logpdf(points[9])], rtol=1e-9)


def test_log_determinant_is_numpys_and_finite_where_numpys_is_not():
    good = np.stack([samples.positive_definite(4, seed) for seed in range(3)])
    np.testing.assert_allclose(
        evidence.log_determinant(good), np.linalg.slogdet(good)[1], rtol=1e-10
    )
    assert np.isfinite(evidence.log_determinant(tf.ones([4, 4], tf.float64)))


@pytest.mark.parametrize("dim", [1, 2, 10])
def test_log_multigamma_is_scipys(dim):
    values = np.array([0.5 * dim, 7.3, 1e5])
    truth = [special.multigammaln(value, dim) for value in values]
    np.testing.assert_allclose(evidence.log_multigamma(values, dim), truth, rtol=1e-10)


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
    statistics, prior = one(points_of(1)), prior_of(1)
    np.testing.assert_allclose(
        evidence.log_evidence(prior, statistics, structure),
        evidence.log_evidence(prior, statistics),
    )
    for restricted, full in zip(
        m_step(statistics, prior, covariance=structure), m_step(statistics, prior), strict=True
    ):
        np.testing.assert_allclose(restricted, full)


def test_diagonal_evidence_is_the_sum_over_single_features():
    points, prior = points_of(4), prior_of(4)
    singles = [
        evidence.log_evidence(
            niw.niw_parameters(prior.loc[d : d + 1], 0.4, 3.0, [[1.3]]),
            one(points[:, d : d + 1]),
        )
        for d in range(4)
    ]
    together = evidence.log_evidence(prior, one(points), "diagonal")
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
    actual = evidence.log_evidence(prior, one(points), "spherical")
    np.testing.assert_allclose(actual, [expected], rtol=1e-8)


def test_what_one_more_point_adds_to_spherical_evidence_is_its_predictive_density():
    points, prior = points_of(3), prior_of(3)
    after = evidence.posterior(prior, one(points[:-1]), "spherical")
    df, loc, scale_tril = (part[0] for part in evidence.predictive(after))
    expected = stats.multivariate_t(loc, scale_tril @ scale_tril.T, df).logpdf(points[-1])
    whole, part = (
        evidence.log_evidence(prior, one(each), "spherical") for each in (points, points[:-1])
    )
    np.testing.assert_allclose(whole - part, [expected], rtol=1e-10)


def test_what_one_more_point_adds_to_diagonal_evidence_is_a_product_of_t_densities():
    points, prior = points_of(3), prior_of(3)
    after = evidence.posterior(prior, one(points[:-1]), "diagonal")
    df, loc, scale_tril = (part[0] for part in evidence.predictive(after))
    expected = stats.t(df, loc, np.diag(scale_tril)).logpdf(points[-1]).sum()
    whole, part = (
        evidence.log_evidence(prior, one(each), "diagonal") for each in (points, points[:-1])
    )
    np.testing.assert_allclose(whole - part, [expected], rtol=1e-10)


def test_spherical_components_sit_at_the_joint_mode():
    points, prior = points_of(3), prior_of(3)
    _, means, covariances = m_step(one(points), prior, covariance="spherical")
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
    _, means, covariances = m_step(one(points), prior, covariance="diagonal")
    mode, best = means.numpy()[0], np.diag(covariances.numpy()[0])

    def log_posterior(variances):
        deviations = np.sqrt(variances)
        given = stats.norm(mode, deviations).logpdf(points).sum()
        location = stats.norm(prior.loc.numpy(), deviations / np.sqrt(0.4)).logpdf(mode).sum()
        return given + location + stats.invgamma(1.5, scale=0.65).logpdf(variances).sum()

    top = log_posterior(best)
    for factor in ([1.01, 1.0], [1.0, 1.01], [1 / 1.01, 1.0], [1.0, 1 / 1.01]):
        assert log_posterior(best * factor) < top
