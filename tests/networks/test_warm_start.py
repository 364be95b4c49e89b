"""First weights of the clustering network from a mixture."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfdpm.data import gaussian_mixture
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.networks import warm_start
from tfdpm.networks.layers import ClusteringNetwork
from tfdpm.networks.losses import kl_cluster_loss
from tfdpm.networks.warm_start import start_from_mixture


def started(num_clusters: int, width: int, unit: float = 1.0):
    """A network of clusters in a plane, its points `[N, 2]` and their log posterior `[N, K]`."""
    points, truth = gaussian_mixture(num_clusters, 2, 20 * num_clusters, seed=1)
    points = unit * points.astype(np.float64) / points.std()
    groups = [points[truth == k] for k in range(num_clusters)]
    weights = np.array([len(group) for group in groups]) / len(points)
    means = np.stack([group.mean(axis=0) for group in groups])
    covariances = np.stack([np.cov(group.T) for group in groups])
    log_joint = np.log(weights) + np.stack(
        [
            stats.multivariate_normal(mean, covariance).logpdf(points)
            for mean, covariance in zip(means, covariances, strict=True)
        ],
        axis=1,
    )
    log_posterior = log_joint - np.logaddexp.reduce(log_joint, axis=1, keepdims=True)
    parameters = MixtureParameters(
        *(tf.constant(each, tf.float64) for each in (weights, means, covariances))
    )
    network = ClusteringNetwork(width, num_clusters, seed=0)
    network.build((None, 2))
    points = points.astype(np.float32)
    start_from_mixture(network, parameters, points, seed=0)
    return network, points, log_posterior


def logits_of(network, points) -> tf.Tensor:
    return network(points, num_components=network.capacity)


def divergence(network, points, log_posterior) -> float:
    """Mean of KL(rE || r), nats."""
    found = tf.nn.log_softmax(logits_of(network, points)).numpy()
    return float(np.mean(np.sum(np.exp(log_posterior) * (log_posterior - found), axis=1)))


@pytest.mark.parametrize("num_clusters, width", [(10, 50), (100, 200)])
def test_first_weights_say_what_the_mixture_says(num_clusters, width):
    network, points, log_posterior = started(num_clusters, width)
    assert divergence(network, points, log_posterior) < 0.02
    agree = logits_of(network, points).numpy().argmax(axis=1) == log_posterior.argmax(axis=1)
    assert agree.mean() > 0.99


def test_points_that_are_taken_in_slices_give_the_same_weights(monkeypatch):
    whole, *_ = started(20, 40)
    monkeypatch.setattr(warm_start, "_SLICE_ELEMENTS", 1)  # slices of 256 points
    sliced, *_ = started(20, 40)
    for one, other in zip(whole.get_weights(), sliced.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_first_steps_do_not_undo_hundreds_of_narrow_clusters():
    """Activations grow with the number of clusters side by side, and Adam's steps with them."""
    network, points, log_posterior = started(200, 400)
    optimizer = keras.optimizers.Adam(0.002)
    generator = np.random.default_rng(1)
    for _ in range(10):
        batch = generator.integers(len(points), size=400)
        with tf.GradientTape() as tape:
            loss = kl_cluster_loss(
                logits_of(network, points[batch]),
                tf.constant(log_posterior[batch], tf.float32),
                tf.ones(len(batch)),
                direction="target_to_network",
            )
        variables = network.trainable_variables
        gradients = tape.gradient(loss, [each.value for each in variables])
        optimizer.apply([tf.convert_to_tensor(each) for each in gradients], variables)
    assert divergence(network, points, log_posterior) < 0.05


def test_activations_are_bounded_in_any_unit():
    sums = []
    for unit in (1.0, 100.0):
        network, points, _ = started(200, 400, unit)
        sums.append(float(tf.reduce_mean(tf.reduce_sum(network.hidden(points), axis=1))))
    assert sums[0] == pytest.approx(sums[1], rel=1e-3)
    assert sums[0] < 1500
