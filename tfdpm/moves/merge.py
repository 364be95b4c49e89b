"""Which pairs of components merge: near neighbours only, and no component twice."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import niw
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.acceptance import accept
from tfdpm.moves.hastings import log_merge_ratio


def neighbour_pairs(means: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Distinct pairs of each component with its nearest others by Euclidean distance of means.

    Args:
        means: `[K, D]`.
        num_neighbours: neighbours besides the component itself, >= 1 ([DeepDPM]: 3).

    Returns:
        `[P, 2]` int, first index below second, sorted by distance (ties by index).
    """
    num_neighbours = checks.integer(num_neighbours, "num_neighbours", minimum=1)
    means = np.asarray(means, float)
    num_components = len(means)
    if num_components < 2:
        return np.zeros((0, 2), int)
    means = means - means.mean(axis=0)  # or the differences drown when the origin is far
    squares = np.sum(means**2, axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * means @ means.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")
    nearest = nearest[:, : min(num_neighbours, num_components - 1)]
    first = np.repeat(np.arange(num_components), nearest.shape[1])
    pairs = np.unique(np.sort(np.stack([first, nearest.ravel()], axis=1), axis=1), axis=0)
    order = np.argsort(distances[pairs[:, 0], pairs[:, 1]], kind="stable")
    return pairs[order]


def accepted_merges(
    statistics: SufficientStatistics,
    prior: niw.NIWParameters,
    pairs: np.ndarray,
    *,
    dp_concentration: float,
    uniforms: np.ndarray,
    order: str = "best_first",
    covariance: str = "full",
) -> tuple[np.ndarray, np.ndarray]:
    """Decides merges so that no component takes part in two ([DeepDPM] supplement 5).

    Args:
        statistics: hard statistics, batch shape `[K]`.
        prior: NIW prior.
        pairs: `[P, 2]` candidate pairs.
        dp_concentration: Dirichlet-process concentration, > 0.
        uniforms: `[P]` in `[0, 1]`, one per candidate.
        order: `"best_first"` goes through candidates by falling log ratio, so that the best of
            several overlapping merges wins; `"sequential"` in the order of `pairs`.
        covariance: structure of the components' covariances.

    Returns:
        `[M, 2]` accepted pairs; `[P]` float64 log ratios (nats) of all candidates.
    """
    checks.one_of(order, "order", ("best_first", "sequential"))
    pairs = np.asarray(pairs, int).reshape(-1, 2)
    if not len(pairs):
        return pairs, np.zeros(0)
    left, right = (statistics.select(tf.constant(pairs[:, side])) for side in (0, 1))
    log_ratios = log_merge_ratio(
        left, right, prior, dp_concentration=dp_concentration, covariance=covariance
    ).numpy()
    is_accepted = accept(log_ratios, uniforms)
    visits = np.arange(len(pairs))
    if order == "best_first":
        visits = np.argsort(-log_ratios, kind="stable")
    taken: set[int] = set()
    merged = []
    for visit in visits:
        first, second = pairs[visit]
        if is_accepted[visit] and first not in taken and second not in taken:
            taken.update((first, second))
            merged.append((first, second))
    return np.asarray(merged, int).reshape(-1, 2), log_ratios
