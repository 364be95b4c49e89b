from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from tfdpm.networks.layers import MASKED_LOGIT
from tfdpm.networks.losses import isotropic_loss, kl_cluster_loss


def random_logits(seed, rows=6, columns=4):
    return np.random.default_rng(seed).normal(size=(rows, columns)) * 2


def slow_kl(first, second, weights):
    total = 0.0
    for p, q, weight in zip(first, second, weights, strict=True):
        for a, b in zip(p, q, strict=True):
            total += weight * a * (np.log(a) - np.log(b))
    return total / weights.sum()


@pytest.mark.parametrize("direction", ["network_to_target", "target_to_network"])
def test_cluster_loss_is_the_divergence_in_the_named_direction(direction):
    logits, targets = random_logits(0), random_logits(1)
    weights = np.array([1.0, 2.0, 0.0, 0.5, 1.0, 3.0])
    pair = softmax(logits, axis=1), softmax(targets, axis=1)
    if direction == "target_to_network":
        pair = pair[::-1]
    actual = kl_cluster_loss(
        tf.constant(logits),
        tf.constant(log_softmax(targets, axis=1)),
        tf.constant(weights),
        direction=direction,
    )
    np.testing.assert_allclose(actual, slow_kl(*pair, weights), rtol=1e-10)
    assert float(actual) > 0.1


@pytest.mark.parametrize("direction", ["network_to_target", "target_to_network"])
def test_cluster_loss_vanishes_where_both_agree_and_spare_slots_do_not_count(direction):
    logits = np.pad(random_logits(0), [(0, 0), (0, 3)], constant_values=MASKED_LOGIT)
    logits = logits.astype(np.float32)
    targets = tf.nn.log_softmax(logits)
    same = kl_cluster_loss(tf.constant(logits), targets, tf.ones(6), direction=direction)
    np.testing.assert_allclose(same, 0.0, atol=1e-6)
    other = random_logits(1)
    padded = np.pad(other, [(0, 0), (0, 3)], constant_values=MASKED_LOGIT)
    arguments = [log_softmax(each, axis=1) for each in (other, padded)]
    losses = [
        kl_cluster_loss(
            tf.constant(logit), tf.constant(target), tf.ones(6, tf.float64), direction=direction
        )
        for logit, target in zip(
            (logits[:, :4].astype(np.float64), logits.astype(np.float64)), arguments, strict=True
        )
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


@pytest.mark.parametrize("direction", ["network_to_target", "target_to_network"])
def test_descending_the_cluster_loss_brings_the_network_to_the_target(direction):
    logits = tf.Variable(random_logits(0))
    targets = tf.constant(log_softmax(random_logits(1), axis=1))
    before = np.abs(softmax(logits.numpy(), axis=1) - np.exp(targets)).max()
    for _ in range(300):
        with tf.GradientTape() as tape:
            loss = kl_cluster_loss(logits, targets, tf.ones(6, tf.float64), direction=direction)
        logits.assign_sub(10.0 * tape.gradient(loss, logits))
    after = np.abs(softmax(logits.numpy(), axis=1) - np.exp(targets)).max()
    assert before > 0.5 and after < 0.02


@pytest.mark.parametrize("direction", ["network_to_target", "target_to_network"])
def test_gradients_stay_finite_where_a_component_is_impossible(direction):
    logits = tf.Variable([[80.0, -80.0, MASKED_LOGIT], [0.0, 300.0, MASKED_LOGIT]])
    targets = tf.constant([[-500.0, 0.0, MASKED_LOGIT], [0.0, -3000.0, MASKED_LOGIT]])
    with tf.GradientTape() as tape:
        loss = kl_cluster_loss(logits, targets, tf.ones(2), direction=direction)
    gradient = tape.gradient(loss, logits).numpy()
    # KL(r || rE) takes no share for smaller than 1e-5.
    least = 50.0 if direction == "target_to_network" else 11.0
    assert np.isfinite(loss) and np.isfinite(gradient).all() and float(loss) > least


def test_far_points_do_not_outweigh_those_of_a_narrow_cluster():
    # Two components alike so far: one point is the narrow one's, one is thousands of nats from it.
    logits = tf.Variable(tf.zeros([2, 2], tf.float64))
    log_targets = log_softmax([[5.0, 0.0], [-5000.0, 0.0]], axis=1)
    with tf.GradientTape() as tape:
        loss = kl_cluster_loss(
            logits, log_targets, tf.ones(2, tf.float64), direction="network_to_target"
        )
    pulls = np.abs(tape.gradient(loss, logits).numpy()).max(axis=1)
    # The gradient of KL(r || rE) at r = 1/2 is a quarter of log rE_1 / rE_2, of 1e-5 at least.
    np.testing.assert_allclose(2 * pulls, np.array([5.0, -np.log(1e-5)]) / 4, rtol=1e-2)


def test_an_unknown_direction_is_named():
    with pytest.raises(ValueError, match="`direction`: got 'forward'"):
        kl_cluster_loss(tf.zeros([1, 2]), tf.zeros([1, 2]), tf.ones(1), direction="forward")


@pytest.mark.parametrize("own_means", [False, True])
def test_isotropic_loss_is_the_weighted_sum_of_squared_distances(own_means):
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(5, 3)), rng.uniform(size=5)
    responsibilities = rng.dirichlet(np.ones(2), size=5)
    means = rng.normal(size=(5, 2, 3) if own_means else (2, 3))
    expected = 0.0
    for i in range(5):
        for j in range(2):
            mean = means[i, j] if own_means else means[j]
            distance = sum((a - b) ** 2 for a, b in zip(features[i], mean, strict=True))
            expected += weights[i] * responsibilities[i, j] * distance
    actual = isotropic_loss(*map(tf.constant, (responsibilities, features, means, weights)))
    np.testing.assert_allclose(actual, expected / weights.sum(), rtol=1e-12)


def test_a_batch_without_weight_has_no_loss():
    loss = isotropic_loss(tf.ones([2, 1]), tf.ones([2, 1]), tf.zeros([1, 1]), tf.zeros(2))
    assert float(loss) == 0.0
