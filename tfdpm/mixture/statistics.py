"""Sufficient statistics of weighted points: the currency of the mixture and of the proposals.

Statistics add over batches, replicas and merged components. No prior and no density lives here.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Points are reduced in slices so that the [slice, D^2] products stay within a few caches'
# worth of memory whatever the number of points.
_SLICE_ELEMENTS = 1_000_000


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

    One matrix product `weights^T [1, x, x x^T]` per slice of points, in float64; no array is
    larger than a slice times D^2.

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
        reduce_slice, points, weights, [num_components, num_moments(feature_dim)]
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
        reduce_slice, points, weights, [num_components, num_moments(feature_dim)], assignments
    )
    return unpack_moments(packed, feature_dim)


def num_moments(feature_dim: int) -> int:
    """Columns of `moment_features`."""
    return 1 + feature_dim + feature_dim**2


def slice_rows(feature_dim: int) -> int:
    """How many points are reduced at once."""
    return min(16_384, max(256, _SLICE_ELEMENTS // num_moments(feature_dim)))


def moment_features(points) -> tf.Tensor:
    """`[N, 1 + D + D^2]` float64: one, the point, and all products of its features.

    Both triangles of the products are kept: a broadcast product of whole rows is several times
    cheaper than picking out one triangle, which costs more than it saves later.
    """
    points = tf.cast(points, tf.float64)
    feature_dim = int(points.shape[-1])
    products = points[:, :, tf.newaxis] * points[:, tf.newaxis, :]
    products = tf.reshape(products, [-1, feature_dim**2])
    return tf.concat([tf.ones_like(points[:, :1]), points, products], axis=1)


def unpack_moments(packed, feature_dim: int) -> SufficientStatistics:
    """Statistics from sums of `moment_features`, `[..., 1 + D + D^2]`."""
    products = packed[..., 1 + feature_dim :]
    shape = tf.concat([tf.shape(products)[:-1], [feature_dim, feature_dim]], axis=0)
    products = tf.reshape(products, shape)
    # Sums of equal products may differ in their last digit between the triangles.
    products = 0.5 * (products + tf.linalg.matrix_transpose(products))
    return SufficientStatistics(packed[..., 0], packed[..., 1 : 1 + feature_dim], products)


def _sum_over_slices(reduce_slice, points, weights, shape, assignments=None) -> tf.Tensor:
    """Sums `reduce_slice` over slices of the points; one call when everything fits a slice."""
    arrays = [points, weights] + ([] if assignments is None else [assignments])
    slice_size = slice_rows(int(points.shape[-1]))
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
