"""Codes of a batch: Sinkhorn-Knopp balances scores over the prototypes; a queue adds samples."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.normalization import summing_dtype


def sinkhorn(
    scores: tf.Tensor,
    epsilon: float = 0.05,
    iterations: int = 3,
    *,
    row_weights: tf.Tensor | None = None,
    column_weights: tf.Tensor | None = None,
    gather_replicas: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Codes: the share of each sample that belongs to each prototype, rows summing to one.

    Solves `max_Q Tr(Q' scores) + epsilon H(Q)` over matrices of codes, [SwAV] section 3.1. All
    rows (samples) carry equal mass, and so do all columns (prototypes), unless `column_weights`
    says otherwise. Rows and columns are normalised in turn; the last round ends with the rows.
    Potentials stay in the log domain, so that no epsilon overflows. A constant added to the scores
    changes nothing.

    Args:
        scores: similarity of samples and prototypes, `[B, P]` floating, any finite range. float64
            is computed in float64, every other dtype in float32.
        epsilon: weight of the entropy in units of the scores, > 0. Large values give uniform
            codes, small values hard ones.
        iterations: number of rounds, >= 1. More rounds bring the column sums closer to equal.
        row_weights: weight of each row in the column sums, `[B]` floating, >= 0, one of them
            positive. A row of weight zero gets a code and influences no other. By default, one.
        column_weights: share of the mass that each prototype carries, `[P]` floating, > 0, up to a
            common factor. By default, all shares are equal.
        gather_replicas: function that maps a `[P]` tensor to `[R, P]`, one row per replica, where
            the batch is split over R replicas. By default, `scores` is the whole batch.
    Returns:
        Codes `[B, P]`, float32 (float64 for float64 scores), whose rows sum to one. They carry no
        gradient.
    Raises:
        ValueError: if `scores` is no matrix, or `epsilon` or `iterations` is out of range.
        TypeError: if `scores` is not floating.
    """
    scores = tf.convert_to_tensor(scores)
    if scores.shape.rank != 2:
        checks.fail("scores", f"shape {scores.shape}", "[samples, prototypes]")
    if not scores.dtype.is_floating:
        checks.fail("scores", scores.dtype.name, "a floating dtype", TypeError)
    epsilon = checks.number(epsilon, "epsilon", above=0.0)
    iterations = checks.integer(iterations, "iterations", minimum=1)

    dtype = summing_dtype(scores.dtype)
    logits = tf.cast(tf.stop_gradient(scores), dtype) / epsilon
    weighted = logits
    if row_weights is not None:
        weighted += _log(row_weights, dtype)[:, tf.newaxis]
    log_shares = 0.0 if column_weights is None else _log(column_weights, dtype)

    # Q[n, p] = exp(logits[n, p] + u[n] + v[p]). In turn, [SwAV] section 3.1:
    # u[n] = -log sum_p exp(logits[n, p] + v[p]), so that each row sums to one, and
    # v[p] = log share[p] - log sum_n weight[n] exp(logits[n, p] + u[n]), likewise for columns.
    column_potential = 0.0
    for iteration in range(iterations):
        masses = weighted
        if iteration:
            masses -= tf.reduce_logsumexp(logits + column_potential, axis=1, keepdims=True)
        log_column_sums = tf.reduce_logsumexp(masses, axis=0)
        if gather_replicas is not None:
            log_column_sums = tf.reduce_logsumexp(gather_replicas(log_column_sums), axis=0)
        column_potential = log_shares - log_column_sums
    # The last row normalisation is a softmax, in which the 1/B and 1/P of the marginals cancel.
    return tf.nn.softmax(logits + column_potential, axis=1)


def _log(weights, dtype: tf.DType) -> tf.Tensor:
    return tf.math.log(tf.cast(tf.stop_gradient(weights), dtype))


def gathered(values: tf.Tensor, axis: int) -> tf.Tensor:
    """Concatenates the values of all replicas along an axis; call it in replica context."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_gather(values, axis=axis)


@keras.saving.register_keras_serializable(package="tfdpm")
class FeatureQueue(keras.layers.Layer):
    """First-in first-out store of embeddings for small batches, [SwAV] section 4.4.

    There is one lane for each crop that gives codes. Every replica holds the whole queue and
    pushes the embeddings of all replicas. `share` gives each replica its own part of the queue.

    Args:
        num_lanes: number of crops that give codes, >= 1.
        length: number of embeddings per lane, >= 0.
        embedding_dim: size of an embedding, >= 1.
    """

    def __init__(self, num_lanes: int, length: int, embedding_dim: int, **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.num_lanes = checks.integer(num_lanes, "num_lanes", minimum=1)
        self.length = checks.integer(length, "length", minimum=0)
        self.embedding_dim = checks.integer(embedding_dim, "embedding_dim", minimum=1)
        options = {
            "trainable": False,
            "initializer": "zeros",
            "autocast": False,
            "aggregation": "only_first_replica",
        }
        self.storage = self.add_weight(
            name="storage",
            shape=(self.num_lanes, self.length, self.embedding_dim),
            dtype=summing_dtype(self.compute_dtype).name,
            **options,
        )
        self.filled = self.add_weight(name="filled", shape=(), dtype="int32", **options)
        self.built = True

    def is_full(self) -> tf.Tensor:
        """Tells whether every slot holds an embedding; boolean scalar, false for length 0."""
        return tf.logical_and(tf.convert_to_tensor(self.filled) >= self.length, self.length > 0)

    def push(self, embeddings: tf.Tensor) -> None:
        """Stores the newest embeddings of all replicas and drops the oldest.

        Args:
            embeddings: embeddings of this replica's batch, `[num_lanes, B, embedding_dim]`. Of a
                batch longer than the queue, the last `length` are stored.
        """
        embeddings = gathered(tf.cast(tf.stop_gradient(embeddings), self.storage.dtype), axis=1)
        joined = tf.concat([tf.convert_to_tensor(self.storage), embeddings], axis=1)
        self.storage.assign(joined[:, tf.shape(joined)[1] - self.length :])
        added = tf.shape(embeddings)[1]
        self.filled.assign(tf.minimum(tf.convert_to_tensor(self.filled) + added, self.length))

    def share(self) -> tf.Tensor:
        """Returns this replica's part, `[num_lanes, ~length / R, embedding_dim]` float32."""
        storage = tf.convert_to_tensor(self.storage)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return storage
        replicas = context.num_replicas_in_sync
        rank = tf.cast(context.replica_id_in_sync_group, tf.int32)
        return storage[:, rank * self.length // replicas : (rank + 1) * self.length // replicas]
