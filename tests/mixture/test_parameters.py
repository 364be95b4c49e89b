from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special, stats
from scipy.spatial import distance

from tests.reference import mixture as reference
from tests.reference import niw as niw_reference
from tests.reference import samples
from tfdpm.mixture import evidence, niw, parameters, statistics
from tfdpm.mixture.parameters import (
    LogJoint,
    LogPredictive,
    MixtureParameters,
    SquaredDistances,
    TMixtureParameters,
    log_joint,
    m_step,
    map_mixture_weights,
    responsibilities,
)
from tfdpm.mixture.statistics import accumulate


def random_mixture(num_components, feature_dim, seed=0):
    rng = np.random.default_rng(seed)
    return MixtureParameters(
        tf.constant(rng.dirichlet(np.full(num_components, 3.0))),
        tf.constant(rng.normal(size=(num_components, feature_dim))),
        tf.constant(
            np.stack(
                [samples.positive_definite(feature_dim, seed + k) for k in range(num_components)]
            )
        ),
    )


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
    assert np.isfinite(log_joint(mixture, points)).all()
    rows = responsibilities(mixture, points).numpy()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-12)


def test_an_empty_component_returns_to_the_prior():
    loc, _, df, scale = samples.prior(3)
    prior = niw.niw_parameters(*samples.prior(3))
    mixture = m_step(statistics.zeros(2, 3), prior)
    np.testing.assert_allclose(mixture.means, [loc, loc], rtol=1e-12)
    np.testing.assert_allclose(mixture.covariances[1], scale / (df + 5), rtol=1e-12)


# Up to a limit one matrix product, above it whitening.
@pytest.mark.parametrize(
    "feature_dim", [1, 2, 7, parameters._MAX_QUADRATIC_DIM, parameters._MAX_QUADRATIC_DIM + 1]
)
@pytest.mark.parametrize("num_components", [1, 4])
def test_log_joint_is_scipys(feature_dim, num_components):
    mixture = random_mixture(num_components, feature_dim)
    points = samples.points(20, feature_dim, scale=2.0)
    actual = log_joint(mixture, points)
    assert actual.dtype == tf.float64
    np.testing.assert_allclose(actual, reference.log_joint(*as_numpy(mixture), points), rtol=1e-9)


