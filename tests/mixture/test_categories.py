"""The location model against slow truths: chains of predictions, loops over rows, and draws."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfdpm.mixture import evidence
from tfdpm.mixture.categories import Categories, density_of, draw_points
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import accumulate_hard
from tfdpm.search.points.sample import Sample

# A column of three values and one of two, beside two numbers.
SHARES = np.array([0.5, 0.3, 0.2, 0.4])
CATEGORIES = Categories((3, 1), SHARES, 1.7)
DIM = 6


def table(n, seed=0, dim=DIM):
    """Features `[n, D]`, and the values `[n, 2]` behind the flags."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.choice(3, n, p=[0.2, 0.5, 0.3]), rng.random(n) < 0.7])
    flags = np.column_stack([np.eye(3)[values[:, 0]], values[:, 1]])
    numbers = flags @ rng.normal(size=(4, dim - 4)) + rng.normal(size=(n, dim - 4))
    return np.column_stack([CATEGORIES.unit * (flags - SHARES), numbers]), values


def make_prior(dim=DIM, scale=0.8):
    scales = CATEGORIES.with_shifts(scale * np.eye(dim))
    return PartitionPrior(scales, dim + 2.0, 0.3, 10.0, 1.0, categories=CATEGORIES)


def statistics_of(points, labels=None):
    labels = np.zeros(len(points), int) if labels is None else labels
    found = accumulate_hard(tf.constant(points), tf.constant(labels), labels.max() + 1)
    return found.map(np.asarray)


def log_evidence(prior, points):
    niw = NIWParameters(np.zeros(prior.dim), prior.mean_precision, prior.df, prior.scale)
    statistics = statistics_of(points)
    gaussian = evidence.log_evidence(niw, statistics)
    return float((gaussian + CATEGORIES.log_evidence(niw, statistics))[0])


def dirichlet_chain(values, shares):
    """Log probability of a column, each value predicted from those before it."""
    total, counts = 0.0, np.zeros(len(shares))
    for value in values:
        total += np.log((3.0 * shares[value] + counts[value]) / (3.0 + counts.sum()))
        counts[value] += 1
    return total


def regression_chain(prior, points):
    """Log density of the numbers given flags, each row predicted from those before it.

    Bayesian regression on one and the flags: rows of coefficients of precision P about zero,
    and an inverse Wishart for the residuals [Rowe 2003].
    """
    flags, numbers = points[:, :4], points[:, 4:]
    dim, design = numbers.shape[1], np.column_stack([np.ones(len(points)), flags])
    precision = np.zeros((5, 5))
    precision[0, 0], precision[1:, 1:] = prior.mean_precision, prior.scale[:4, :4]
    moment, scale, df = np.zeros((5, dim)), prior.scale[4:, 4:].copy(), prior.df
    total = 0.0
    for x, y in zip(design, numbers, strict=True):
        inverse = np.linalg.inv(precision)
        mean = inverse @ moment
        wider, t_df = 1.0 + x @ inverse @ x, df - dim + 1
        total += stats.multivariate_t(x @ mean, scale * wider / t_df, df=t_df).logpdf(y)
        residual = y - x @ mean
        scale = scale + np.outer(residual, residual) / wider
        precision, moment, df = precision + np.outer(x, x), moment + np.outer(x, y), df + 1
    return total


@pytest.mark.parametrize("n", [1, 2, 40])
def test_evidence_is_that_of_the_values_and_of_the_regression_on_their_flags(n):
    prior, (points, values) = make_prior(), table(n)
    wanted = regression_chain(prior, points)
    wanted += dirichlet_chain(values[:, 0], SHARES[:3])
    wanted += dirichlet_chain(values[:, 1], np.array([0.6, 0.4]))
    np.testing.assert_allclose(log_evidence(prior, points), wanted, rtol=1e-9)


def test_without_numbers_the_evidence_is_that_of_the_values_alone():
    points, values = table(50, dim=4)
    wanted = dirichlet_chain(values[:, 0], SHARES[:3])
    wanted += dirichlet_chain(values[:, 1], np.array([0.6, 0.4]))
    np.testing.assert_allclose(log_evidence(make_prior(dim=4), points), wanted, rtol=1e-9)


@pytest.mark.parametrize("count", [2, 4, 10])
def test_a_rare_value_is_no_evidence_for_a_cluster_of_its_rows(count):
    place = np.arange(200)
    value = np.where(place < count, 2, place % 2)
    flags = np.column_stack([np.eye(3)[value], place % 3 == 0])
    rare = Categories((3, 1), flags.mean(axis=0), 1.0)
    prior = PartitionPrior(np.eye(4), 6.0, 1e-4, 10.0, 1.0, categories=rare)
    points = flags - rare.shares
    apart = prior.terms(statistics_of(points, (value == 2).astype(int))).sum()
    assert prior.terms(statistics_of(points)).sum() > apart


def mixture():
    points, _ = table(300)
    labels = (points[:, 4] > 0).astype(int) + (points[:, 3] > 0)
    return make_prior().map_mixture(statistics_of(points, labels))


def slow_log_joint(parameters, points):
    """Of each row and component: weight, value of each variable, and numbers given flags."""
    result = np.zeros((len(points), len(parameters.means)))
    for k, (weight, mean, covariance) in enumerate(zip(*parameters, strict=True)):
        among, across = covariance[:4, :4], covariance[4:, :4]
        linear = across @ np.linalg.inv(among)
        rest = covariance[4:, 4:] - linear @ across.T
        share = 0.99 * np.clip(mean[:4] / 1.7 + SHARES, 0, 1) + 0.01 * SHARES
        first = share[:3] / share[:3].sum()
        for n, point in enumerate(points):
            flags = np.rint(point[:4] / 1.7 + SHARES).astype(int)
            value = first[flags[:3].argmax()] * (share[3] if flags[3] else 1 - share[3])
            expected = mean[4:] + linear @ (point[:4] - mean[:4])
            numbers = stats.multivariate_normal(expected, rest).logpdf(point[4:])
            result[n, k] = np.log(weight) + np.log(value) + numbers
    return result


