"""Log Hastings ratios of moves, from sufficient statistics alone."""

from __future__ import annotations

import math

import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.statistics import SufficientStatistics


def log_split_ratio(
    left: SufficientStatistics,
    right: SufficientStatistics,
    prior: niw.NIWParameters,
    *,
    dp_concentration: float,
    covariance: str = "full",
) -> tf.Tensor:
    """Log Hastings ratio of replacing each component by its two subcomponents.

    [DeepDPM] eq. 2, from hard counts: `log alpha + log Gamma(N1) + log f(X1) + log Gamma(N2)
    + log f(X2) - log Gamma(N) - log f(X)`.

    Args:
        left, right: statistics of the two halves; same batch shape `[...]`, float64.
        prior: NIW prior shared by wholes and halves.
        dp_concentration: Dirichlet-process concentration, > 0.
        covariance: structure of the components' covariances, see `mixture/covariance.py`.

    Returns:
        `[...]` float64, nats; positive favours splitting, `-inf` where a half is empty.

    Raises:
        ValueError: if `dp_concentration` is not positive or feature sizes differ.
    """
    if left.feature_dim != right.feature_dim:
        checks.fail("right", f"{right.feature_dim} features", f"{left.feature_dim} as in `left`")
    first, second, whole = (
        evidence.log_partition_terms(prior, part, dp_concentration, covariance)
        for part in (left, right, left.plus(right))
    )
    is_empty = (left.counts <= 0) | (right.counts <= 0)
    return tf.where(is_empty, tf.constant(-math.inf, tf.float64), first + second - whole)
