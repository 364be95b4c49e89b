from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.reference import niw as reference
from tests.reference import samples
from tfdpm.mixture import niw, statistics
from tfdpm.mixture.statistics import accumulate


def one(points, weights=None):
    """Statistics of one component."""
    weights = np.ones(len(points)) if weights is None else weights
    return accumulate(points, weights[:, None])


def assert_same_parameters(actual, expected, rtol=1e-10):
    for part, truth in zip(actual, expected, strict=True):
        np.testing.assert_allclose(part, truth, rtol=rtol, atol=rtol)


def test_parameters_are_float64_tensors():
    parameters = niw.niw_parameters([0, 1], 2, 4, [[2, 1], [1, 2]])
    assert all(part.dtype == tf.float64 for part in parameters)
    assert_same_parameters(parameters, ([0, 1], 2, 4, [[2, 1], [1, 2]]))


@pytest.mark.parametrize(
    "name, arguments, wanted",
    [
        ("loc", ([[0.0, 0.0]], 1.0, 4.0, np.eye(2)), "shape [D]"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.eye(3)), "shape [2, 2]"),
        ("mean_precision", ([0.0, 0.0], 0.0, 4.0, np.eye(2)), "above 0.0"),
        ("mean_precision", ([0.0, 0.0], np.nan, 4.0, np.eye(2)), "finite number"),
        ("df", ([0.0, 0.0], 1.0, 1.0, np.eye(2)), "above 1.0"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.diag([1.0, 0.0])), "positive definite"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.diag([1.0, -1.0])), "positive definite"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.full((2, 2), np.nan)), "finite numbers"),
        ("loc", ([0.0, np.inf], 1.0, 4.0, np.eye(2)), "finite numbers"),
    ],
)
def test_bad_parameters_are_named(name, arguments, wanted):
    with pytest.raises(ValueError) as raised:
        niw.niw_parameters(*arguments)
    assert str(raised.value).startswith(f"`{name}`: got ")
    assert wanted in str(raised.value).split("wanted")[1]


@pytest.mark.parametrize("feature_dim", [1, 2, 5])
def test_posterior_is_the_papers_for_hard_and_soft_points(feature_dim):
    prior = samples.prior(feature_dim)
    points = samples.points(30, feature_dim, loc=0.5)
    weights = samples.weights(30, 3)
    after = niw.posterior(niw.niw_parameters(*prior), accumulate(points, weights))
    for k in range(3):
        truth = reference.posterior(prior, points, weights[:, k])
        assert_same_parameters((part[k] for part in after), truth)
    hard = niw.posterior(niw.niw_parameters(*prior), one(points))
    assert_same_parameters((part[0] for part in hard), reference.posterior(prior, points))


def test_posterior_of_nothing_is_the_prior():
    prior = niw.niw_parameters(*samples.prior(3))
    after = niw.posterior(prior, statistics.zeros(2, 3))
    for part, before in zip(after, prior, strict=True):
        np.testing.assert_array_equal(part, np.stack([before, before]))


def test_posterior_of_batches_in_turn_is_that_of_all_points():
    prior = niw.niw_parameters(*samples.prior(3))
    points = samples.points(20, 3)
    in_turn = niw.posterior(niw.posterior(prior, one(points[:7])), one(points[7:]))
    assert_same_parameters(in_turn, niw.posterior(prior, one(points)))


@pytest.mark.parametrize("feature_dim", [1, 2, 4])
@pytest.mark.parametrize("num_points", [1, 2, 12])
def test_evidence_is_the_chain_of_one_step_predictives(feature_dim, num_points):
    prior = samples.prior(feature_dim)
    points = samples.points(num_points, feature_dim, seed=num_points, loc=0.4)
    actual = niw.log_evidence(niw.niw_parameters(*prior), one(points))
    np.testing.assert_allclose(actual, [reference.log_evidence(prior, points)], rtol=1e-10)


def test_evidence_is_the_papers_closed_form_at_its_weak_prior():
    points = samples.points(2000, 10, scale=3.0)
    prior = points.mean(axis=0), 1e-4, 12.0, 12.0 * 0.005 * np.eye(10)
    actual = niw.log_evidence(niw.niw_parameters(*prior), one(points))
    np.testing.assert_allclose(
        actual, [reference.log_evidence_closed_form(prior, points)], rtol=1e-10
    )


