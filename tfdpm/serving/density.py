"""Densities and p-values of the posterior predictive at the speed of a small network layer.

`mixture/outliers.py` is exact and slow: float64 and an incomplete beta function per point and
component. Here one float32 matrix product gives all distances, and a table gives the p-values.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import tensorflow as tf
from scipy.special import gammaln

from tfdpm.mixture import niw
from tfdpm.mixture.categories import Categories
from tfdpm.mixture.covariance import cholesky
from tfdpm.mixture.outliers import PredictiveTails, predictive_components
from tfdpm.mixture.parameters import TMixtureParameters
from tfdpm.serving.weights import held

# The survival function is tabulated over s = sqrt(df * log(1 + d2 / df)), for Gaussians sqrt(d2),
# in which every t has the tail exp(-s^2 / 2): beyond sqrt(D) + 13 it is zero in float32, and
# between knots that are 0.01 apart a straight line is within 1e-5 of it.
_TAIL_REACH = 13.0
_KNOT_SPACING = 0.01
# Rounding of whitened coordinates, in standard deviations, up to which float32 will do.
_LARGEST_ROUNDING = 2e-3


class ServedPredictive(tf.Module):
    """Log densities and p-values of points, as `PredictiveTails.tails` gives them.

    With the t densities' shape matrices `L L^T`, one kernel holds all `L^-T / sqrt(df)` side by
    side, so that the squares of its outputs, summed by component, are the squared Mahalanobis
    distances over `df`. `after` holds the components' NIW posteriors, batch shape `[K]`, and
    `log_volume_change` is added to log densities. `points_map` is the kernel `[F, D]` and bias
    `[D]` of the affine map that makes points of the rows; without it the rows are the points.
    With `categories` among the features, densities are Gaussians in place of t.
    """

    def __init__(
        self,
        mixture_weights,
        after: niw.NIWParameters,
        log_volume_change: float,
        points_map: tuple[np.ndarray, np.ndarray] | None = None,
        categories: Categories | None = None,
    ):
        super().__init__(name="predictive")
        components = predictive_components(mixture_weights, after, categories)
        loc, scale_tril = np.asarray(components.means), cholesky(components[2]).numpy()
        count, dim = loc.shape
        self._is_gaussian = not isinstance(components, TMixtureParameters)
        df = np.asarray(getattr(components, "df", np.ones(count)))
        whiteners = np.linalg.inv(scale_tril) / np.sqrt(df)[:, np.newaxis, np.newaxis]
        offsets = np.einsum("kab,kb->ka", whiteners, loc)
        rounding = np.finfo(np.float32).eps * np.abs(offsets * np.sqrt(df)[:, np.newaxis]).max()
        # Of the rows to be given: float32, unless components are so narrow that it would not tell
        # their points apart.
        self.dtype = tf.float32 if rounding <= _LARGEST_ROUNDING else tf.float64
        kernel, offsets = whiteners.reshape(count * dim, dim).T, offsets.reshape(-1)
        if points_map is not None:
            kernel, offsets = points_map[0] @ kernel, offsets - points_map[1] @ kernel
        keep = functools.partial(held, dtype=self.dtype)
        self._kernel, self._offsets = keep(kernel), keep(offsets)
        # Sums the squares of each component's coordinates; faster than a sum over a third axis.
        self._sums = keep(np.kron(np.eye(count), np.ones((dim, 1))))
        half_power = np.full(count, 0.5) if self._is_gaussian else 0.5 * (df + dim)
        log_norms = 0.5 * dim * np.log(2.0 * math.pi)
        if not self._is_gaussian:
            log_norms = gammaln(0.5 * df) - gammaln(half_power) + 0.5 * dim * np.log(df * math.pi)
        constants = (
            np.log(np.asarray(components.mixture_weights))
            - log_norms
            - np.log(np.diagonal(scale_tril, axis1=1, axis2=2)).sum(axis=1)
            + log_volume_change
        )
        self._half_power, self._constants = keep(half_power), keep(constants)
        num_knots = math.ceil((math.sqrt(dim) + _TAIL_REACH) / _KNOT_SPACING)
        self._knots_squared = keep(df / _KNOT_SPACING**2)
        squares = (np.arange(num_knots + 1) * _KNOT_SPACING) ** 2
        if categories is not None and categories.num_flags == dim:
            # Shares of categories alone fall in steps, of which a line must stay above.
            squares[1:] = squares[:-1]
        distances = np.repeat(squares[:, np.newaxis], count, axis=1)
        if not self._is_gaussian:
            with np.errstate(over="ignore"):
                distances = df * np.expm1(distances / df)
        tails = PredictiveTails(mixture_weights, after, categories)
        self._lines = keep(_survival_lines(tails.shares(distances).T))
        self._first_knots = np.arange(count, dtype=np.int32) * num_knots
        self._last_knot = num_knots - 1.0

    def __call__(self, rows) -> tuple[tf.Tensor, tf.Tensor]:
        """Log density, nats, and p-value `[B]`, of rows `[B, F]` or points `[B, D]`."""
        whitened = tf.linalg.matmul(rows, self._kernel)
        squares = tf.math.squared_difference(whitened, self._offsets)
        logs = tf.linalg.matmul(squares, self._sums)
        if not self._is_gaussian:
            logs = tf.math.log1p(logs)
        logits = self._constants - logs * self._half_power
        shares = tf.nn.softmax(logits)
        # As `reduce_logsumexp`, in half as many operations.
        log_density = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(shares, axis=-1))
        return log_density, tf.reduce_sum(shares * self._survival(logs), axis=-1)

    def _survival(self, logs) -> tf.Tensor:
        """Share of each component that lies farther out, `[B, K]`, of `s^2 / df`."""
        position = tf.minimum(tf.sqrt(logs * self._knots_squared), self._last_knot)
        row = tf.cast(position, tf.int32) + self._first_knots
        # What is no number became an integer below all others; it is none in the end again.
        line = tf.gather(self._lines, tf.maximum(row, 0))
        start, slope = tf.unstack(line, axis=-1)
        return start + position * slope


def _survival_lines(shares: np.ndarray) -> np.ndarray:
    """`shares [K, knots + 1]` beyond knots of s, as a line between each two, `[K * knots, 2]`.

    First where the line would be at s = 0, then its rise from knot to knot: side by side, because
    one lookup costs half of two.
    """
    shares[:, -2:] = 0.0
    slopes = np.diff(shares, axis=1)
    starts = shares[:, :-1] - np.arange(slopes.shape[1]) * slopes
    return np.stack([starts, slopes], axis=-1).reshape(-1, 2)
