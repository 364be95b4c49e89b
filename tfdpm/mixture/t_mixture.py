"""The M-step of a mixture of multivariate t distributions, in NumPy.

[Peel and McLachlan 2000, "Robust mixture modelling using the t distribution"], with a prior. The
E-step of a sample is in `model/sample.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, fdtri, gammaincinv

from tfdpm.mixture.parameters import TMixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics

__all__ = ["INITIAL_DF", "TStatistics", "gaussian_share", "map_t_mixture"]

INITIAL_DF = 8.0
_FEWEST_DF, _MOST_DF = 0.2, 200.0  # the last is a Gaussian in all but name
_BISECTIONS = 40
_FEWEST_POINTS = 1.0


class TStatistics(NamedTuple):
    """What an M-step needs to know of all points, `[K]` components.

    With responsibilities r of a point at squared distance d from a component, its weight there is
    `u = (nu + D) / (nu + d)`: the farther out, the less it says of mean and scale.

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
    """Weights, means and scale matrices with the greatest posterior, likeliest df.

    Args:
        prior: of Gaussian clusters. A t of the same scale matrix holds half of its points in a
            wider ellipsoid; what the prior expects of scale matrices is smaller by as much.
        statistics: of an E-step under `before`.
        before: NumPy mixture; a component without points stays as it was there.
    """
    counts, weighted, log_weights = statistics
    has_points = counts > _FEWEST_POINTS
    some = np.where(has_points, counts, 1.0)
    df = _likeliest_df(log_weights / some, before.df, prior.dim)
    means = weighted.sums / np.where(has_points, weighted.counts, 1.0)[:, np.newaxis]
    squares = means[:, :, np.newaxis] * means[:, np.newaxis, :]
    products = weighted.outer_products + _column(counts - weighted.counts) * squares
    products = products + _column(gaussian_share(prior.dim, df) - 1.0) * prior.scale
    as_if = SufficientStatistics(counts, counts[:, np.newaxis] * means, products)
    weights, means, scales = prior.map_mixture(as_if)
    after = TMixtureParameters(weights, means, scales, df)
    pairs = zip(after[1:], before[1:], strict=True)
    kept = (np.where(_like(has_points, new), new, old) for new, old in pairs)
    return TMixtureParameters(weights, *kept)


def gaussian_share(dim: int, df: np.ndarray) -> np.ndarray:
    """Median squared distance of a standard Gaussian over that of a t with `df`, in D dimensions.

    The squared distance of a Gaussian follows chi-squared with D degrees of freedom, that of a t,
    over D, Fisher's F with D and `df`.
    """
    return 2.0 * gammaincinv(0.5 * dim, 0.5) / (dim * fdtri(dim, df, 0.5))


def _likeliest_df(log_weights: np.ndarray, before: np.ndarray, dim: int) -> np.ndarray:
    """Roots `[K]` of the likelihood's derivative in the degrees of freedom, in their range.

    Args:
        log_weights: `[K]`, means of `log u - u`.
        before: `[K]`, under which the weights are.
        dim: D.
    """
    half = 0.5 * (before + dim)
    constant = 1.0 + log_weights + digamma(half) - np.log(half)
    low = np.full(len(before), np.log(_FEWEST_DF))
    high = np.full(len(before), np.log(_MOST_DF))
    for _ in range(_BISECTIONS):  # the derivative falls with df
        middle = 0.5 * (low + high)
        half = 0.5 * np.exp(middle)
        is_below = np.log(half) - digamma(half) + constant > 0
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.exp(0.5 * (low + high))


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, np.newaxis, np.newaxis]


def _like(mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    return mask.reshape((-1,) + (1,) * (part.ndim - 1))