@pytest.mark.parametrize(
    "values", [[0.3], [0.2, 1.1, -0.4], [1.5, 1.7, 1.6, 1.4]], ids=["one", "three", "four"]
)
def test_evidence_in_one_dimension_is_the_integral(values):
    prior = np.array([0.5]), 0.8, 3.0, np.array([[1.2]])
    points = np.array(values)[:, None]
    actual = niw.log_evidence(niw.niw_parameters(*prior), one(points))
    np.testing.assert_allclose(
        actual, [reference.log_evidence_by_integration(prior, points)], rtol=0, atol=1e-8
    )


def test_evidence_is_one_value_per_component_and_zero_without_points():
    prior = samples.prior(2)
    points = samples.points(9, 2)
    hard = statistics.accumulate_hard(points, np.array([0, 0, 2, 2, 2, 2, 0, 0, 0]), 3)
    actual = niw.log_evidence(niw.niw_parameters(*prior), hard)
    left, right = points[[0, 1, 6, 7, 8]], points[2:6]
    truth = [reference.log_evidence(prior, left), 0.0, reference.log_evidence(prior, right)]
    np.testing.assert_allclose(actual, truth, rtol=1e-10, atol=1e-12)


def test_evidence_ignores_the_order_of_points_and_the_cut_into_batches():
    prior = niw.niw_parameters(*samples.prior(3))
    points = samples.points(50, 3)
    whole = niw.log_evidence(prior, one(points))
    shuffled = np.random.default_rng(1).permutation(points)
    np.testing.assert_allclose(niw.log_evidence(prior, one(shuffled)), whole, rtol=1e-12)
    in_batches = one(points[:20]).plus(one(points[20:]))
    np.testing.assert_allclose(niw.log_evidence(prior, in_batches), whole, rtol=1e-12)


def test_evidence_of_a_whole_is_that_of_a_part_times_the_rest_given_the_part():
    prior = niw.niw_parameters(*samples.prior(3))
    points = samples.points(30, 3)
    after = niw.NIWParameters(*(part[0] for part in niw.posterior(prior, one(points[:11]))))
    in_turn = niw.log_evidence(prior, one(points[:11])) + niw.log_evidence(after, one(points[11:]))
    np.testing.assert_allclose(in_turn, niw.log_evidence(prior, one(points)), rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_evidence_changes_with_units_as_a_density_does(unit):
    loc, mean_precision, df, scale = samples.prior(3)
    points = samples.points(30, 3)
    before = niw.log_evidence(niw.niw_parameters(loc, mean_precision, df, scale), one(points))
    rescaled = niw.niw_parameters(unit * loc, mean_precision, df, unit**2 * scale)
    after = niw.log_evidence(rescaled, one(unit * points))
    np.testing.assert_allclose(after, before - 30 * 3 * np.log(unit), rtol=1e-12)


@pytest.mark.parametrize("denominator, extra", [("joint_mode", 3 + 2), ("paper", -3 + 1)])
def test_map_covariance_divides_the_scale_by_the_denominator_asked_for(denominator, extra):
    prior, points = samples.prior(3), samples.points(20, 3)
    after = niw.posterior(niw.niw_parameters(*prior), one(points))
    means, covariances = niw.map_components(after, denominator)
    loc, _, df, scale = reference.posterior(prior, points)
    np.testing.assert_allclose(means[0], loc, rtol=1e-10)
    np.testing.assert_allclose(covariances[0], scale / (df + extra), rtol=1e-10)


def test_joint_mode_is_the_peak_of_the_posterior_density():
    prior, points = samples.prior(3), samples.points(20, 3)
    after = reference.posterior(prior, points)
    means, covariances = niw.map_components(niw.niw_parameters(*after))
    peak = reference.log_prob(after, means.numpy(), covariances.numpy())
    rng = np.random.default_rng(0)
    for _ in range(20):
        tilt = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
        nearby = tilt @ covariances.numpy() @ tilt.T
        moved = means.numpy() + 0.01 * rng.normal(size=3)
        assert reference.log_prob(after, means.numpy(), nearby) < peak
        assert reference.log_prob(after, moved, covariances.numpy()) < peak
    for factor in (0.97, 1.03):  # within one unit of the denominator either side
        assert reference.log_prob(after, means.numpy(), factor * covariances.numpy()) < peak


def test_unknown_denominator_is_named():
    with pytest.raises(ValueError, match="`denominator`: got 'mode', wanted one of 'joint_mode'"):
        niw.map_components(niw.niw_parameters(*samples.prior(2)), "mode")


def test_predictive_is_the_ratio_of_evidences():
    prior, points = samples.prior(3), samples.points(10, 3)
    parameters = niw.niw_parameters(*prior)
    df, loc, scale_tril = niw.predictive(niw.posterior(parameters, one(points[:9])))
    truth = reference.predictive(reference.posterior(prior, points[:9]))
    np.testing.assert_allclose(df, [truth.df], rtol=1e-12)
    np.testing.assert_allclose(loc[0], truth.loc, rtol=1e-10)
    np.testing.assert_allclose(scale_tril[0] @ tf.transpose(scale_tril[0]), truth.shape, rtol=1e-9)
    ratio = niw.log_evidence(parameters, one(points)) - niw.log_evidence(
        parameters, one(points[:9])
    )
    np.testing.assert_allclose(ratio, [truth.logpdf(points[9])], rtol=1e-9)


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
    factor = niw.cholesky(tf.constant(matrix, dtype)).numpy()
    assert factor.dtype == dtype
    assert np.isfinite(factor).all() and (np.diag(factor) > 0).all()
    np.testing.assert_array_equal(factor, np.tril(factor))
    largest = np.diag(matrix).max() or 1.0
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=0, atol=lifted * largest)


