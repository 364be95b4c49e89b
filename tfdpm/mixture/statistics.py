"""Sufficient statistics of weighted points, which add over batches, replicas and components."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Points are reduced in slices, so that their products take about this many numbers, a few times
# what a cache holds, whatever the number of points.
_SLICE_ELEMENTS = 1_600_000
# Up to this many features all products x_i x_j of a slice are kept, so that one matrix product
# serves all components. Above it each component's points are picked out and multiplied by
# themselves: few components then have a share in a point, and writing the products takes longer
# than summing them.
_MAX_PRODUCT_DIM = 12
_WIDE_SLICE_ELEMENTS = 4_000_000
_WEIGHT_ELEMENTS = 8_000_000
# While one slice waits for another core's share of an operation, the next goes on. Sums are added
# in the slices' order all the same.
SLICES_AT_ONCE = 2
_OFFSET_ELEMENTS = 2**28  # 1 GiB
# Weights below this share of the largest are left out above that number of features. Together they
# are a share of K times this of a component's points, less than what rounding takes.
_NEGLIGIBLE = {tf.float32: 1e-10, tf.float64: 1e-16}


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

    def map(
        self, function: Callable[..., Any], *others: SufficientStatistics
    ) -> SufficientStatistics:
        """Statistics of a function's value for each part, and for the same part of others."""
        return SufficientStatistics(*map(function, self, *others))

    def plus(self, other: SufficientStatistics) -> SufficientStatistics:
        """Statistics of both sets of points together (shapes broadcast)."""
        return self.map(operator.add, other)

    def at(self, index: Any) -> SufficientStatistics:
        """Statistics, as NumPy arrays, of the components at any index of NumPy."""
        return self.map(lambda part: part[index])

    def select(self, indices: Any, axis: int = 0) -> SufficientStatistics:
        """Statistics of the components at `indices` along a leading axis."""
        return self.map(lambda part: tf.gather(part, indices, axis=axis))

    def total(self, axis: int = 0) -> SufficientStatistics:
        """Statistics of all components of one leading axis together."""
        return self.map(lambda part: tf.reduce_sum(part, axis=axis))

    def scaled(self, factor: tf.Tensor) -> SufficientStatistics:
        """Statistics with every weight multiplied by `factor` (scalar), as forgetting does."""
        return self.map(lambda part: part * tf.cast(factor, part.dtype))

    def widened(self, covariance: Any) -> SufficientStatistics:
        """Statistics of points that are spread each by `covariance [D, D]`; `None` for none."""
        if covariance is None:
            return self
        spread = self.counts[..., None, None] * covariance
        return self._replace(outer_products=self.outer_products + spread)

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


def accumulate(points: tf.Tensor, weights: tf.Tensor) -> SufficientStatistics:
    """Statistics of `points` under soft weights.

    One matrix product `weights^T [1, x, x x^T]` per slice of points, or for many features one
    product `X_k^T diag(w_k) X_k` per component; see `PointMoments`. Sums are float64.

    Args:
        points: `[N, D]` floating.
        weights: `[N, K]` floating, non-negative; responsibilities times sample weights.
    """
    dim = int(points.shape[-1])
    shape = [weights.shape[-1], num_moments(dim)]
    packed = sum_over_slices(lambda x, w: PointMoments(x).soft(w), shape, points, weights)
    return unpack_moments(packed, dim)


def accumulate_hard(
    points: tf.Tensor,
    assignments: tf.Tensor,
    num_components: int,
    weights: tf.Tensor | None = None,
) -> SufficientStatistics:
    """Statistics of `points` under hard assignments; the arithmetic does not grow with K.

    Args:
        points: `[N, D]` floating.
        assignments: `[N]` integer in `[0, num_components)`; negative entries are left out.
        num_components: K, static.
        weights: `[N]` floating sample weights, or `None` for ones.
    """
    dim = int(points.shape[-1])
    if weights is None:
        weights = tf.ones_like(points[:, 0])
    packed = sum_over_slices(
        lambda x, w, z: PointMoments(x).hard(z, num_components, w),
        [num_components, num_moments(dim)],
        *(points, weights, assignments),
    )
    return unpack_moments(packed, dim)


