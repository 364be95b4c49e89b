"""Spherical K-means: clusters of unit vectors by their cosine similarity."""

from __future__ import annotations

import tensorflow as tf

from tfdpm import checks

_BLOCK = 8192  # rows whose similarities to all centres are held at once


def spherical_kmeans(
    rows: tf.Tensor, num_clusters: int, iterations: int = 10, *, seed: tuple[int, int] = (0, 0)
) -> tuple[tf.Tensor, tf.Tensor]:
    """Clusters unit vectors by Lloyd's iteration with centres of unit norm.

    Centres start at different rows; one that loses all its rows stays where it is.

    Args:
        rows: vectors of unit norm, `[N, E]` float32.
        num_clusters: number of clusters, 1 to N.
        iterations: number of times that centres move, >= 0.
        seed: two numbers; the same seed gives the same start.
    Returns:
        Centres `[num_clusters, E]` float32, and the nearest centre of each row, `[N]` int32.
    """
    num_clusters = checks.integer(num_clusters, "num_clusters", minimum=1, maximum=len(rows))
    checks.integer(iterations, "iterations", minimum=0)
    order = tf.random.experimental.stateless_shuffle(tf.range(len(rows)), tf.constant(seed))
    centres = tf.gather(rows, order[:num_clusters])
    for _ in range(iterations):
        sums = tf.math.unsorted_segment_sum(rows, nearest_centre(rows, centres), num_clusters)
        is_used = tf.reduce_any(sums != 0.0, axis=1, keepdims=True)
        centres = tf.where(is_used, tf.math.l2_normalize(sums, axis=1), centres)
    return centres, nearest_centre(rows, centres)


def nearest_centre(rows: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """Returns for each row `[N, E]` the centre `[K, E]` of the largest dot product, `[N]` int32."""
    parts = [
        tf.argmax(
            tf.matmul(rows[start : start + _BLOCK], centres, transpose_b=True),
            axis=1,
            output_type=tf.int32,
        )
        for start in range(0, len(rows), _BLOCK)
    ]
    return tf.concat(parts, axis=0)
