"""Columns with one long tail, and logarithms that make them symmetric.

Sizes, prices and durations are often skewed. A mixture of Gaussians needs several components for
one skewed cluster, and one component for its logarithm.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Which columns count as skewed, and which logarithms are tried.

    Chosen on draws of exponential, gamma and log-normal distributions and on blobs. Half or twice
    of each number leaves their K as it is, but twice `least_skewness` misses a third of the skewed
    draws, and half of it searches more embeddings in vain.
    """

    # Of the median distance to the origin.
    multiples: tuple[float, ...] = (1 / 64, 1 / 16, 1 / 4, 1.0, 4.0)
    least_gain: float = 0.05  # in the log likelihood of one Gaussian for it, nats per point
    least_skewness: float = 0.2  # mean within clusters, weighted by their sizes
    standard_errors: float = 2.0  # the same, in standard errors of a Gaussian sample
    largest_atom: float = 0.05  # share of the points that may have one value in common


_SETTINGS = _Settings()


def compress(rows: np.ndarray, log_scales: np.ndarray) -> np.ndarray:
    """Returns `s sign(x) log(1 + |x| / s)` of `rows [..., D]`, or x where s is infinite.

    Its slope at zero is one, so that columns keep their units.
    """
    has_log = np.isfinite(log_scales)
    scales = np.where(has_log, log_scales, 1.0)
    return np.where(has_log, np.sign(rows) * scales * np.log1p(np.abs(rows) / scales), rows)


def expand(compressed: np.ndarray, log_scales: np.ndarray) -> np.ndarray:
    """Returns the rows that `compress` maps to `compressed [..., D]`."""
    has_log = np.isfinite(log_scales)
    scales = np.where(has_log, log_scales, 1.0)
    logs = np.where(has_log, np.abs(compressed), 0.0) / scales
    return np.where(has_log, np.sign(compressed) * scales * np.expm1(logs), compressed)


def log_slopes(compressed: np.ndarray, log_scales: np.ndarray) -> np.ndarray:
    """Logarithms `[..., D]` of the slopes of `compress` where its values are `compressed`."""
    # Of y = s log(1 + x / s), dy / dx = 1 / (1 + x / s) = exp(-y / s).
    return -np.abs(compressed) / log_scales


def has_skewed_columns(raw: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a column of points `[n, D]` is skewed as a whole and within clusters.

    Clusters that lie apart make a column skewed as well, but not within them.
    """
    least = max(_SETTINGS.least_skewness, _SETTINGS.standard_errors * np.sqrt(6 / len(raw)))
    as_one = np.zeros_like(labels)
    for column in raw.T.astype(np.float64):
        if not has_density(column) or abs(_mean_skewness(column, labels)) < least:
            continue
        if np.isfinite(_best_log(column, as_one, _SETTINGS.least_gain)[0]):
            return True
    return False


def fit_logs(raw: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and origins of logarithms that make clusters most like Gaussians of one covariance.

    Origins are the largest value, below which values fall away, or zero; where some are negative,
    the least value instead of zero. Both are `[D]`; scales are infinite, and origins zero, for
    columns that are better as they are.
    """
    # Half a logarithm of n is what Schwarz's criterion asks for a parameter.
    least = 0.5 * np.log(len(raw)) / len(raw)
    scales, origins = np.full(raw.shape[1], np.inf), np.zeros(raw.shape[1])
    for index, column in enumerate(raw.T.astype(np.float64)):
        if has_density(column):
            scales[index], origins[index] = _best_log(column, labels, least)
    return scales, origins


def has_density(column: np.ndarray) -> bool:
    """Whether a column varies and none of its numbers is frequent."""
    if column.min() == column.max():
        return False
    most = np.unique(column, return_counts=True)[1].max()
    return bool(most <= max(_SETTINGS.largest_atom * len(column), 1))


def _centre(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values `[n]` minus the means of their clusters."""
    counts = np.maximum(np.bincount(labels), 1)
    return values - (np.bincount(labels, values) / counts)[labels]


def _mean_skewness(column: np.ndarray, labels: np.ndarray) -> float:
    """Mean skewness of a column within clusters, weighted by their sizes."""
    counts = np.maximum(np.bincount(labels), 1)
    centred = _centre(column, labels)
    variances, thirds = (np.bincount(labels, centred**power) / counts for power in (2, 3))
    is_wide = variances > 1e-12 * column.var()
    skewness = np.where(is_wide, thirds / np.where(is_wide, variances, 1.0) ** 1.5, 0.0)
    return float(np.sum(np.bincount(labels) * skewness) / len(column))


def _best_log(column: np.ndarray, labels: np.ndarray, least_gain: float) -> tuple[float, float]:
    """Scale and origin with the largest likelihood of Gaussians of one variance.

    The scale is infinite, and the origin zero, for no gain.
    """
    best, best_gain = (np.inf, 0.0), least_gain
    variance = np.mean(_centre(column, labels) ** 2)
    low, high = float(column.min()), float(column.max())
    # Numbers without negative ones begin at zero: their least, of a few points, is of chance.
    for origin in (low, high) if low < 0 else (0.0, high):
        distances = np.abs(column - origin)
        for multiple in _SETTINGS.multiples:
            scale = multiple * float(np.median(distances))
            logs = np.log1p(distances / scale)
            compressed = scale**2 * np.mean(_centre(logs, labels) ** 2)
            if not 0 < compressed < variance:
                continue
            # -1/2 log v per point, and the mean logarithm of the slope.
            gain = 0.5 * np.log(variance / compressed) - logs.mean()
            if gain > best_gain:
                best, best_gain = (scale, origin), gain
        # Zero has a meaning that the largest of some numbers has not.
        best_gain += _SETTINGS.least_gain * (origin == 0.0)
    return best