@pytest.mark.parametrize("num_points", [1, 256, 257, 600])
@pytest.mark.parametrize("largest_quadratic_dim", [64, 0])
def test_both_ways_to_the_log_joint_agree_over_slices(
    monkeypatch, num_points, largest_quadratic_dim
):
    mixture, points = random_mixture(3, 4), samples.points(num_points, 4)
    truth = reference.log_joint(*as_numpy(mixture), points)
    monkeypatch.setattr(parameters, "_SLICE_ELEMENTS", 1)  # slices of 256 points
    monkeypatch.setattr(parameters, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
    density = LogJoint(mixture)
    np.testing.assert_allclose(density(tf.constant(points)), truth, rtol=1e-10)
    compiled = tf.function(
        lambda x: density(x), input_signature=[tf.TensorSpec([None, 4], tf.float64)]
    )
    np.testing.assert_allclose(compiled(points), truth, rtol=1e-10)
    assert compiled(points[:0]).shape == (0, 3)


def test_log_joint_reuses_moments_and_takes_float32():
    mixture, points = random_mixture(3, 4), samples.points(20, 4).astype(np.float32)
    density = LogJoint(mixture)
    truth = reference.log_joint(*as_numpy(mixture), points.astype(np.float64))
    np.testing.assert_allclose(density(points), truth, rtol=1e-10)
    moments = statistics.moment_features(points)
    np.testing.assert_allclose(density(points, moments), truth, rtol=1e-10)


@pytest.mark.parametrize("feature_dim", [3, 40])  # 40: two blocks of whitening and half a block
def test_the_first_components_of_a_prepared_density_are_densities_of_their_own(feature_dim):
    mixture, points = random_mixture(5, feature_dim), samples.points(20, feature_dim)
    density = LogJoint.of_first(tf.constant(3), LogJoint(mixture).tensors)
    truth = reference.log_joint(*(part[:3] for part in as_numpy(mixture)), points)
    np.testing.assert_allclose(density(points), truth, rtol=1e-9)


@pytest.mark.parametrize("feature_dim", [3, 40])
def test_the_log_joint_of_t_distributions_is_scipys(feature_dim):
    gaussians, points = random_mixture(5, feature_dim), samples.points(20, feature_dim)
    mixture = TMixtureParameters(*gaussians, tf.constant([0.5, 1.0, 4.0, 30.0, 1e9], tf.float64))
    truth = reference.t_log_joint(*as_numpy(mixture), points)
    np.testing.assert_allclose(LogJoint(mixture)(points), truth, rtol=1e-6)
    first = LogJoint.of_first(tf.constant(3), LogJoint(mixture).tensors)
    np.testing.assert_allclose(first(points), truth[:, :3], rtol=1e-9)
    # With df without bound a t is a Gaussian.
    np.testing.assert_allclose(
        LogJoint(mixture)(points)[:, 4], LogJoint(gaussians)(points)[:, 4], rtol=1e-5
    )


def test_whitening_in_float32_is_near_whitening_in_float64():
    mixture, points = random_mixture(4, 40), samples.points(30, 40).astype(np.float32)
    exact, fast = (LogJoint(mixture, dtype)(points).numpy() for dtype in (tf.float64, tf.float32))
    assert np.abs(fast - exact).max() < 1e-5 * np.abs(exact).max()
    assert (fast != exact).any() and fast.dtype == np.float64


@pytest.mark.parametrize("largest_quadratic_dim", [64, 0])
def test_squared_distances_are_mahalanobis_and_never_negative(monkeypatch, largest_quadratic_dim):
    monkeypatch.setattr(parameters, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
    _, means, covariances = random_mixture(3, 4)
    distances = SquaredDistances(means, covariances)
    points, gaussians = samples.points(20, 4), list(zip(means, covariances, strict=True))
    truth = [
        [distance.mahalanobis(x, m, np.linalg.inv(c)) ** 2 for m, c in gaussians] for x in points
    ]
    np.testing.assert_allclose(distances(points), truth, rtol=1e-9)
    np.testing.assert_allclose(
        distances.log_determinants, np.linalg.slogdet(covariances)[1], rtol=1e-10
    )
    at_means = distances(means).numpy()
    np.testing.assert_allclose(np.diag(at_means), 0.0, atol=1e-12)
    assert (at_means >= 0.0).all()


@pytest.mark.parametrize("feature_dim", [1, 3, parameters._MAX_QUADRATIC_DIM + 1])
def test_log_predictive_is_a_mixture_of_scipys_multivariate_t(feature_dim):
    prior, points = samples.prior(feature_dim), samples.points(40, feature_dim)
    responsibility, weights = samples.weights(40, 2), np.array([0.3, 0.7])
    after = evidence.posterior(niw.niw_parameters(*prior), accumulate(points, responsibility))
    density = LogPredictive(tf.constant(weights), after)
    new_points = samples.points(15, feature_dim, seed=1, scale=2.0)
    columns = [
        np.log(weight)
        + niw_reference.predictive(niw_reference.posterior(prior, points, column)).logpdf(
            new_points
        )
        for weight, column in zip(weights, responsibility.T, strict=True)
    ]
    truth = np.stack(columns, axis=1)
    np.testing.assert_allclose(density.components(new_points), truth, rtol=1e-9)
    np.testing.assert_allclose(density(new_points), special.logsumexp(truth, axis=1), rtol=1e-9)


@pytest.mark.parametrize("largest_quadratic_dim", [64, 0])
def test_responsibilities_are_the_e_step(monkeypatch, largest_quadratic_dim):
    monkeypatch.setattr(parameters, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
    mixture, points = random_mixture(5, 3), samples.points(40, 3)
    actual = responsibilities(mixture, points)
    truth = reference.responsibilities(*as_numpy(mixture), points)
    np.testing.assert_allclose(actual, truth, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(tf.reduce_sum(actual, axis=1), 1.0, rtol=1e-12)


def test_responsibilities_stay_probabilities_far_from_everything():
    # Densities themselves underflow here; one component is nearer than the others all the same.
    mixture = MixtureParameters(
        tf.constant([0.5, 0.5], tf.float64),
        tf.constant([[0.0, 0.0], [1.0, 0.0]], tf.float64),
        tf.eye(2, batch_shape=[2], dtype=tf.float64),
    )
    actual = responsibilities(mixture, np.array([[1e4, 0.0], [-1e4, 0.0]]))
    np.testing.assert_allclose(actual, [[0.0, 1.0], [1.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("largest_quadratic_dim", [64, 0])
def test_a_component_of_weight_zero_gets_nothing(monkeypatch, largest_quadratic_dim):
    monkeypatch.setattr(parameters, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
    mixture = random_mixture(3, 2)
    mixture = mixture._replace(mixture_weights=tf.constant([0.5, 0.0, 0.5], tf.float64))
    actual = responsibilities(mixture, samples.points(10, 2)).numpy()
    assert (actual[:, 1] == 0.0).all()
    np.testing.assert_allclose(actual.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("unit, shift", [(1e3, 5.0), (1e-3, 0.0)])
def test_responsibilities_do_not_depend_on_units(unit, shift):
    mixture, points = random_mixture(3, 3), samples.points(30, 3)
    moved = MixtureParameters(
        mixture.mixture_weights, unit * mixture.means + shift, unit**2 * mixture.covariances
    )
    np.testing.assert_allclose(
        responsibilities(moved, unit * points + shift), responsibilities(mixture, points), rtol=1e-8
    )
