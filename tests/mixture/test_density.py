from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats
from scipy.spatial import distance

from tests.reference import mixture as reference
from tests.reference import niw as niw_reference
from tests.reference import samples
from tfdpm.mixture import density as module
from tfdpm.mixture import evidence, niw, statistics
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
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


def responsibilities(mixture, points):
    return tf.nn.softmax(LogJoint(mixture)(points), axis=-1)


# Up to a limit one matrix product, above it whitening.
@pytest.mark.parametrize(
    "feature_dim", [1, 2, 7, module._MAX_QUADRATIC_DIM, module._MAX_QUADRATIC_DIM + 1]
)
@pytest.mark.parametrize("num_components", [1, 4])
def test_log_joint_is_scipys(feature_dim, num_components):
    mixture = random_mixture(num_components, feature_dim)
    points = samples.points(20, feature_dim, scale=2.0)
    actual = LogJoint(mixture)(points)
    assert actual.dtype == tf.float64
    np.testing.assert_allclose(actual, reference.log_joint(*as_numpy(mixture), points), rtol=1e-9)


@pytest.mark.parametrize("num_points", [1, 256, 257, 600])
@pytest.mark.parametrize("largest_quadratic_dim", [64, 0])
def test_both_ways_to_the_log_joint_agree_over_slices(
    monkeypatch, num_points, largest_quadratic_dim
):
    mixture, points = random_mixture(3, 4), samples.points(num_points, 4)
    truth = reference.log_joint(*as_numpy(mixture), points)
    monkeypatch.setattr(module, "_SLICE_ELEMENTS", 1)  # slices of 256 points
    monkeypatch.setattr(module, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
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
    monkeypatch.setattr(module, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
    mixture = random_mixture(3, 4)
    _, means, covariances = mixture
    distances = LogJoint(mixture).distances
    points, gaussians = samples.points(20, 4), list(zip(means, covariances, strict=True))
    truth = [
        [distance.mahalanobis(x, m, np.linalg.inv(c)) ** 2 for m, c in gaussians] for x in points
    ]
    np.testing.assert_allclose(distances(points), truth, rtol=1e-9)
    at_means = distances(means).numpy()
    np.testing.assert_allclose(np.diag(at_means), 0.0, atol=1e-12)
    assert (at_means >= 0.0).all()


@pytest.mark.parametrize("feature_dim", [1, 3, module._MAX_QUADRATIC_DIM + 1])
def test_log_predictive_is_a_mixture_of_scipys_multivariate_t(feature_dim):
    prior, points = samples.prior(feature_dim), samples.points(40, feature_dim)
    responsibility, weights = samples.weights(40, 2), np.array([0.3, 0.7])
    after = evidence.posterior(niw.niw_parameters(*prior), accumulate(points, responsibility))
    density = PredictiveTails(tf.constant(weights), after)
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
    few, distances = density.components.of_few(new_points)
    np.testing.assert_allclose(few, truth, rtol=1e-9)
    np.testing.assert_allclose(distances, density.components.distances(new_points), rtol=1e-9)


@pytest.mark.parametrize("feature_dim", [2, module._MAX_QUADRATIC_DIM + 5])
def test_a_few_points_of_gaussians_have_the_densities_of_scipy(feature_dim):
    mixture, points = random_mixture(3, feature_dim), samples.points(5, feature_dim)
    columns = [
        np.log(weight) + stats.multivariate_normal(mean, covariance).logpdf(points)
        for weight, mean, covariance in zip(*mixture, strict=True)
    ]
    few, _ = LogJoint(mixture).of_few(points)
    np.testing.assert_allclose(few, np.stack(columns, axis=1), rtol=1e-9)


@pytest.mark.parametrize("largest_quadratic_dim", [64, 0])
def test_responsibilities_are_the_e_step(monkeypatch, largest_quadratic_dim):
    monkeypatch.setattr(module, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
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
    monkeypatch.setattr(module, "_MAX_QUADRATIC_DIM", largest_quadratic_dim)
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
