"""Compiled passes over the data: one epoch of gradient steps, and one reduction to statistics.

Python is entered once per pass. Everything that changes from epoch to epoch comes in as a tensor,
so a pass is traced once per capacity; which moves follow is decided elsewhere.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.statistics import (
    SLICES_AT_ONCE,
    PointMoments,
    is_wide,
    num_moments,
    slice_rows,
)
from tfdpm.networks.compilation import is_brief
from tfdpm.networks.layers import MASKED_LOGIT, ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.losses import isotropic_loss, kl_cluster_loss
from tfdpm.networks.reduction import PassStatistics, pass_statistics

_FEW_SLOTS = 64
# Up to so many slots, one product makes the three sums of a pass in half the time of a product and
# two sums over segments; of twice as many it takes longer.
_MOST_TOGETHER = 32


def epoch_order(num_points: int, batch_size: int, min_steps: int, seed: int, epoch: int):
    """Indices `[steps, batch_size]` int32 of an epoch, a function of the seed and the epoch alone.

    Each point is seen once, and again only to fill the last batch or to reach `min_steps`.
    """
    generator = np.random.default_rng([seed, epoch, 0])
    steps = max(-(-num_points // batch_size), min_steps)
    order = np.empty(steps * batch_size, np.int32)
    for start in range(0, len(order), num_points):
        part = order[start : start + num_points]
        if len(part) == num_points:  # the longest ones need no further array
            part[:] = np.arange(num_points, dtype=np.int32)
            generator.shuffle(part)
        else:
            part[:] = generator.permutation(np.arange(num_points, dtype=np.int32))[: len(part)]
    return order.reshape(steps, batch_size)


def log_targets(density, num_components, features, capacity: int) -> tf.Tensor:
    """Log responsibilities of the E-step, [DeepDPM] eq. 5: `[B, C]` float32, spare slots masked.

    Of `features [B, D]`; the density is as `padded_density` gives it, K is a scalar tensor.
    """
    # Of few slots the spare ones cost less than shapes that change with K, for which XLA would
    # compile the step anew.
    num_slots = capacity if capacity <= _FEW_SLOTS else num_components
    log_joint = LogJoint.of_first(num_slots, density)(features)
    targets = tf.cast(tf.nn.log_softmax(log_joint), tf.float32)
    paddings = [[0, 0], [0, capacity - num_slots]]
    targets = tf.pad(targets, paddings, constant_values=MASKED_LOGIT)
    return tf.ensure_shape(targets, [None, capacity])


def compiled(method: Callable, **options) -> Callable:
    """`method` as a graph per kind of arguments.

    TensorFlow counts traces by line of code and so takes many models in one process for one that
    is retraced too often; concrete functions are not counted. Loops are written as such, so that
    no time goes into converting Python to graphs.
    """
    function = tf.function(method, autograph=False, **options)
    return lambda *arguments: function.get_concrete_function(*arguments)(*arguments)


class Passes:
    """The compiled passes of one pair of networks at one capacity.

    Args:
        clustering, subclustering: the networks, built.
        optimizer, subcluster_optimizer: train the one and the others.
        config: settings of the step, and whether the passes of small networks are too few to be
            traced.
        traces: counter of traces to go on with; a new one by default.
    """

    def __init__(
        self,
        clustering: ClusteringNetwork,
        subclustering: SubclusteringNetworks,
        optimizer: keras.optimizers.Optimizer | None,
        subcluster_optimizer: keras.optimizers.Optimizer | None,
        config: DeepDPMConfig,
        traces: collections.Counter | None = None,
    ):
        self._clustering, self._subclustering = clustering, subclustering
        self._optimizer, self._subcluster_optimizer = optimizer, subcluster_optimizer
        self.config = config
        self._is_for_xla = False
        self._traces = collections.Counter() if traces is None else traces
        # Batches of a model that learns online come in any size.
        self.train_array = compiled(self.array_epoch, reduce_retracing=True)
        self.train_array_by_xla = compiled(self.array_epoch_by_xla, jit_compile=True)
        self.train_stream = compiled(self.stream_epoch)
        self.reduce_array = compiled(self.array_statistics, reduce_retracing=True)
        self.reduce_stream = compiled(self.stream_statistics)
        # One trace for batches of any size.
        features = tf.TensorSpec([None, clustering.hidden.kernel.shape[0]], tf.float32)
        count = tf.TensorSpec([], tf.int32)
        sub_means = tf.TensorSpec([None, 2, features.shape[1]], tf.float32)
        self.label_batch = compiled(self._label, input_signature=[features, sub_means, count])
        self.reduce_few_points = self.reduce_array
        if is_brief(config) and subclustering.are_light and not is_wide(features.shape[1]):
            self.label_batch, self.reduce_few_points = self._label, self.array_statistics
        self.infer_batch = compiled(self._infer, input_signature=[features, count])

    @property
    def capacity(self) -> int:
        """Number of component slots."""
        return self._clustering.capacity

    @property
    def num_traces(self) -> int:
        """How often a pass was traced."""
        return self._traces["passes"]

    def count_trace(self) -> None:
        if not tf.executing_eagerly():
            self._traces["passes"] += 1

    # -- training ---------------------------------------------------------------------------

    def array_epoch(self, features, weights, order, *targets):
        """One epoch over an array `[N, D]` in the `order [steps, B]`, which tells each batch.

        The E-step is made batch by batch: no array is N K long. `targets` are what `gradients_of`
        takes after the batch, constants of the epoch.
        """
        self.count_trace()
        num_steps = tf.shape(order)[0]

        def body(step, total):
            batch = tf.gather(features, order[step]), tf.gather(weights, order[step])
            return step + 1, total + self.step(batch, *targets)

        _, total = tf.while_loop(
            lambda step, _: step < num_steps, body, (0, tf.zeros([2])), parallel_iterations=1
        )
        return total / tf.cast(tf.maximum(num_steps, 1), tf.float32)

    def array_epoch_by_xla(self, *arguments):
        """As `array_epoch`, traced for XLA."""
        self._is_for_xla = True
        try:
            return self.array_epoch(*arguments)
        finally:
            self._is_for_xla = False

    def stream_epoch(self, batches, *targets):
        """One epoch over a stream of `(features, weights)`; targets as for `array_epoch`."""
        self.count_trace()

        def body(state, batch):
            total, steps = state
            return total + self.step(batch, *targets), steps + 1.0

        body = tf.autograph.experimental.do_not_convert(body)
        total, steps = batches.reduce((tf.zeros([2]), tf.constant(0.0)), body)
        return tf.math.divide_no_nan(total, steps)

    def step(self, batch, *targets):
        """One gradient step of both losses; the two networks share no weight."""
        losses, gradients = self.gradients_of(batch, *targets)
        self.apply_gradients(gradients)
        return losses

    def gradients_of(
        self,
        batch,
        density,
        means,
        sub_means,
        num_components,
        trains_subclusters: bool,
        first_points=None,
        shares=(1.0, 1.0),
    ):
        """Losses `[2]` of one batch and their gradients.

        Args:
            batch: features `[B, D]` and weights `[B]`.
            density: `LogJoint.tensors` of C components.
            means, sub_means: `[C, D]` and `[C, 2, D]`.
            num_components: K, scalar tensor.
            trains_subclusters: Python bool, whether the subclustering networks learn.
            first_points: how many of them the subclustering networks learn from; `None` for the
                setting. Batches are in random order: their first points are as good as any.
            shares: what both losses are multiplied by, for a batch that is part of a larger one.

        Returns:
            Losses, and gradients of the trainable variables of one network after the other.
        """
        features, weights = batch
        config = self.config
        if config.cluster_loss == "kl":
            targets = log_targets(density, num_components, features, self.capacity)
        with tf.GradientTape() as tape:
            logits = self._clustering(features, num_components=num_components)
            if config.cluster_loss == "kl":
                cluster_loss = kl_cluster_loss(
                    logits, targets, weights, direction=config.kl_direction
                )
            else:
                cluster_loss = isotropic_loss(tf.nn.softmax(logits), features, means, weights)
            losses = [shares[0] * cluster_loss, tf.zeros([])]
            if trains_subclusters:
                first = slice(config.max_subcluster_batch if first_points is None else first_points)
                assignments = tf.argmax(logits[first], axis=-1, output_type=tf.int32)
                sub_logits = self._subclustering(
                    features[first], assignments=assignments, by_xla=self._is_for_xla
                )
                losses[1] = shares[1] * isotropic_loss(
                    tf.nn.softmax(sub_logits),
                    features[first],
                    tf.gather(sub_means, assignments),
                    weights[first],
                )
            total = losses[0] + losses[1]
        variables = list(self._clustering.trainable_variables)
        if trains_subclusters:
            variables += self._subclustering.trainable_variables
        gradients = tape.gradient(total, [variable.value for variable in variables])
        # Those of gathered kernels are sparse.
        return tf.stack(losses), [tf.convert_to_tensor(gradient) for gradient in gradients]

    def apply_gradients(self, gradients) -> None:
        """One step of the optimisers whose networks there are gradients for."""
        cluster_variables = self._clustering.trainable_variables
        count = len(cluster_variables)

        def apply(_) -> None:
            self._optimizer.apply(gradients[:count], cluster_variables)
            if len(gradients) > count:
                self._subcluster_optimizer.apply(
                    gradients[count:], self._subclustering.trainable_variables
                )

        # The sums are those of all replicas. Within a replica's context Keras would sum them once
        # more, by an operation whose gradient TensorFlow keeps for ever, and with it this graph.
        tf.distribute.get_replica_context().merge_call(apply)

    # -- reduction --------------------------------------------------------------------------

    def array_statistics(self, features, weights, *halves) -> PassStatistics:
        """Statistics of all of an array, slice by slice; arguments as for `sum_batch`."""
        self.count_trace()
        dim, num_points = int(features.shape[-1]), tf.shape(features)[0]
        rows = slice_rows(dim, self.capacity)
        if not (tf.executing_eagerly() or is_wide(dim)):
            # Several reductions of slices are at work at once; what they leave in pieces adds up,
            # above all where the points themselves come a few at a time.
            rows = tf.maximum(256, tf.minimum(rows, num_points // 16))

        sums = self.sum_rows(0, num_points, rows, features, weights, *halves)
        return pass_statistics(sums, dim)

    def sum_rows(self, start, stop, at_once, features, weights, *halves) -> list[tf.Tensor]:
        """As `sum_batch`, of rows `start` to `stop` of an array, so many at once."""

        def body(start, sums):
            end = tf.minimum(start + at_once, stop)
            piece = self.sum_batch(features[start:end], weights[start:end], *halves)
            return end, [a + b for a, b in zip(sums, piece, strict=True)]

        sums = self.zero_sums(int(features.shape[-1]))
        return tf.while_loop(
            lambda start, _: start < stop, body, (start, sums), parallel_iterations=SLICES_AT_ONCE
        )[1]

    def stream_statistics(self, batches, *halves) -> PassStatistics:
        """Statistics of all batches of `(features, weights)`."""
        self.count_trace()
        dim = int(batches.element_spec[0].shape[-1])
        # Neither as small as users like for training, nor larger than memory allows.
        batches = batches.rebatch(slice_rows(dim, self.capacity))

        def body(sums, batch):
            piece = self.sum_batch(*batch, *halves)
            return tuple(a + b for a, b in zip(sums, piece, strict=True))

        body = tf.autograph.experimental.do_not_convert(body)
        return pass_statistics(batches.reduce(tuple(self.zero_sums(dim)), body), dim)

    def zero_sums(self, dim: int) -> list[tf.Tensor]:
        width = num_moments(dim)
        slots = (self.capacity, 2 * self.capacity, self.capacity)
        return [tf.zeros([count, width], tf.float64) for count in slots]

    def sum_batch(self, features, weights, sub_means, num_components) -> list[tf.Tensor]:
        """Sums of moments of one batch under both networks.

        Of `sub_means [C, 2, D]` the nearer one is the half if no network says so. Returns sums
        `[C, M]` weighted by responsibilities, `[2 C, M]` of hard subclusters, and `[C, M]` of hard
        clusters weighted by the first subcluster's responsibility.
        """
        capacity = self.capacity
        found = self._logits(features, sub_means, num_components)
        logits, sub_logits, assignments, is_second = found
        first = tf.nn.softmax(tf.cast(sub_logits, tf.float64))[:, 0]
        weights = tf.cast(weights, tf.float64)
        responsibilities = tf.nn.softmax(tf.cast(logits, tf.float64)) * weights[:, tf.newaxis]
        moments, halves = PointMoments(features), 2 * assignments + is_second
        if moments.features is not None and capacity <= _MOST_TOGETHER:
            hard = [
                tf.one_hot(groups, count, dtype=tf.float64) * share[:, tf.newaxis]
                for groups, count, share in (
                    (halves, 2 * capacity, weights),
                    (assignments, capacity, weights * first),
                )
            ]
            together = moments.soft(tf.concat([responsibilities, *hard], axis=1))
            return tf.split(together, [capacity, 2 * capacity, capacity])
        return [
            moments.soft(responsibilities),
            moments.hard(halves, 2 * capacity, weights),
            moments.hard(assignments, capacity, weights * first),
        ]

    # -- inference --------------------------------------------------------------------------

    def _label(self, features, sub_means, num_components) -> tuple[tf.Tensor, tf.Tensor]:
        """Cluster `[B]` int32 and subcluster `[B]` int32 (0 or 1) of each point."""
        return self._logits(features, sub_means, num_components)[2:]

    def _logits(self, features, sub_means, num_components) -> tuple[tf.Tensor, ...]:
        """Logits `[B, C]` and `[B, 2]` of both networks, and the likeliest of each, int32."""
        logits = self._clustering(features, num_components=num_components)
        assignments = tf.argmax(logits, axis=-1, output_type=tf.int32)
        if self.config.subclustering == "network":
            sub_logits = self._subclustering.in_groups(features, assignments)
        else:
            centres = tf.gather(sub_means, assignments)
            distances = tf.reduce_sum((features[:, tf.newaxis, :] - centres) ** 2, axis=-1)
            # A softmax so steep is one-hot: one such pass is one iteration of 2-means.
            sub_logits = -1e6 * distances
        is_second = tf.cast(sub_logits[:, 1] > sub_logits[:, 0], tf.int32)
        return logits, sub_logits, assignments, is_second

    def _infer(self, features, num_components) -> tf.Tensor:
        """Responsibilities `[B, C]` float32."""
        self.count_trace()
        return tf.nn.softmax(self._clustering(features, num_components=num_components))
