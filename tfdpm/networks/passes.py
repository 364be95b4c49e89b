"""Compiled passes over the data: one epoch of gradient steps, and one reduction to statistics.

Python is entered once per pass. Everything that changes from epoch to epoch comes in as a tensor,
so a pass is traced once per capacity; which moves follow is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.statistics import PointMoments, is_wide, num_moments, slice_rows
from tfdpm.networks.layers import MASKED_LOGIT, ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.losses import isotropic_loss, kl_cluster_loss
from tfdpm.networks.reduction import PassStatistics, pass_statistics

_FEW_SLOTS = 64


class StepSettings(NamedTuple):
    """The part of the configuration that is compiled into the step, and what is compiled at all.

    Attributes:
        is_brief: whether passes of small networks are not traced where that takes longer than the
            few that are to be made.
    """

    cluster_loss: str
    kl_direction: str
    subclustering: str
    max_subcluster_batch: int
    is_brief: bool = False


def epoch_order(num_points: int, batch_size: int, min_steps: int, seed: int, epoch: int):
    """Indices of every batch of one epoch, a function of the seed and the epoch alone.

    Each point is seen once, and again only to fill the last batch or to reach `min_steps`.

    Returns:
        `[steps, batch_size]` int32.
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

    Args:
        density: as `padded_density` gives it, of C slots.
        num_components: K, scalar tensor.
        features: `[B, D]`.
        capacity: number of slots, C.
    """
    # Of few slots the spare ones cost less than shapes that change with K, for which XLA would
    # compile the step anew.
    num_slots = capacity if capacity <= _FEW_SLOTS else num_components
    log_joint = LogJoint.of_first(num_slots, density)(features)
    targets = tf.cast(tf.nn.log_softmax(log_joint), tf.float32)
    paddings = [[0, 0], [0, capacity - num_slots]]
    return tf.ensure_shape(
        tf.pad(targets, paddings, constant_values=MASKED_LOGIT), [None, capacity]
    )


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
        self._is_for_xla = False
        self.num_traces = num_traces
        # Batches of a model that learns online come in any size.
        self.train_array = compiled(self._train_array, reduce_retracing=True)
        self.train_array_by_xla = compiled(self._train_array_by_xla, jit_compile=True)
        self.train_stream = compiled(self._train_stream)
        self.reduce_array = compiled(self._reduce_array)
        self.reduce_stream = compiled(self._reduce_stream)
        # One trace for batches of any size.
        features = tf.TensorSpec([None, clustering.hidden.kernel.shape[0]], tf.float32)
        count = tf.TensorSpec([], tf.int32)
        sub_means = tf.TensorSpec([None, 2, features.shape[1]], tf.float32)
        self.label_batch = compiled(self._label, input_signature=[features, sub_means, count])
        self.reduce_kept_array = self.reduce_array
        if settings.is_brief and subclustering.are_light and not is_wide(features.shape[1]):
            self.label_batch, self.reduce_kept_array = self._label, self._reduce_array
        self.infer_batch = compiled(self._infer, input_signature=[features, count])

    @property
    def capacity(self) -> int:
        """Number of component slots."""
        return self._clustering.capacity

    def _count_trace(self) -> None:
        if not tf.executing_eagerly():
            self.num_traces += 1

    # -- training ---------------------------------------------------------------------------

    def _train_array(
        self,
        features,
        weights,
        order,
        density,
        means,
        sub_means,
        num_components,
        trains_subclusters: bool,
    ):
        """One epoch over an array. The E-step is made batch by batch: no array is N K long.

        Args:
            features, weights: `[N, D]` and `[N]`.
            order: `[steps, B]`, which points make up each batch.
            density: `LogJoint.tensors` of C components, a constant of the epoch.
            means, sub_means: `[C, D]` and `[C, 2, D]`, constants of the epoch.
            num_components: K, scalar tensor.
            trains_subclusters: Python bool, whether the subclustering networks learn.
        """
        self._count_trace()
        num_steps = tf.shape(order)[0]

        def body(step, total):
            batch = tf.gather(features, order[step]), tf.gather(weights, order[step])
            losses = self._step(
                batch, density, means, sub_means, num_components, trains_subclusters
            )
            return step + 1, total + losses

        _, total = tf.while_loop(
            lambda step, _: step < num_steps, body, (0, tf.zeros([2])), parallel_iterations=1
        )
        return total / tf.cast(tf.maximum(num_steps, 1), tf.float32)

    def _train_array_by_xla(self, *arguments):
        """As `_train_array`, traced for XLA."""
        self._is_for_xla = True
        try:
            return self._train_array(*arguments)
        finally:
            self._is_for_xla = False

    def _train_stream(
        self, batches, density, means, sub_means, num_components, trains_subclusters: bool
    ):
        """One epoch over a stream of `(features, weights)`; arguments as for `_train_array`."""
        self._count_trace()

        def body(state, batch):
            total, steps = state
            losses = self._step(
                batch, density, means, sub_means, num_components, trains_subclusters
            )
            return total + losses, steps + 1.0

        body = tf.autograph.experimental.do_not_convert(body)
        total, steps = batches.reduce((tf.zeros([2]), tf.constant(0.0)), body)
        return tf.math.divide_no_nan(total, steps)

    def _step(self, batch, density, means, sub_means, num_components, trains_subclusters: bool):
        """One gradient step of both losses; the two networks share no weight."""
        losses, gradients = self._gradients(
            batch, density, means, sub_means, num_components, trains_subclusters
        )
        self._apply_gradients(gradients)
        return losses

    def _gradients(
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
            density, means, sub_means, num_components, trains_subclusters: see `_train_array`.
            first_points: how many of them the subclustering networks learn from; `None` for the
                setting. Batches are in random order: their first points are as good as any.
            shares: what both losses are multiplied by, for a batch that is part of a larger one.

        Returns:
            Losses, and gradients of the trainable variables of one network after the other.
        """
        features, weights = batch
        settings = self._settings
        if settings.cluster_loss == "kl":
            targets = log_targets(density, num_components, features, self.capacity)
        with tf.GradientTape() as tape:
            logits = self._clustering(features, num_components=num_components)
            if settings.cluster_loss == "kl":
                cluster_loss = kl_cluster_loss(
                    logits, targets, weights, direction=settings.kl_direction
                )
            else:
                cluster_loss = isotropic_loss(tf.nn.softmax(logits), features, means, weights)
            losses = [shares[0] * cluster_loss, tf.zeros([])]
            if trains_subclusters:
                first = slice(
                    settings.max_subcluster_batch if first_points is None else first_points
                )
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

    def _apply_gradients(self, gradients) -> None:
        """One step of the optimisers whose networks there are gradients for."""
        cluster_variables = self._clustering.trainable_variables
        count = len(cluster_variables)
        self._optimizer.apply(gradients[:count], cluster_variables)
        if len(gradients) > count:
            self._subcluster_optimizer.apply(
                gradients[count:], self._subclustering.trainable_variables
            )

    # -- reduction --------------------------------------------------------------------------

    def _reduce_array(self, features, weights, sub_means, num_components) -> PassStatistics:
        """Statistics of all of an array, slice by slice."""
        self._count_trace()
        dim, num_points = int(features.shape[-1]), tf.shape(features)[0]
        rows = slice_rows(dim, self.capacity)
        if not (tf.executing_eagerly() or is_wide(dim)):
            # Several reductions of slices are at work at once; what they leave in pieces adds up,
            # above all where the points themselves come a few at a time.
            rows = max(256, min(rows // 4, features.shape[0] // 16))

        def body(start, sums):
            stop = start + rows
            piece = self._reduce(
                features[start:stop], weights[start:stop], sub_means, num_components
            )
            return stop, [a + b for a, b in zip(sums, piece, strict=True)]

        _, sums = tf.while_loop(
            lambda start, _: start < num_points,
            body,
            (0, self._no_sums(dim)),
            parallel_iterations=1,
        )
        return pass_statistics(sums, dim)

    def _reduce_stream(self, batches, sub_means, num_components) -> PassStatistics:
        """Statistics of all batches of `(features, weights)`."""
        self._count_trace()
        dim = int(batches.element_spec[0].shape[-1])
        # Neither as small as users like for training, nor larger than memory allows.
        batches = batches.rebatch(slice_rows(dim, self.capacity))

        def body(sums, batch):
            piece = self._reduce(*batch, sub_means, num_components)
            return tuple(a + b for a, b in zip(sums, piece, strict=True))

        body = tf.autograph.experimental.do_not_convert(body)
        return pass_statistics(batches.reduce(tuple(self._no_sums(dim)), body), dim)

    def _no_sums(self, dim: int) -> list[tf.Tensor]:
        width = num_moments(dim)
        slots = (self.capacity, 2 * self.capacity, self.capacity)
        return [tf.zeros([count, width], tf.float64) for count in slots]

    def _reduce(self, features, weights, sub_means, num_components) -> list[tf.Tensor]:
        """Sums of moments of one batch under both networks.

        Returns:
            `[C, M]` weighted by responsibilities, `[2 C, M]` of hard subclusters, and `[C, M]` of
            hard clusters weighted by the first subcluster's responsibility.
        """
        capacity = self.capacity
        logits = self._clustering(features, num_components=num_components)
        assignments = tf.argmax(logits, axis=-1, output_type=tf.int32)
        sub_logits = self._sub_logits(features, assignments, sub_means)
        first = tf.nn.softmax(tf.cast(sub_logits, tf.float64))[:, 0]
        is_second = tf.cast(sub_logits[:, 1] > sub_logits[:, 0], tf.int32)
        weights = tf.cast(weights, tf.float64)
        responsibilities = tf.nn.softmax(tf.cast(logits, tf.float64)) * weights[:, tf.newaxis]
        moments = PointMoments(features)
        return [
            moments.soft(responsibilities),
            moments.hard(2 * assignments + is_second, 2 * capacity, weights),
            moments.hard(assignments, capacity, weights * first),
        ]

    def _sub_logits(self, features, assignments, sub_means) -> tf.Tensor:
        """Logits `[B, 2]` of each point's subclusters, by network or by the nearer mean."""
        if self._settings.subclustering == "network":
            return self._subclustering.in_groups(features, assignments)
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
        self._count_trace()
        return tf.nn.softmax(self._clustering(features, num_components=num_components))
