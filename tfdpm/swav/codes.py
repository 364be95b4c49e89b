"""Scores to codes: the Sinkhorn-Knopp iteration that spreads a batch evenly over the prototypes.

Pure TensorFlow functions. No state, no model: the cross-replica sum is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfdpm import checks


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

    Solves `max_Q Tr(Q' scores) + epsilon H(Q)` over the matrices whose columns (prototypes) carry
    equal mass (or that of `column_weights`) and whose rows (samples) carry equal mass, [SwAV]
    section 3.1, by `iterations` rounds of alternating normalisation that end with the rows. The
    iteration runs on potentials in the log domain, where `exp(scores / epsilon)` is never formed:
    no epsilon overflows, and a constant added to the scores changes nothing.

    Args:
        scores: `[B, P]` floating, similarity of samples and prototypes, any finite range.
            float64 is computed in float64, everything else in float32.
        epsilon: weight of the entropy, > 0, in units of the scores. Large values give uniform
            codes, small ones hard codes.
        iterations: rounds, >= 1. The codes converge to exactly equal column sums.
        row_weights: `[B]` floating, >= 0; how much a row counts in the column sums. A row of weight
            zero gets a code and influences nobody. At least one weight must be positive.
        column_weights: `[P]` floating, > 0; the share of the mass that each prototype is to carry,
            up to a common factor. `None`: all the same.
        gather_replicas: maps a `[P]` tensor to `[R, P]`, one row per replica, where the batch is
            split over R replicas. `None` means that `scores` is the whole batch.
    Returns:
        `[B, P]` codes, float32 (float64 for float64 scores), rows sum to one. No gradient.
    Raises:
        ValueError: if `scores` is not a matrix, or `epsilon` or `iterations` is out of range.
        TypeError: if `scores` is not floating.
    """
    scores = tf.convert_to_tensor(scores)
    if scores.shape.rank != 2:
        checks.fail("scores", f"shape {scores.shape}", "[samples, prototypes]")
    if not scores.dtype.is_floating:
        checks.fail("scores", scores.dtype.name, "a floating dtype", TypeError)
    epsilon = checks.number(epsilon, "epsilon", above=0.0)
    iterations = checks.integer(iterations, "iterations", minimum=1)

    dtype = tf.float64 if scores.dtype == tf.float64 else tf.float32
    logits = tf.cast(tf.stop_gradient(scores), dtype) / epsilon
    log_weights = None
    if row_weights is not None:
        log_weights = tf.math.log(tf.cast(tf.stop_gradient(row_weights), dtype))[:, tf.newaxis]

    log_shares = tf.zeros_like(logits[0])
    if column_weights is not None:
        log_shares = tf.math.log(tf.cast(tf.stop_gradient(column_weights), dtype))

    column_potential = tf.zeros_like(logits[0])
    row_potential = tf.zeros_like(logits[:, :1])
    for iteration in range(iterations):
        if iteration:
            row_potential = -tf.reduce_logsumexp(logits + column_potential, axis=1, keepdims=True)
        masses = logits + row_potential
        if log_weights is not None:
            masses += log_weights
        log_column_sums = tf.reduce_logsumexp(masses, axis=0)
        if gather_replicas is not None:
            log_column_sums = tf.reduce_logsumexp(gather_replicas(log_column_sums), axis=0)
        column_potential = log_shares - log_column_sums
    # The last row normalisation is a softmax; the 1/B and 1/P of the marginals cancel in it.
    return tf.nn.softmax(logits + column_potential, axis=1)


def gather_across_replicas(log_sums: tf.Tensor) -> tf.Tensor:
    """Stacks a `[P]` tensor of every replica into `[R, P]`; to be called in replica context.

    Args:
        log_sums: `[P]` floating, this replica's value.
    Returns:
        `[R, P]`, the same on every replica; R is 1 without a distribution strategy.
    """
    context = tf.distribute.get_replica_context()
    rows = log_sums[tf.newaxis]
    if context is None or context.num_replicas_in_sync == 1:
        return rows
    return context.all_gather(rows, axis=0)
