"""Gain in likelihood of a component by a heavy-tailed shape in place of a Gaussian.

Real clusters have longer tails than Gaussians. Under Gaussians alone, the tail of one cluster would
be evidence for a second one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

# Distances are sorted into bins of their logarithm, so that fits cost nothing per point.
_DEGREES_OF_FREEDOM = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0])
_FLAT_POWERS = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 8.0])
_NUM_BINS = 96
_LOG_RANGE = (-6.0, 8.0)


def log_tail_gain(
    distances: np.ndarray, assignments: np.ndarray, num_components: int, feature_dim: int
) -> np.ndarray:
    """Gain in log likelihood of the best elliptical t over the Gaussian of the same shape.

    For each component, t densities with eight different degrees of freedom are fitted, their scale
    by expectation-maximisation on a histogram of distances [Liu and Rubin 1995]. The gain is the
    best one's log likelihood minus the Gaussian's, less `log n` for its two further parameters.

    Args:
        distances: `[N]` squared Mahalanobis distances to the mean of the own component, which is
            one of `assignments [N]` in [0, K), under its sample covariance.

    Returns:
        `[K]` float64, nats, >= 0; 0 where the Gaussian is as good, or without features.
    """
    if feature_dim == 0:
        return np.zeros(num_components)
    counts = np.bincount(assignments, minlength=num_components).astype(float)
    sums = np.bincount(assignments, distances, num_components)
    average = sums / np.maximum(counts * feature_dim, 1e-300)
    relative = distances / np.maximum(average, 1e-300)[assignments] / feature_dim
    low, high = _LOG_RANGE
    bins = (np.log(relative + 1e-12) - low) / (high - low) * _NUM_BINS
    bins = np.clip(bins.astype(int), 0, _NUM_BINS - 1)
    flat, shape = assignments * _NUM_BINS + bins, (num_components, _NUM_BINS)
    histogram = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
    totals = np.bincount(flat, relative, shape[0] * shape[1]).reshape(shape)
    typical = totals / np.maximum(histogram, 1.0) * feature_dim
    t_likelihood = _best_t_log_likelihood(histogram, typical, counts, feature_dim)
    gaussian_likelihood = -0.5 * (histogram * typical).sum(axis=1)
    gain = t_likelihood - gaussian_likelihood - np.log(np.maximum(counts, 2.0))
    # Of points that are all the same there is no shape to tell.
    return np.where((counts > 2) & (sums > 0), np.maximum(gain, 0.0), 0.0)


def _best_t_log_likelihood(
    histogram: np.ndarray, typical: np.ndarray, counts: np.ndarray, feature_dim: int
) -> np.ndarray:
    """Largest log likelihood `[K]` over the degrees of freedom, up to the Gaussian's constant.

    Of the counts `[K]`, `histogram [K, B]` are in each bin of mean squared distance `typical`.
    """
    df = _DEGREES_OF_FREEDOM[np.newaxis, :, np.newaxis]
    histogram, typical = histogram[:, np.newaxis], typical[:, np.newaxis]
    points = np.maximum(counts, 1.0)[:, np.newaxis, np.newaxis]
    scale = np.ones((len(counts), 1, 1)) * np.maximum(0.3, (df - 2.0) / df)
    # EM for the scale s of a t with nu degrees of freedom: s <- sum_i u_i d_i / (N D) with the
    # weights u_i = (nu + D) / (nu + d_i / s) of squared distances d_i.
    for _ in range(12):
        weights = histogram * (df + feature_dim) / (df + typical / scale)
        scale = np.maximum((weights * typical).sum(2, keepdims=True) / (points * feature_dim), 1e-6)
    df_row = df[..., 0]
    constants = (
        gammaln(0.5 * (df_row + feature_dim))
        - gammaln(0.5 * df_row)
        - 0.5 * feature_dim * (np.log(0.5 * df_row) + np.log(scale[..., 0]))
    )
    powers = histogram * 0.5 * (df + feature_dim) * np.log1p(typical / (scale * df))
    return np.asarray((constants * points[..., 0] - powers.sum(axis=2)).max(axis=1))


def log_flatness_gain(distances: np.ndarray, feature_dim: int) -> float:
    """Gain in log likelihood of the best flat-topped shape over the Gaussian of the same shape.

    The shapes are elliptical power exponentials, with densities in proportion to
    `exp(-(d / s)^beta / 2)` and beta above one [Gomez et al. 1998]: the Gaussian has beta one, and
    a uniform ellipsoid is the limit. Points of even density gain by it as they would by two
    Gaussians side by side. The gain is less `log n` for two further parameters, so that it may be
    negative. Squared Mahalanobis `distances [n]` are to the mean under the sample covariance.
    """
    count, half_dim = len(distances), 0.5 * feature_dim
    average = distances.mean() if count else 0.0
    if not average > 0:
        return -np.inf
    relative = distances / average
    power = _FLAT_POWERS
    # The likeliest scale has (s / D)^beta = beta / D mean((d / D)^beta), whereupon the exponent is
    # -D / (2 beta) on average.
    means = np.array([np.mean(relative**each) for each in power])
    log_scale = np.log(power / feature_dim * means) / power
    log_densities = (
        np.log(power)
        + gammaln(half_dim)
        - gammaln(half_dim / power)
        - half_dim / power * (np.log(2.0) + 1.0)
        - half_dim * (np.log(feature_dim) + log_scale)
    )
    # The Gaussian's, with both less D / 2 log(pi).
    gaussian = -half_dim * (np.log(2.0) + 1.0)
    return float(count * (log_densities.max() - gaussian) - np.log(max(count, 2)))