class PointMoments:
    """Moments of one slice of points, to be summed under several sets of weights.

    Up to 12 features, sums are made in float64. Above, products of float32 points are made in
    float32 about the mean of each component's points in the slice, so that nothing cancels. They
    are moved to the origin and added up in float64.

    Args:
        points: `[B, D]` floating.

    Attributes:
        features: `moment_features` of the points, or `None` where there are too many to keep.
    """

    def __init__(self, points: tf.Tensor):
        points = tf.convert_to_tensor(points)
        self._is_wide = is_wide(int(points.shape[-1]))
        self.features = None if self._is_wide else moment_features(points)
        self._points = points if points.dtype == tf.float64 else tf.cast(points, tf.float32)

    def soft(self, weights: tf.Tensor) -> tf.Tensor:
        """Packed moments `[K, M]` float64 under `weights [B, K]`; see `unpack_moments`."""
        weights = tf.convert_to_tensor(weights)
        if not self._is_wide:
            weights = tf.cast(weights, tf.float64)
            return tf.linalg.matmul(weights, self.features, transpose_a=True, transpose_b=True)
        columns = tf.transpose(tf.cast(weights, self._points.dtype))
        if has_accelerator():
            return _own_moments(self._points, columns)
        # The largest of no weights at all is minus infinity.
        largest = tf.maximum(tf.reduce_max(columns), 0.0)
        is_chosen = columns > _NEGLIGIBLE[columns.dtype] * largest
        return self._component_by_component(weights.shape[-1], lambda k: (is_chosen[k], columns[k]))

    def hard(self, assignments: tf.Tensor, num_components: int, weights: tf.Tensor) -> tf.Tensor:
        """The same under `assignments [B]`, integer, and `weights [B]`; see `accumulate_hard`."""
        assignments = tf.convert_to_tensor(assignments)
        if not self._is_wide:
            moments = tf.transpose(self.features * tf.cast(weights, tf.float64))
            return tf.math.unsorted_segment_sum(moments, assignments, num_components)
        weights = tf.cast(weights, self._points.dtype)
        if has_accelerator():
            is_own = tf.one_hot(assignments, num_components, axis=0, dtype=weights.dtype)
            return _own_moments(self._points, is_own * weights)
        return self._component_by_component(
            num_components, lambda k: (assignments == tf.cast(k, assignments.dtype), weights)
        )

    def _component_by_component(
        self, num_components: int, members: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    ) -> tf.Tensor:
        """Packed moments `[K, 1 + D + D^2]`, each component from its own points alone.

        A processor then has least to do. An accelerator would wait for each choice of points.

        Of a component, `members` gives the mask `[B]` of its points and the weights `[B]` of all.
        """
        width = num_moments(int(self._points.shape[-1]))

        def body(k: tf.Tensor, packed: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            is_member, weights = members(k)
            rows = tf.where(is_member)[:, 0]
            row = _own_moments(tf.gather(self._points, rows), tf.gather(weights, rows))
            return k + 1, packed.write(k, row)

        packed = tf.TensorArray(tf.float64, num_components, element_shape=[width])
        _, packed = tf.while_loop(
            lambda k, _: k < num_components, body, (0, packed), parallel_iterations=1
        )
        return packed.stack()


def _own_moments(points: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Packed moments `[..., 1 + D + D^2]` float64 of `points [n, D]` under `weights [..., n]`."""
    # Products are made about the points' mean, in their precision, and moved to the origin.
    # About any centre c, with d = x - c and the sum s of w d over points of weight w and total W:
    # sum w x x^T = sum w d d^T + c s^T + s c^T + W c c^T. The last three are cross + cross^T.
    totals = tf.reduce_sum(tf.cast(weights, tf.float64), axis=-1)[..., tf.newaxis]
    centres = tf.linalg.matvec(points, weights, transpose_a=True)
    centres = tf.math.divide_no_nan(centres, tf.cast(totals, centres.dtype))
    offsets = points - centres[..., tf.newaxis, :]
    weighted = offsets * weights[..., tf.newaxis]
    products = tf.cast(tf.linalg.matmul(weighted, offsets, transpose_a=True), tf.float64)
    # Zero but for rounding, which matters where values are far from the origin.
    sums = tf.cast(tf.reduce_sum(weighted, axis=-2), tf.float64)
    centres = tf.cast(centres, tf.float64)
    cross = centres[..., tf.newaxis] * (sums + 0.5 * totals * centres)[..., tf.newaxis, :]
    products += cross + tf.linalg.matrix_transpose(cross)
    shape = [*weights.shape[:-1], points.shape[-1] ** 2]
    return tf.concat([totals, sums + totals * centres, tf.reshape(products, shape)], axis=-1)


def num_moments(feature_dim: int) -> int:
    """How many numbers, M, the moments of one component are packed into."""
    pairs = feature_dim**2 if is_wide(feature_dim) else feature_dim * (feature_dim + 1) // 2
    return 1 + feature_dim + pairs


def is_wide(feature_dim: int) -> bool:
    """Whether products of features are made component by component; see `PointMoments`."""
    return feature_dim > _MAX_PRODUCT_DIM


def has_accelerator() -> bool:
    """Whether TensorFlow computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def rows_for_device(rows: int) -> int:
    """As many rows, or eight times as many on an accelerator, where each operation is a launch."""
    return 8 * rows if has_accelerator() else rows


def slice_rows(feature_dim: int, num_components: int = 1) -> int:
    """How many points are reduced at once under `num_components` weights each."""
    if is_wide(feature_dim):
        rows = min(32_768, _WIDE_SLICE_ELEMENTS // feature_dim)
        if has_accelerator():
            # There, every component has offsets of its own to every point.
            rows = min(rows, _OFFSET_ELEMENTS // (8 * num_components * feature_dim))
    else:
        rows = min(16_384, _SLICE_ELEMENTS // num_moments(feature_dim))
        if not tf.executing_eagerly() and not has_accelerator():
            rows //= 2  # which a cache holds: in a graph, operations take no time to begin
    return rows_for_device(max(256, min(rows, _WEIGHT_ELEMENTS // num_components)))


def moment_features(points: tf.Tensor) -> tf.Tensor:
    """`[1 + D + D (D + 1) / 2, N]` float64: one, the point, and its products `x_a x_b`, `a <= b`.

    A row for each moment, because products of whole rows take half as long as those of columns.
    """
    points = tf.transpose(tf.cast(points, tf.float64))
    first, second, _ = triangle(int(points.shape[0]))
    products = tf.gather(points, first) * tf.gather(points, second)
    return tf.concat([tf.ones_like(points[:1]), points, products], axis=0)


def unpack_moments(packed: tf.Tensor, feature_dim: int) -> SufficientStatistics:
    """Statistics from sums `[..., M]` of one, the point, and its products.

    Of many features these are all D^2 products; of few, those of `moment_features`.
    """
    products = packed[..., 1 + feature_dim :]
    if is_wide(feature_dim):
        shape = tf.concat([tf.shape(products)[:-1], [feature_dim, feature_dim]], axis=0)
        products = tf.reshape(products, shape)
        # Sums of equal products may differ in their last digit between the triangles.
        products = 0.5 * (products + tf.linalg.matrix_transpose(products))
    else:
        products = tf.gather(products, triangle(feature_dim)[2], axis=-1)
    return SufficientStatistics(packed[..., 0], packed[..., 1 : 1 + feature_dim], products)


@functools.cache
def triangle(dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the products of `moment_features`, and the place `[D, D]` of each."""
    rows, columns = np.triu_indices(dim)
    places = np.empty((dim, dim), np.int64)
    places[rows, columns] = places[columns, rows] = np.arange(len(rows))
    return rows, columns, places


def sum_over_slices(
    reduce_slice: Callable[..., tf.Tensor], shape: list[int], *arrays: tf.Tensor
) -> tf.Tensor:
    """Sums `reduce_slice` over slices of the points; one call when everything fits a slice.

    It makes a float64 tensor of `shape`, `[K, ...]`, from a slice of each array. These are points
    `[N, D]` and others of N rows.
    """
    points = arrays[0]
    slice_size = slice_rows(int(points.shape[-1]), shape[0] or 1)
    if points.shape[0] is not None and points.shape[0] <= slice_size:
        return reduce_slice(*arrays)
    num_points = tf.shape(points)[0]

    def body(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        stop = tf.minimum(start + slice_size, num_points)
        return stop, total + reduce_slice(*(array[start:stop] for array in arrays))

    _, total = tf.while_loop(
        lambda start, _: start < num_points,
        body,
        (tf.constant(0), tf.zeros(shape, tf.float64)),
        parallel_iterations=SLICES_AT_ONCE,
    )
    return total
