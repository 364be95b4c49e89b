"""Which components split: all are considered in parallel, each on its own."""

from __future__ import annotations

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.acceptance import accept
from tfdpm.moves.hastings import log_split_ratio


def accepted_splits(
    halves: SufficientStatistics,
    prior: niw.NIWParameters,
    *,
    dp_concentration: float,
    uniforms: np.ndarray,
    min_points: float = 0.0,
    covariance: str = "full",
) -> tuple[np.ndarray, np.ndarray]:
    """Decides the split of every component into its two subcomponents ([DeepDPM] section 4.2).

    Args:
        halves: hard statistics of the subcomponents, batch shape `[K, 2]`.
        prior: NIW prior.
        dp_concentration: Dirichlet-process concentration, > 0.
        uniforms: `[K]` in `[0, 1]`, one per component; ones accept only what is better.
        min_points: a half with this many points or fewer is refused (the released program: 5).
        covariance: structure of the components' covariances.

    Returns:
        `[K]` bool, accepted; `[K]` float64, log ratios (nats).
    """
    left, right = halves.select(0, axis=1), halves.select(1, axis=1)
    log_ratios = log_split_ratio(
        left, right, prior, dp_concentration=dp_concentration, covariance=covariance
    ).numpy()
    smallest = np.minimum(left.counts.numpy(), right.counts.numpy())
    log_ratios = np.where(smallest <= min_points, -np.inf, log_ratios)
    return accept(log_ratios, uniforms), log_ratios
