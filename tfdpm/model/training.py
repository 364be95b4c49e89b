"""Compiled passes over the data: one epoch of gradient steps, and one reduction to statistics.

Python is entered once per pass. Everything that changes from epoch to epoch comes in as a tensor,
so a pass is traced once per capacity; which moves follow is decided elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm.mixture.parameters import LogJoint, MixtureParameters
from tfdpm.mixture.statistics import (
    SufficientStatistics,
    accumulate,
    accumulate_hard,
    zeros,
)
from tfdpm.model.losses import isotropic_loss, kl_cluster_loss
from tfdpm.model.networks import MASKED_LOGIT, ClusteringNetwork, SubclusteringNetworks

# Rows reduced at once in a pass without gradients.
_PASS_ROWS = 8192


class PassStatistics(NamedTuple):
    """What one pass reduces the data to, under the networks as they stand.

    Attributes:
        soft: `[K]` components weighted by responsibilities: for the M-step.
        halves: `[K, 2]` hard counts of subclusters within hard clusters: for Hastings ratios.
        soft_halves: `[K, 2]` points of hard clusters weighted by subcluster responsibilities.
    """

    soft: SufficientStatistics
    halves: SufficientStatistics
    soft_halves: SufficientStatistics


class StepSettings(NamedTuple):
    """The part of the configuration that is compiled into the step."""

    cluster_loss: str
    kl_direction: str
    subclustering: str


def epoch_order(num_points: int, batch_size: int, min_steps: int, seed: int, epoch: int):
    """Indices of every batch of one epoch, a function of the seed and the epoch alone.

    Each point is seen once, and again only to fill the last batch or to reach `min_steps`.

    Returns:
        `[steps, batch_size]` int32.
    """
    generator = np.random.default_rng([seed, epoch, 0])
    steps = max(-(-num_points // batch_size), min_steps)
    rounds = -(-steps * batch_size // num_points)
    order = np.concatenate([generator.permutation(num_points) for _ in range(rounds)])
    return order[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def log_targets(parameters: MixtureParameters, features, capacity: int) -> tf.Tensor:
    """Log responsibilities of the E-step, [DeepDPM] eq. 5: `[N, C]` float32, spare slots masked."""
    targets = tf.cast(tf.nn.log_softmax(LogJoint(parameters)(features)), tf.float32)
    spare = capacity - parameters.num_components
    return tf.pad(targets, [[0, 0], [0, spare]], constant_values=MASKED_LOGIT)


class Passes:
    """The compiled passes of one pair of networks at one capacity.

    Args:
        clustering: the clustering network, built.
        subclustering: the subclustering networks, built.
        optimizer: trains the clustering network.
        subcluster_optimizer: trains the subclustering networks.
        settings: what the step computes.
        num_traces: traces made before, to go on counting from.
    """

    def __init__(
        self,
        clustering: ClusteringNetwork,
        subclustering: SubclusteringNetworks,
        optimizer: keras.optimizers.Optimizer | None,
        subcluster_optimizer: keras.optimizers.Optimizer | None,
        settings: StepSettings,
        num_traces: int = 0,
    ):
        self._clustering, self._subclustering = clustering, subclustering
        self._optimizer, self._subcluster_optimizer = optimizer, subcluster_optimizer
        self._settings = settings
        self.num_traces = num_traces
        self.train_array = tf.function(self._train_array)
        self.train_stream = tf.function(self._train_stream)
        self.reduce_array = tf.function(self._reduce_array)
        self.reduce_stream = tf.function(self._reduce_stream)
        self.label_batch = tf.function(self._label, reduce_retracing=True)
        self.infer_batch = tf.function(self._infer, reduce_retracing=True)

    @property
    def capacity(self) -> int:
        """Number of component slots."""
        return self._clustering.capacity

    # -- training ---------------------------------------------------------------------------

    def _train_array(self, data, order, means, sub_means, num_components, trains_subclusters: bool):
        """One epoch over an array.

        Args:
            data: features `[N, D]`, log targets `[N, C]` and weights `[N]`.
            order: `[steps, B]`, which points make up each batch.
            means, sub_means: `[C, D]` and `[C, 2, D]`, constants of the epoch.
            num_components: K, scalar tensor.
            trains_subclusters: Python bool, whether the subclustering networks learn.
        """
        self.num_traces += 1
        total = tf.zeros([2])
        for step in tf.range(tf.shape(order)[0]):
            index = order[step]
            batch = [tf.gather(part, index) for part in data]
            total += self._step(batch, means, sub_means, num_components, trains_subclusters)
        return total / tf.cast(tf.maximum(tf.shape(order)[0], 1), tf.float32)

    def _train_stream(
        self, batches, parameters, means, sub_means, num_components, trains_subclusters: bool
    ):
        """One epoch over a stream of `(features, weights)`; the E-step is made batch by batch."""
        self.num_traces += 1
        total, steps = tf.zeros([2]), tf.constant(0.0)
        log_joint = LogJoint(parameters)
        for features, weights in batches:
            log_density = log_joint(features)
            slots = tf.range(self.capacity) < num_components
            masked = tf.where(slots, log_density, tf.constant(MASKED_LOGIT, tf.float64))
            targets = tf.cast(tf.nn.log_softmax(masked), tf.float32)
            batch = (features, targets, weights)
            total += self._step(batch, means, sub_means, num_components, trains_subclusters)
            steps += 1.0
        return tf.math.divide_no_nan(total, steps)

    def _step(self, batch, means, sub_means, num_components, trains_subclusters: bool):
        """One gradient step of both losses; the two networks share no weight."""
        features, targets, weights = batch
        settings = self._settings
        with tf.GradientTape() as tape:
            logits = self._clustering(features, num_components=num_components)
            if settings.cluster_loss == "kl":
                cluster_loss = kl_cluster_loss(
                    logits, targets, weights, direction=settings.kl_direction
                )
            else:
                cluster_loss = isotropic_loss(tf.nn.softmax(logits), features, means, weights)
            total, subcluster_loss = cluster_loss, tf.zeros([])
            if trains_subclusters:
                assignments = tf.argmax(logits, axis=-1, output_type=tf.int32)
                sub_logits = self._subclustering(features, assignments=assignments)
                subcluster_loss = isotropic_loss(
                    tf.nn.softmax(sub_logits), features, tf.gather(sub_means, assignments), weights
                )
                total += subcluster_loss
        cluster_variables = self._clustering.trainable_variables
        variables = list(cluster_variables)
        if trains_subclusters:
            variables += self._subclustering.trainable_variables
        gradients = tape.gradient(total, [variable.value for variable in variables])
        count = len(cluster_variables)
        self._optimizer.apply(gradients[:count], cluster_variables)
        if trains_subclusters:
            dense = [tf.convert_to_tensor(gradient) for gradient in gradients[count:]]
            self._subcluster_optimizer.apply(dense, self._subclustering.trainable_variables)
        return tf.stack([cluster_loss, subcluster_loss])

    # -- reduction --------------------------------------------------------------------------

    def _reduce_array(self, features, weights, sub_means, num_components) -> PassStatistics:
        """Statistics of all of an array, slice by slice."""
        self.num_traces += 1
        result = self._no_points(int(features.shape[-1]))
        start, num_points = tf.constant(0), tf.shape(features)[0]
        while start < num_points:
            stop = start + _PASS_ROWS
            piece = self._reduce(
                features[start:stop], weights[start:stop], sub_means, num_components
            )
            result = tf.nest.map_structure(tf.add, result, piece)
            start = stop
        return result

    def _reduce_stream(self, batches, sub_means, num_components) -> PassStatistics:
        """Statistics of all batches of `(features, weights)`."""
        self.num_traces += 1
        result = self._no_points(int(batches.element_spec[0].shape[-1]))
        for features, weights in batches:
            piece = self._reduce(features, weights, sub_means, num_components)
            result = tf.nest.map_structure(tf.add, result, piece)
        return result

    def _no_points(self, feature_dim: int) -> PassStatistics:
        whole = zeros(self.capacity, feature_dim)
        halves = SufficientStatistics(*(tf.stack([part, part], axis=1) for part in whole))
        return PassStatistics(whole, halves, halves)

    def _reduce(self, features, weights, sub_means, num_components) -> PassStatistics:
        """Statistics of one batch under both networks, slots first."""
        capacity = self.capacity
        logits = self._clustering(features, num_components=num_components)
        assignments = tf.argmax(logits, axis=-1, output_type=tf.int32)
        responsibilities = (
            tf.nn.softmax(tf.cast(logits, tf.float64)) * tf.cast(weights, tf.float64)[:, tf.newaxis]
        )
        sub_logits = self._sub_logits(features, assignments, sub_means)
        first = tf.nn.softmax(tf.cast(sub_logits, tf.float64))[:, 0]
        is_second = tf.cast(sub_logits[:, 1] > sub_logits[:, 0], tf.int32)
        halves = accumulate_hard(features, 2 * assignments + is_second, 2 * capacity, weights)
        soft_first = accumulate_hard(
            features, assignments, capacity, tf.cast(weights, tf.float64) * first
        )
        halves = SufficientStatistics(
            *(tf.reshape(part, [capacity, 2, *part.shape[1:]]) for part in halves)
        )
        # Subcluster responsibilities sum to one, so the second half is the rest.
        soft_halves = SufficientStatistics(
            *(
                tf.stack([part, tf.reduce_sum(whole, axis=1) - part], axis=1)
                for part, whole in zip(soft_first, halves, strict=True)
            )
        )
        return PassStatistics(accumulate(features, responsibilities), halves, soft_halves)

    def _sub_logits(self, features, assignments, sub_means) -> tf.Tensor:
        """Logits `[B, 2]` of each point's subclusters, by network or by the nearer mean."""
        if self._settings.subclustering == "network":
            return self._subclustering(features, assignments=assignments)
        centres = tf.gather(sub_means, assignments)
        distances = tf.reduce_sum((features[:, tf.newaxis, :] - centres) ** 2, axis=-1)
        # A softmax so steep is one-hot: one such pass is one iteration of 2-means.
        return -1e6 * distances

    # -- inference --------------------------------------------------------------------------

    def _label(self, features, sub_means, num_components) -> tuple[tf.Tensor, tf.Tensor]:
        """Cluster `[B]` int32 and subcluster `[B]` int32 (0 or 1) of each point."""
        logits = self._clustering(features, num_components=num_components)
        assignments = tf.argmax(logits, axis=-1, output_type=tf.int32)
        sub_logits = self._sub_logits(features, assignments, sub_means)
        return assignments, tf.cast(sub_logits[:, 1] > sub_logits[:, 0], tf.int32)

    def _infer(self, features, num_components) -> tf.Tensor:
        """Responsibilities `[B, C]` float32."""
        self.num_traces += 1
        return tf.nn.softmax(self._clustering(features, num_components=num_components))
