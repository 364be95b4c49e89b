"""The affine map from raw features to the space in which the mixture lives; saved with the model.

It makes the result independent of units, shifts and rotations. Encoders are not here.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.config import PREPROCESSING

# Columns whose largest variance exceeds the median one by more than this are mixed units, for
# which no common scale exists; each is then brought to unit variance.
_MIXED_UNITS = 1000.0
_LEADING_VARIANCE = 0.99
_KEPT_VARIANCE = 0.999
_AXES_PER_ROOT = 0.4  # principal axes for the square root of N: what covariances can be learned of
_SLICE_ROWS = 16_384  # in float64 at a time


class FeatureMoments(NamedTuple):
    """Mean `[D]` and covariance `[D, D]` of raw features, float64, and how many points they saw."""

    num_points: float
    mean: np.ndarray
    covariance: np.ndarray

    def plus(self, other: FeatureMoments) -> FeatureMoments:
        """Moments of both sets of points together."""
        total = self.num_points + other.num_points
        share = other.num_points / total
        shift = other.mean - self.mean
        covariance = (1 - share) * self.covariance + share * other.covariance
        covariance = covariance + share * (1 - share) * np.outer(shift, shift)
        return FeatureMoments(total, self.mean + share * shift, covariance)


def feature_moments(features: np.ndarray, weights: np.ndarray | None = None) -> FeatureMoments:
    """Moments of `features [N, D]` in float64, in slices so that no copy of the whole is made."""
    num_points, feature_dim = features.shape
    count = float(num_points if weights is None else np.sum(weights, dtype=np.float64))
    total = max(count, 1e-300)
    # Shifting by some point first keeps digits where values are large and spread is small.
    origin = features[0].astype(np.float64)
    first = np.zeros(feature_dim)
    second = np.zeros((feature_dim, feature_dim))
    for start in range(0, num_points, _SLICE_ROWS):
        rows = features[start : start + _SLICE_ROWS].astype(np.float64) - origin
        weighted = rows
        if weights is not None:
            weighted = rows * np.asarray(weights[start : start + _SLICE_ROWS, None], np.float64)
        first += weighted.sum(axis=0)
        second += rows.T @ weighted
    mean = first / total
    return FeatureMoments(count, origin + mean, second / total - np.outer(mean, mean))


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """`(x - mean) @ projection`, after dividing rows by their norm where asked.

    Attributes:
        mean: `[D_in]` float64.
        projection: `[D_in, D]` float64.
        normalizes_rows: whether rows are first scaled to unit Euclidean length.
        description: what was chosen, in words.
        num_leading: how many of the features, the first ones, K is sought in; `None` for all.
    """

    mean: np.ndarray
    projection: np.ndarray
    normalizes_rows: bool = False
    description: str = ""
    num_leading: int | None = None

    @property
    def input_dim(self) -> int:
        """Number of raw features."""
        return self.projection.shape[0]

    @property
    def feature_dim(self) -> int:
        """Number of features that the mixture sees, D."""
        return self.projection.shape[1]

    def leading(self) -> Preprocessing:
        """The map to the features alone that K is sought in."""
        if self.num_leading is None:
            return self
        return dataclasses.replace(
            self, projection=self.projection[:, : self.num_leading], num_leading=None
        )

    @property
    def log_volume_change(self) -> float:
        """`log |det projection|` where the map can be inverted, else 0.

        Log densities of features plus this are log densities of raw inputs.
        """
        if self.normalizes_rows or self.input_dim != self.feature_dim:
            return 0.0
        return float(np.linalg.slogdet(self.projection)[1])

    def __call__(self, raw) -> tf.Tensor:
        """Features `[B, D]` float32 of raw inputs `[B, D_in]`; arithmetic in float64."""
        raw = tf.cast(raw, tf.float64)
        if self.normalizes_rows:
            raw = tf.math.l2_normalize(raw, axis=-1)
        return tf.cast(tf.linalg.matmul(raw - self.mean, self.projection), tf.float32)

    def transform(self, raw: np.ndarray) -> np.ndarray:
        """As calling, slice by slice, for arrays of any length."""
        features = np.empty((len(raw), self.feature_dim), np.float32)
        for start in range(0, len(raw), _SLICE_ROWS):
            rows = raw[start : start + _SLICE_ROWS].astype(np.float64)
            if self.normalizes_rows:
                rows = normalize_rows(rows)
            rows -= self.mean
            features[start : start + _SLICE_ROWS] = rows @ self.projection
        return features

    def inverse(self, features: np.ndarray) -> np.ndarray:
        """Raw inputs nearest to `features [..., D]` (exact where no axis was dropped)."""
        return features @ np.linalg.pinv(self.projection) + self.mean

    def inverse_covariance(self, covariances: np.ndarray) -> np.ndarray:
        """Covariances in raw units of covariances `[..., D, D]` of features."""
        back = np.linalg.pinv(self.projection)
        return back.T @ covariances @ back


def normalize_rows(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their Euclidean norm; a row of zeros stays."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, 1e-12)


def fit_preprocessing(moments: FeatureMoments, kind: str, wider: float = 1.0) -> Preprocessing:
    """The map of a `kind` (see `DeepDPMConfig.preprocessing`) for data with these moments.

    `wider` times as many principal axes may be kept as usual.
    For `"normalize"` the moments must be those of the normalised rows. Every kind but `"none"` and
    `"normalize"` ends with one common factor, so that the mean variance of the features (of the
    leading ones, if not all are) is one.
    """
    checks.one_of(kind, "preprocessing", PREPROCESSING)
    mean, covariance = moments.mean, moments.covariance
    input_dim = len(mean)
    if kind in ("none", "normalize"):
        origin = np.zeros(input_dim)
        return Preprocessing(origin, np.eye(input_dim), kind == "normalize", kind)
    # What remains of a constant column is rounding of its mean, not spread.
    rounding = (8 * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    variances = np.maximum(np.diag(covariance), 0.0)
    variances = np.where(variances > rounding, variances, 0.0)
    is_varying = variances > 0
    if not is_varying.any():
        return Preprocessing(mean, np.eye(input_dim)[:, :1], False, "constant data")
    scales = np.zeros(input_dim)
    scales[is_varying] = 1.0
    mixed = variances.max() > _MIXED_UNITS * np.median(variances[is_varying])
    if kind == "standardize" or (kind == "auto" and mixed):
        scales[is_varying] = 1.0 / np.sqrt(variances[is_varying])
    description = "standardised columns" if scales[is_varying].max() != 1.0 else "centred"
    projection, num_leading = np.diag(scales), input_dim
    if kind == "auto":
        scaled = covariance * np.outer(scales, scales)
        axes, num_leading = _principal_axes(scaled, moments.num_points, wider)
        projection = projection @ axes
        description += f", {axes.shape[1]} principal axes of {input_dim} columns"
    leading = projection[:, :num_leading]
    projection = projection / np.sqrt(np.trace(leading.T @ covariance @ leading) / num_leading)
    if num_leading == projection.shape[1]:
        return Preprocessing(mean, projection, False, description)
    description += f", K sought in {num_leading}"
    return Preprocessing(mean, projection, False, description, num_leading)


def _principal_axes(
    covariance: np.ndarray, num_points: float, wider: float
) -> tuple[np.ndarray, int]:
    """Eigenvectors with 99.9 % of the variance, and how many of them have 99 %.

    At most 0.4 sqrt(N) of them, at least two; of more axes, `wider` times as many.
    """
    eigenvalues, vectors = np.linalg.eigh(covariance)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    share = np.cumsum(eigenvalues) / eigenvalues.sum()
    most = min(max(2, int(_AXES_PER_ROOT * wider * np.sqrt(num_points))), len(eigenvalues))
    num_leading, count = (
        min(int(np.searchsorted(share, kept - 1e-12)) + 1, most)
        for kept in (_LEADING_VARIANCE, _KEPT_VARIANCE)
    )
    # Signs are fixed so that the same data always give the same features.
    vectors = vectors[:, :count]
    signs = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(count)])
    return vectors * signs, num_leading
