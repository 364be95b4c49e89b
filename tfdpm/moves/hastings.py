"""Log Hastings ratios of moves, from sufficient statistics alone."""

from __future__ import annotations

import math

import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.statistics import SufficientStatistics


def log_partition_terms(
    statistics: SufficientStatistics,
    prior: niw.NIWParameters,
    *,
    dp_concentration: float,
    covariance: str = "full",
) -> tf.Tensor:
    """Each component's share of the log joint of data and partition under the DP mixture.

    `log alpha + log Gamma(N_k) + log f(X_k)`: up to a constant that depends on N alone, these sum
    to `log p(X, z)`, so that differences between partitions are log Hastings ratios.

    Returns:
        `[...]` float64, nats; 0 for a component without points, which is no component at all.
    """
    dp_concentration = checks.number(dp_concentration, "dp_concentration", above=0.0)
    return tf.constant(
        evidence.log_partition_terms(prior, statistics, dp_concentration, covariance)
    )


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

    def term(statistics: SufficientStatistics) -> tf.Tensor:
        return log_partition_terms(
            statistics, prior, dp_concentration=dp_concentration, covariance=covariance
        )

    ratio = term(left) + term(right) - term(left.plus(right))
    is_empty = (left.counts <= 0) | (right.counts <= 0)
    return tf.where(is_empty, tf.constant(-math.inf, ratio.dtype), ratio)
