"""Passes over the data on several devices or machines at once.

Every replica is given all points (or the whole stream) and works on its share of them; sums of
statistics (float64) and of gradients are exchanged, so that every machine makes the same step, the
same M-step and the same moves. Networks are small, so one copy on each machine is enough: the
strategy exchanges sums and mirrors no variable.
"""

from __future__ import annotations

import tensorflow as tf

from tfdpm.mixture.statistics import slice_rows
from tfdpm.networks.passes import Passes, compiled
from tfdpm.networks.reduction import PassStatistics, pass_statistics


class ReplicaPasses(Passes):
    """`Passes` whose points are shared out among the replicas of a strategy.

    Args:
        strategy: `tf.distribute.MirroredStrategy` or `MultiWorkerMirroredStrategy`.
        *args: see `Passes`.
    """

    def __init__(self, strategy: tf.distribute.Strategy, *args):
        super().__init__(*args)
        self._strategy = strategy
        self.train_array_by_xla = self.train_array  # replicas cannot run inside
        self.reduce_few_points = self.reduce_array
        self._stream_step = compiled(self.step, reduce_retracing=True)
        self._stream_reduce = compiled(self._shared_sums, reduce_retracing=True)
        self.train_stream, self.reduce_stream = self.stream_epoch, self.stream_statistics

    def stream_epoch(self, batches, *targets):
        """One epoch over a stream, a call for each batch: replicas cannot run inside a dataset."""
        total, steps = tf.zeros([2]), 0
        for batch in batches:
            total += self._stream_step(batch, *targets)
            steps += 1
        return total / max(steps, 1)

    def step(self, batch, *targets):
        """One gradient step, of which every replica computes the losses of its points."""
        weights = batch[1]
        count = self._strategy.num_replicas_in_sync
        most_taught = tf.minimum(self.config.max_subcluster_batch, tf.shape(weights)[0])
        totals = tf.reduce_sum(weights), tf.reduce_sum(weights[:most_taught])

        def replica_gradients():
            rank = _rank()
            own = [part[rank::count] for part in batch]
            # Of every so-manieth point, these are among the first of the whole batch.
            first = (most_taught - rank + count - 1) // count
            own_totals = tf.reduce_sum(own[1]), tf.reduce_sum(own[1][:first])
            shares = [tf.math.divide_no_nan(a, b) for a, b in zip(own_totals, totals, strict=True)]
            losses, gradients = self.gradients_of(own, *targets, first, shares)
            return losses, *gradients

        losses, *gradients = (tf.cast(part, tf.float32) for part in self._sum(replica_gradients))
        self.apply_gradients(gradients)
        return losses

    def array_statistics(self, features, weights, *halves) -> PassStatistics:
        """Statistics of all of an array, of which every replica reduces a piece."""
        self.count_trace()
        dim, num_points = int(features.shape[-1]), tf.shape(features)[0]
        rows, count = slice_rows(dim, self.capacity), self._strategy.num_replicas_in_sync

        def replica_sums():
            rank = _rank()
            ends = num_points * rank // count, num_points * (rank + 1) // count
            return self.sum_rows(*ends, rows, features, weights, *halves)

        return pass_statistics(self._sum(replica_sums), dim)

    def stream_statistics(self, batches, *halves) -> PassStatistics:
        """Statistics of all batches of a stream."""
        dim = int(batches.element_spec[0].shape[-1])
        rows = slice_rows(dim, self.capacity) * self._strategy.num_replicas_in_sync
        sums = self.zero_sums(dim)
        for batch in batches.rebatch(rows):
            piece = self._stream_reduce(batch, *halves)
            sums = [a + b for a, b in zip(sums, piece, strict=True)]
        return pass_statistics(sums, dim)

    def _shared_sums(self, batch, *halves) -> list[tf.Tensor]:
        count = self._strategy.num_replicas_in_sync

        def replica_sums():
            own = [part[_rank() :: count] for part in batch]
            return self.sum_batch(*own, *halves)

        return self._sum(replica_sums)

    def _sum(self, function) -> list[tf.Tensor]:
        """Sums in float64, over the replicas, of what `function` returns in each.

        All parts go in one exchange: its time hardly depends on how much is exchanged.
        """
        shapes: list[tf.TensorShape] = []

        def joined():
            parts = function()
            shapes[:] = [part.shape for part in parts]
            return tf.concat([tf.reshape(tf.cast(part, tf.float64), [-1]) for part in parts], 0)

        own = self._strategy.run(tf.autograph.experimental.do_not_convert(joined))
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, own, None)
        parts = tf.split(total, [shape.num_elements() for shape in shapes])
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def _rank() -> tf.Tensor:
    """Number of the replica that this is traced or run in."""
    context = tf.distribute.get_replica_context()
    return tf.convert_to_tensor(context.replica_id_in_sync_group, tf.int32)
