"""Losses of the clustering and the subclustering networks, each a mean over the batch."""

from __future__ import annotations

import math

import tensorflow as tf

from tfdpm import checks

# Least logarithms in the divergence, by its direction: of 1e-5, which the authors' program adds, or
# so low that a masked or impossible component contributes 0 times a finite number.
LEAST_LOGS = {"network_to_target": math.log(1e-5), "target_to_network": -100.0}


def kl_cluster_loss(logits, log_targets, weights, *, direction: str) -> tf.Tensor:
    """Divergence between the network's responsibilities r and the E-step's rE.

    [DeepDPM] eq. 6 is `"network_to_target"`, KL(r || rE); the authors' program computes
    `"target_to_network"`, KL(rE || r). Both are nats per point; zero exactly when both agree.

    In the first, logarithms are those of 1e-5 at least, which the authors' program adds to both.
    Else points that are far from a narrow cluster, by thousands of nats, outweigh its own: a wide
    cluster takes all of them, and one with r = 0 everywhere has no gradient any more.

    Args:
        logits: `[B, C]` of the clustering network.
        log_targets: `[B, C]` log responsibilities of the E-step, constants.
        weights: `[B]` sample weights.
        direction: as above.
    """
    checks.one_of(direction, "direction", LEAST_LOGS)
    log_network = tf.nn.log_softmax(logits)
    if direction == "network_to_target":
        first, second = log_network, log_targets
    else:
        first, second = log_targets, log_network
    floor = tf.constant(LEAST_LOGS[direction], logits.dtype)
    divergence = tf.exp(first) * (tf.maximum(first, floor) - tf.maximum(second, floor))
    return _weighted_mean(tf.reduce_sum(divergence, axis=-1), weights)


def isotropic_loss(responsibilities, features, means, weights) -> tf.Tensor:
    """`sum_j r_ij ||x_i - mu_j||^2`, the K-means-like loss of [DeepDPM] eq. 7, per point.

    Responsibilities are `[B, J]`. Means `[J, D]` are shared by the batch, or `[B, J, D]` one set
    per point.
    """
    distances = tf.reduce_sum((features[:, tf.newaxis, :] - means) ** 2, axis=-1)
    return _weighted_mean(tf.reduce_sum(responsibilities * distances, axis=-1), weights)


def _weighted_mean(values, weights) -> tf.Tensor:
    weights = tf.cast(weights, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))
