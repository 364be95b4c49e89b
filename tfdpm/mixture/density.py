"""Log densities of mixtures in TensorFlow, joint with the component."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.mixture.covariance import cholesky
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.statistics import moment_features, triangle

# Up to this many features the log joint is one product with [1, x, x_i x_j]; above it the
# points are whitened, whose arrays stay K wide and which loses no digits to differences.
_MAX_QUADRATIC_DIM = 12
# Whitening matrices are triangular: a block of so many of their rows needs only the columns so far.
_WHITENED_AT_ONCE = 16
# Points are processed in slices whose temporaries have about this many numbers.
_SLICE_ELEMENTS = 4_000_000


class JointTensors(NamedTuple):
    """The tensors of a `LogJoint`, as arguments of a compiled function; component last.

    Attributes:
        constants: `[K]`, the log joint but for the term with the distance.
        coefficients: factors of `moment_features`, `[1 + D + D (D + 1) / 2, K]`. For many features,
            blocks of rows of the whitening matrices, transposed, over their offset.
        tails: degrees of freedom nu and `(nu + D) / 2`, both `[K]`; empty for Gaussians.
    """

    constants: tf.Tensor
    coefficients: tuple[tf.Tensor, ...]
    tails: tuple[tf.Tensor, ...]


class LogJoint:
    """`log pi_k + log p(x | k)` for fixed parameters, prepared once for many points.

    Args:
        parameters: the mixture, of Gaussians or of t distributions; matrices are positive
            semi-definite up to rounding.
        precision: type of the products with points of more than 12 features, float64 or float32.
            The relative error of a whitened coordinate is that type's times the distance to the
            origin in standard deviations of the component.

    Attributes:
        tensors: the tensors of the density.
    """

    def __init__(
        self,
        parameters: MixtureParameters | TMixtureParameters,
        precision: tf.DType = tf.float64,
    ):
        weights, means, shapes = parameters[:3]
        dim = int(means.shape[-1])
        factors = cholesky(shapes)
        identity = tf.eye(dim, batch_shape=tf.shape(factors)[:1], dtype=factors.dtype)
        whiteners = tf.linalg.triangular_solve(factors, identity)
        constants = tf.math.log(weights) - tf.reduce_sum(
            tf.math.log(tf.linalg.diag_part(factors)), axis=-1
        )
        tails: tuple[tf.Tensor, ...] = ()
        if isinstance(parameters, TMixtureParameters):
            df = tf.convert_to_tensor(parameters.df)
            half_power = 0.5 * (df + dim)
            tails = df, half_power
            constants += (
                tf.math.lgamma(half_power)
                - tf.math.lgamma(0.5 * df)
                - 0.5 * dim * tf.math.log(df * math.pi)
            )
        else:
            constants -= 0.5 * dim * math.log(2.0 * math.pi)
        if dim <= _MAX_QUADRATIC_DIM:
            coefficients = [_quadratic_form(means, whiteners)]
        else:
            blocks = _whitening_blocks(means, whiteners)
            coefficients = [tf.cast(block, precision) for block in blocks]
        self.tensors = JointTensors(constants, tuple(coefficients), tails)

    @classmethod
    def of_first(cls, num_components: tf.Tensor, tensors: JointTensors) -> LogJoint:
        """Returns the density of the first components, a scalar tensor, of another's `tensors`."""
        density = cls.__new__(cls)
        density.tensors = tf.nest.map_structure(lambda part: part[..., :num_components], tensors)
        return density

    @property
    def num_components(self) -> int:
        """K."""
        return int(self.tensors.constants.shape[0])

    def __call__(self, points: tf.Tensor, moments: tf.Tensor | None = None) -> tf.Tensor:
        """Log joint densities of `points [N, D]`, `[N, K]` float64, nats."""
        return self.at_distances(self.distances(points, moments))

    def at_distances(self, distances: tf.Tensor) -> tf.Tensor:
        """Log joint densities at squared Mahalanobis distances, both `[N, K]`."""
        constants, _, tails = self.tensors
        if not tails:
            return constants - 0.5 * distances
        df, half_power = tails
        return constants - half_power * tf.math.log1p(distances / df)

    def distances(self, points: tf.Tensor, moments: tf.Tensor | None = None) -> tf.Tensor:
        """Squared Mahalanobis distances of `points [N, D]`, `[N, K]` float64, non-negative.

        `moments` may hold `moment_features(points)` if they are at hand already.
        """
        first = self.tensors.coefficients[0]
        if first.shape.rank == 3:
            # Small enough for a cache, where the products are squared and added up.
            width = 4 * int(first.shape[1]) * (first.shape[2] or 64)
            return self._over_slices(points, self._whitened, width)
        if moments is not None:
            return self._from_moments(moments)
        return self._over_slices(
            points, lambda piece: self._from_moments(moment_features(piece)), int(first.shape[0])
        )

    def of_few(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log joint densities and distances of a few `points [N, D]`, by NumPy.

        TensorFlow takes longer to start than to evaluate them.
        """
        constants, coefficients, tails = self.arrays
        points = points.astype(coefficients[0].dtype)
        known = np.concatenate([np.ones_like(points[:, :1]), points], axis=1)
        if coefficients[0].ndim == 3:
            distances = np.zeros((len(points), len(constants)))
            for block in coefficients:
                whitened = known[:, : len(block)] @ block.reshape(len(block), -1)
                distances += np.square(whitened.reshape(-1, *block.shape[1:])).sum(axis=1)
        else:
            first, second, _ = triangle(points.shape[1])
            moments = np.concatenate([known, points[:, first] * points[:, second]], axis=1)
            distances = np.maximum(moments @ coefficients[0], 0.0)
        if not tails:
            return constants - 0.5 * distances, distances
        return constants - tails[1] * np.log1p(distances / tails[0]), distances

    @functools.cached_property
    def arrays(self) -> JointTensors:
        """The tensors as arrays."""
        return tf.nest.map_structure(np.asarray, self.tensors)  # type: ignore[no-any-return]

    def _from_moments(self, moments: tf.Tensor) -> tf.Tensor:
        coefficients = self.tensors.coefficients[0]
        return tf.maximum(tf.linalg.matmul(moments, coefficients, transpose_a=True), 0.0)

    def _whitened(self, points: tf.Tensor) -> tf.Tensor:
        blocks = self.tensors.coefficients
        points = tf.cast(points, blocks[0].dtype)
        total = tf.zeros([], points.dtype)
        for block in blocks:
            depth, width, _ = block.shape
            ones = tf.ones_like(points[:, :1])
            known = tf.concat([ones, points[:, : depth - 1]], axis=1)
            whitened = tf.linalg.matmul(known, tf.reshape(block, [depth, -1]))
            shape = [-1, width, tf.shape(block)[2]]
            total += tf.reduce_sum(tf.square(tf.reshape(whitened, shape)), axis=1)
        return tf.cast(total, tf.float64)

    def _over_slices(
        self, points: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor], width: int
    ) -> tf.Tensor:
        slice_size = max(256, _SLICE_ELEMENTS // width)
        if points.shape[0] is not None and points.shape[0] <= slice_size:
            return function(points)
        num_points = tf.shape(points)[0]
        # Without points there is one empty slice, which has the number of components.
        num_slices = tf.maximum((num_points + slice_size - 1) // slice_size, 1)
        element_shape = [None, self.tensors.constants.shape[0]]
        pieces = tf.TensorArray(
            tf.float64, num_slices, infer_shape=False, element_shape=element_shape
        )

        def body(index: tf.Tensor, pieces: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            piece = function(points[index * slice_size : (index + 1) * slice_size])
            return index + 1, pieces.write(index, piece)

        _, pieces = tf.while_loop(
            lambda index, _: index < num_slices, body, (0, pieces), parallel_iterations=1
        )
        return pieces.concat()


def _quadratic_form(means: tf.Tensor, whiteners: tf.Tensor) -> tf.Tensor:
    """Coefficients `[1 + D + D (D + 1) / 2, K]` of `moment_features` in the squared distance."""
    # With the precision P = W^T W: (x - mu)^T P (x - mu) = mu^T P mu - 2 (P mu)^T x + x^T P x.
    precisions = tf.linalg.matmul(whiteners, whiteners, transpose_a=True)
    linear = tf.linalg.matvec(precisions, means)
    intercepts = tf.reduce_sum(linear * means, axis=-1)
    dim = int(means.shape[-1])
    first, second, _ = triangle(dim)
    quadratic = tf.gather(tf.reshape(precisions, [-1, dim**2]), first * dim + second, axis=1)
    # Products off the diagonal stand for both triangles.
    quadratic *= np.where(first == second, 1.0, 2.0)
    return tf.transpose(tf.concat([intercepts[:, tf.newaxis], -2.0 * linear, quadratic], axis=1))


def _whitening_blocks(means: tf.Tensor, whiteners: tf.Tensor) -> list[tf.Tensor]:
    """Coefficients `[1 + d, w, K]` of `[1, x]` in the `w` whitened coordinates up to the `d`-th."""
    # Coordinates do not depend on later features. Components are last, so that squares are added up
    # along all of them.
    # W (x - mu) = -W mu + W x with W triangular; its squared norm is the squared distance.
    dim = int(means.shape[-1])
    offsets = -tf.linalg.matvec(whiteners, means)
    blocks = []
    for start in range(0, dim, _WHITENED_AT_ONCE):
        stop = min(start + _WHITENED_AT_ONCE, dim)
        rows = tf.concat(
            [offsets[:, start:stop, tf.newaxis], whiteners[:, start:stop, :stop]], axis=2
        )
        blocks.append(tf.transpose(rows, [2, 1, 0]))
    return blocks
