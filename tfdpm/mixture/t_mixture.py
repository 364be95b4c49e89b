"""The M-step of a mixture of multivariate t distributions with a prior, in NumPy.

[Peel and McLachlan 2000, "Robust mixture modelling using the t distribution"].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, fdtri, gammaincinv

from tfdpm.mixture.parameters import TMixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics

INITIAL_DF = 8.0
# The range in which degrees of freedom are sought; 200 is hardly distinguishable from a Gaussian.
_LEAST_DF, _LARGEST_DF = 0.2, 200.0


class TStatistics(NamedTuple):
    """What an M-step needs to know of all points, `[K]` components.

    A point of responsibility r at squared distance d from a component has the weight
    `u = (nu + D) / (nu + d)` there. The farther out, the less it says of mean and scale.

    Attributes:
        counts: sums of r.
        weighted: statistics under weights r u.
        log_weights: sums of `r (log u - u)`.
    """

    counts: np.ndarray
    weighted: SufficientStatistics
    log_weights: np.ndarray


def map_t_mixture(
    prior: PartitionPrior, statistics: TStatistics, before: TMixtureParameters
) -> TMixtureParameters:
    """Estimates weights, means and scale matrices by MAP, degrees of freedom by likelihood.

    Args:
        prior: prior of Gaussian clusters. Half of the points of a t distribution lie in a wider
            ellipsoid than those of a Gaussian with the same matrix; what the prior expects of
            scale matrices is smaller by as much.
        statistics: statistics of an E-step under `before`.
        before: mixture of the last step as NumPy arrays; a component without points keeps it.
    """
    counts, weighted, log_weights = statistics
    has_points = counts > 1.0
    some = np.where(has_points, counts, 1.0)
    # The weighted scatter about the mean, sum r u (x - mu) (x - mu)^T, divided by the count of
    # points; the prior's scale matrix is multiplied by `gaussian_share`.
    df = _likeliest_df(log_weights / some, before.df, prior.dim)
    means = weighted.sums / np.where(has_points, weighted.counts, 1.0)[:, np.newaxis]
    squares = means[:, :, np.newaxis] * means[:, np.newaxis, :]
    lacking, excess = counts - weighted.counts, gaussian_share(prior.dim, df) - 1.0
    products = weighted.outer_products + np.expand_dims(lacking, (1, 2)) * squares
    products = products + np.expand_dims(excess, (1, 2)) * prior.scale
    as_if = SufficientStatistics(counts, counts[:, np.newaxis] * means, products)
    weights, means, scales = prior.map_mixture(as_if)
    after = TMixtureParameters(weights, means, scales, df)
    pairs = zip(after[1:], before[1:], strict=True)
    masks = (np.expand_dims(has_points, tuple(range(1, part.ndim))) for part in after[1:])
    kept = (np.where(mask, *pair) for mask, pair in zip(masks, pairs, strict=True))
    return TMixtureParameters(weights, *kept)


def gaussian_share(dim: int, df: np.ndarray) -> np.ndarray:
    """Median squared distance of a Gaussian over that of a t with `df`, both of unit scale."""
    # The squared distance of a Gaussian follows chi-squared with D degrees of freedom, that of a
    # t, over D, Fisher's F with D and df.
    return np.asarray(2.0 * gammaincinv(0.5 * dim, 0.5) / (dim * fdtri(dim, df, 0.5)))


def _likeliest_df(log_weights: np.ndarray, before: np.ndarray, dim: int) -> np.ndarray:
    """Roots `[K]` of the likelihood's derivative in the degrees of freedom, in their range.

    Means `[K]` of `log u - u` come from an E-step with the degrees of freedom of before.
    """
    # [Peel and McLachlan 2000] eq. 20 with h = nu / 2 and g = (nu_before + D) / 2:
    # log h - digamma(h) + 1 + mean(log u - u) + digamma(g) - log g = 0.
    half = 0.5 * (before + dim)
    constant = 1.0 + log_weights + digamma(half) - np.log(half)
    low = np.full(len(before), np.log(_LEAST_DF))
    high = np.full(len(before), np.log(_LARGEST_DF))
    for _ in range(40):  # the derivative falls with df
        middle = 0.5 * (low + high)
        half = 0.5 * np.exp(middle)
        is_below = np.log(half) - digamma(half) + constant > 0
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.asarray(np.exp(0.5 * (low + high)))
