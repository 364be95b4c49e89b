"""Sufficient statistics of weighted points: the currency of the mixture and of the proposals.

Statistics add over batches, replicas and merged components. No prior and no density lives here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Points are reduced in slices so that the [slice, D^2 / 2] products stay within a few caches'
# worth of memory whatever the number of points.
_SLICE_ELEMENTS = 4_000_000


class SufficientStatistics(NamedTuple):
    """Weighted moments of points about a fixed origin (the prior's mean, so little cancels).

    Attributes:
        counts: `[..., K]` float64, sum of weights.
        sums: `[..., K, D]` float64, weighted sum of points.
        outer_products: `[..., K, D, D]` float64, weighted sum of `x x^T`.
    """

    counts: tf.Tensor
    sums: tf.Tensor
    outer_products: tf.Tensor

    def plus(self, other: SufficientStatistics) -> SufficientStatistics:
        """Statistics of both sets of points together (shapes broadcast)."""
        return SufficientStatistics(*(a + b for a, b in zip(self, other, strict=True)))

    def select(self, indices, axis: int = 0) -> SufficientStatistics:
        """Statistics of the components at `indices` along a leading axis."""
        return SufficientStatistics(*(tf.gather(part, indices, axis=axis) for part in self))

    def total(self, axis: int = 0) -> SufficientStatistics:
        """Statistics of all components of one leading axis together."""
        return SufficientStatistics(*(tf.reduce_sum(part, axis=axis) for part in self))

    def scaled(self, factor) -> SufficientStatistics:
        """Statistics with every weight multiplied by `factor` (scalar), as forgetting does."""
        factor = tf.cast(factor, self.counts.dtype)
        return SufficientStatistics(*(part * factor for part in self))

    @property
    def feature_dim(self) -> int:
        """Number of features, D."""
        return int(self.sums.shape[-1])


def zeros(num_components: int, feature_dim: int) -> SufficientStatistics:
    """Statistics of no points for `num_components` components."""
    return SufficientStatistics(
        tf.zeros([num_components], tf.float64),
        tf.zeros([num_components, feature_dim], tf.float64),
        tf.zeros([num_components, feature_dim, feature_dim], tf.float64),
    )


def accumulate(points, weights) -> SufficientStatistics:
    """Statistics of `points` under soft weights.

    One matrix product `weights^T [1, x, x_i x_j (i <= j)]` per slice of points, in float64: half
    the arithmetic of full outer products, and no array larger than a slice times D^2 / 2.

    Args:
        points: `[N, D]` floating.
        weights: `[N, K]` floating, non-negative; responsibilities times sample weights.

    Returns:
        Statistics with `[K]` components, float64.
    """
    feature_dim = int(points.shape[-1])
    num_components = weights.shape[-1]

    def reduce_slice(x, w):
        return tf.linalg.matmul(tf.cast(w, tf.float64), moment_features(x), transpose_a=True)

    packed = _sum_over_slices(
        reduce_slice, points, weights, [num_components, _num_moments(feature_dim)]
    )
    return unpack_moments(packed, feature_dim)


def accumulate_hard(points, assignments, num_components: int, weights=None) -> SufficientStatistics:
    """Statistics of `points` under hard assignments; the cost does not grow with K.

    Args:
        points: `[N, D]` floating.
        assignments: `[N]` integer in `[0, num_components)`; negative entries are left out.
        num_components: K, static.
        weights: `[N]` floating sample weights, or `None` for ones.

    Returns:
        Statistics with `[K]` components, float64.
    """
    feature_dim = int(points.shape[-1])
    if weights is None:
        weights = tf.ones_like(points[:, 0])

    def reduce_slice(x, w, z):
        moments = moment_features(x) * tf.cast(w, tf.float64)[:, tf.newaxis]
        return tf.math.unsorted_segment_sum(moments, z, num_components)

    packed = _sum_over_slices(
        reduce_slice, points, weights, [num_components, _num_moments(feature_dim)], assignments
    )
    return unpack_moments(packed, feature_dim)


def _num_moments(feature_dim: int) -> int:
    return 1 + feature_dim + feature_dim * (feature_dim + 1) // 2


def _triangle(feature_dim: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(feature_dim)


def moment_features(points) -> tf.Tensor:
    """`[N, 1 + D + D (D + 1) / 2]` float64: one, the point, and its products `x_i x_j`, i <= j."""
    points = tf.cast(points, tf.float64)
    feature_dim = int(points.shape[-1])
    if feature_dim <= 64:
        # Slices of rows of the outer product: cheaper than gathering scattered columns.
        products = [points[:, i : i + 1] * points[:, i:] for i in range(feature_dim)]
        return tf.concat([tf.ones_like(points[:, :1]), points, *products], axis=1)
    rows, columns = _triangle(feature_dim)
    products = tf.gather(points, rows, axis=1) * tf.gather(points, columns, axis=1)
    return tf.concat([tf.ones_like(points[:, :1]), points, products], axis=1)


def unpack_moments(packed, feature_dim: int) -> SufficientStatistics:
    """Statistics from sums of `moment_features`, `[..., 1 + D + D (D + 1) / 2]`."""
    rows, columns = _triangle(feature_dim)
    full_index = np.zeros((feature_dim, feature_dim), np.int32)
    full_index[rows, columns] = full_index[columns, rows] = np.arange(len(rows))
    products = tf.gather(packed[..., 1 + feature_dim :], full_index.ravel(), axis=-1)
    shape = tf.concat([tf.shape(products)[:-1], [feature_dim, feature_dim]], axis=0)
    return SufficientStatistics(
        packed[..., 0], packed[..., 1 : 1 + feature_dim], tf.reshape(products, shape)
    )


def _sum_over_slices(reduce_slice, points, weights, shape, assignments=None) -> tf.Tensor:
    """Sums `reduce_slice` over slices of the points; one call when everything fits a slice."""
    arrays = [points, weights] + ([] if assignments is None else [assignments])
    slice_size = max(256, _SLICE_ELEMENTS // _num_moments(int(points.shape[-1])))
    static = points.shape[0]
    if static is not None and static <= slice_size:
        return reduce_slice(*arrays)
    num_points = tf.shape(points)[0]

    def body(start, total):
        stop = tf.minimum(start + slice_size, num_points)
        return stop, total + reduce_slice(*(array[start:stop] for array in arrays))

    _, total = tf.while_loop(
        lambda start, _: start < num_points,
        body,
        (tf.constant(0), tf.zeros(shape, tf.float64)),
        parallel_iterations=1,
    )
    return total
