"""Coarser and finer levels of a fit's clusters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.judge import pair_ratios


def halve_clusters(
    labels: np.ndarray, sides: np.ndarray, log_ratios: np.ndarray, count: int
) -> np.ndarray:
    """Labels `[N]` after splitting the `count` clusters with the largest log ratios `[K]`.

    Their points go to the halves 0 and 1 that `sides [N]` says.
    """
    chosen = np.argsort(-log_ratios, kind="stable")[:count]
    second = np.full(len(log_ratios), -1)
    second[chosen] = len(log_ratios) + np.arange(count)
    is_second = (sides == 1) & (second[labels] >= 0)
    return np.where(is_second, second[labels], labels)


def merged_to(
    n_clusters: int,
    terms_of: Callable[[SufficientStatistics], np.ndarray],
    statistics: SufficientStatistics,
) -> np.ndarray:
    """Where each of K clusters goes when only `n_clusters` are left, `[K]` int64.

    Greedy: the pair whose merging has the largest log ratio goes first. `terms_of` gives the shares
    of components in the log probability of a partition.
    """
    parts = [np.array(part) for part in statistics]
    target = np.arange(len(parts[0]))
    first, second = np.triu_indices(len(parts[0]), 1)
    pairs = np.stack([first, second], axis=1)
    ratios = pair_ratios(terms_of, _as_statistics(parts), pairs)
    alive = len(parts[0])
    while alive > n_clusters:
        kept, gone = pairs[np.argmax(ratios)]
        for part in parts:
            part[kept] += part[gone]
        target[target == target[gone]] = target[kept]
        is_left = (pairs != gone).all(axis=1)
        pairs, ratios = pairs[is_left], ratios[is_left]
        changed = np.flatnonzero((pairs == kept).any(axis=1))
        ratios[changed] = pair_ratios(terms_of, _as_statistics(parts), pairs[changed])
        alive -= 1
    return np.unique(target, return_inverse=True)[1].astype(np.int64)


def _as_statistics(parts) -> SufficientStatistics:
    return SufficientStatistics(*(tf.constant(part) for part in parts))