@pytest.mark.parametrize("matrix", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("dtype, lifted", [(np.float64, 1e-10), (np.float32, 1e-3)])
def test_degenerate_matrices_become_positive_definite(matrix, dtype, lifted):
    actual = niw.positive_definite(tf.constant(matrix, dtype)).numpy()
    assert np.isfinite(actual).all()
    assert np.linalg.eigvalsh(actual.astype(np.float64))[0] > 0.0
    largest = np.diag(matrix).max() or 1.0
    np.testing.assert_allclose(actual, matrix, rtol=0, atol=lifted * largest)
    np.testing.assert_allclose(actual, actual.T, rtol=1e-6)


def test_clearly_indefinite_matrices_still_get_finite_factors():
    factor = niw.cholesky(tf.constant([[1.0, 2.0], [2.0, 1.0]], tf.float64)).numpy()
    assert np.isfinite(factor).all() and (np.diag(factor) > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_well_conditioned_matrices_are_left_alone_even_beside_singular_ones(seed):
    good = samples.positive_definite(4, seed)
    units = np.array([1e-2, 1.0, 30.0, 1e3])  # features in units of their own
    skewed = good * np.outer(units, units)
    batch = tf.constant(np.stack([good, np.ones((4, 4)), skewed]))
    factors = niw.cholesky(batch).numpy()
    np.testing.assert_allclose(factors[0], np.linalg.cholesky(good), rtol=1e-12)
    np.testing.assert_allclose(factors[2], np.linalg.cholesky(skewed), rtol=1e-10)
    kept = niw.positive_definite(batch).numpy()
    np.testing.assert_array_equal(kept[[0, 2]], [good, skewed])
    assert np.linalg.eigvalsh(kept[1])[0] > 0.0
    np.testing.assert_array_equal(niw.positive_definite(batch[:1])[0], good)


@pytest.mark.parametrize("matrix", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20])
def test_factors_do_not_depend_on_units(matrix, unit):
    if not np.diag(matrix).max():
        matrix = matrix + 1e-3  # a matrix of zeros has no unit that could be changed
    factor = niw.cholesky(tf.constant(matrix))
    rescaled = niw.cholesky(tf.constant(unit**2 * matrix))
    np.testing.assert_array_equal(rescaled, unit * factor)
    lifted = niw.positive_definite(tf.constant(unit**2 * matrix))
    np.testing.assert_array_equal(lifted, unit**2 * niw.positive_definite(tf.constant(matrix)))


def test_log_determinant_is_numpys_and_finite_where_numpys_is_not():
    good = np.stack([samples.positive_definite(4, seed) for seed in range(3)])
    np.testing.assert_allclose(niw.log_determinant(good), np.linalg.slogdet(good)[1], rtol=1e-10)
    assert np.isfinite(niw.log_determinant(tf.ones([4, 4], tf.float64)))


@pytest.mark.parametrize("dim", [1, 2, 10])
def test_log_multigamma_is_scipys(dim):
    values = np.array([0.5 * dim, 7.3, 1e5])
    truth = [special.multigammaln(value, dim) for value in values]
    np.testing.assert_allclose(niw.log_multigamma(values, dim), truth, rtol=1e-10)