def test_gaussians_have_the_log_joint_of_the_location_model():
    parameters, (points, _) = mixture(), table(30, seed=1)
    wanted = slow_log_joint(parameters, points)
    actual = LogJoint(density_of(parameters, CATEGORIES))(tf.constant(points)).numpy()
    np.testing.assert_allclose(actual, wanted, atol=1e-5)
    sample = Sample(points, categories=CATEGORIES)
    np.testing.assert_array_equal(sample.labels(parameters), wanted.argmax(axis=1))
    assert density_of(parameters, None) is parameters


def test_probabilities_of_all_possible_rows_sum_to_one():
    parameters = mixture()
    flags = [[*np.eye(3)[i], j] for i in range(3) for j in (0, 1)]
    places = CATEGORIES.unit * (np.array(flags) - SHARES)
    grid = np.linspace(-12, 12, 81)
    numbers = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    density = LogJoint(density_of(parameters, CATEGORIES))
    rows = [np.column_stack([np.tile(each, (len(numbers), 1)), numbers]) for each in places]
    total = sum(np.exp(density(tf.constant(each)).numpy()).sum() for each in rows)
    assert total * (grid[1] - grid[0]) ** 2 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("dim", [DIM, 4])
def test_p_values_are_shares_of_drawn_rows_that_are_no_likelier(dim):
    points, _ = table(300, dim=dim)
    statistics = statistics_of(points)
    prior = make_prior(dim=dim)
    after = evidence.posterior(prior.as_niw(), statistics)
    tails = PredictiveTails(np.ones(1), after, CATEGORIES)
    loc, shape = after.loc, np.asarray(after.scale) / (np.asarray(after.df)[0] - dim + 1.0)
    shape = shape * (1.0 + 1.0 / np.asarray(after.mean_precision)[0])
    one = MixtureParameters(np.ones(1), np.asarray(loc), shape)
    drawn = draw_points(one, 20_000, np.random.default_rng(0), CATEGORIES)
    likely = slow_log_joint(one, drawn[:5000]) if dim > 4 else None
    found = np.asarray(tails(tf.constant(drawn, tf.float64)))
    if likely is not None:
        np.testing.assert_allclose(found[:5000], likely[:, 0], atol=1e-4)
    for few in (drawn[:10], drawn[:100]):
        shares = [np.mean(found <= each + 1e-6) for each in found[: len(few)]]
        np.testing.assert_allclose(tails.p_values(few), shares, atol=0.015)


def test_drawn_points_have_the_mixtures_values_and_regression():
    parameters = mixture()
    one = MixtureParameters(*(part[1:2] for part in parameters))._replace(
        mixture_weights=np.ones(1)
    )
    drawn = draw_points(one, 20_000, np.random.default_rng(0), CATEGORIES).astype(float)
    flags = drawn[:, :4] / CATEGORIES.unit + SHARES
    np.testing.assert_allclose(flags, flags.round(), atol=1e-5)
    np.testing.assert_allclose(flags[:, :3].sum(axis=1), 1.0, atol=1e-5)
    share = np.concatenate([CATEGORIES.probabilities(one.means)[i][0] for i in (0, 1)])
    np.testing.assert_allclose(flags.mean(axis=0), share[:4], atol=0.02)
    linear = one.covariances[0, 4:, :4] @ np.linalg.inv(one.covariances[0, :4, :4])
    residuals = drawn[:, 4:] - one.means[0, 4:] - (drawn[:, :4] - one.means[0, :4]) @ linear.T
    np.testing.assert_allclose(residuals.mean(axis=0), 0.0, atol=0.05)
    rest = CATEGORIES.given_flags(np.asarray(one.covariances))[0]
    np.testing.assert_allclose(np.cov(residuals.T), rest, atol=0.06)


def test_dependence_is_that_of_pairs_that_are_not_independent():
    rng = np.random.default_rng(0)
    first = rng.integers(3, size=400)
    same, other = (first == 2).astype(int), rng.integers(2, size=400)

    def dependence(second):
        flags = np.column_stack([np.eye(3)[first], second])
        own = Categories((3, 1), flags.mean(axis=0), 1.0)
        points = flags - own.shares
        joint = dirichlet_chain(
            2 * first + second, np.outer(own.shares[:3], [1 - own.shares[3], own.shares[3]]).ravel()
        )
        apart = dirichlet_chain(first, own.shares[:3])
        apart += dirichlet_chain(second, np.array([1 - own.shares[3], own.shares[3]]))
        return own.dependence(statistics_of(points))[0], max(joint - apart, 0.0)

    for second in (same, other):
        np.testing.assert_allclose(*dependence(second), rtol=1e-9, atol=1e-9)
    assert dependence(same)[0] > 100
    assert dependence(other)[0] == 0.0


def test_the_fitted_scale_of_numbers_maximises_the_evidence():
    points, _ = table(400)
    labels = (points[:, 4] > 0).astype(int)
    statistics, scale = statistics_of(points, labels), 1.0
    for _ in range(50):
        scale = make_prior(scale=scale).fit_scale(statistics, scale)
    grid = scale * np.exp(np.linspace(-0.5, 0.5, 11))
    found = [make_prior(scale=each).terms(statistics).sum() for each in grid]
    assert abs(int(np.argmax(found)) - 5) <= 1
