"""Coarser and finer levels of a fit's clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.hastings import pair_ratios
from tfdpm.shapes.groups import ComponentGroups

_TermsOf = Callable[[SufficientStatistics], np.ndarray]


class Level(NamedTuple):
    """Components joined into clusters over all valleys that are shallower than a depth.

    Attributes:
        depth: of the shallowest valley that separates its clusters, nats of evidence for two modes;
            inf where nothing lies between them, or there is one cluster only.
        n_clusters: number of its clusters.
        clusters: `[K]` int32, the cluster of each component.
    """

    depth: float
    n_clusters: int
    clusters: np.ndarray


def list_levels(groups: ComponentGroups) -> tuple[Level, ...]:
    """Levels from components to one cluster, which join over the valleys one by one."""
    separating = np.unique(groups.depths)
    found = [(depth, groups.at(np.nextafter(depth, -np.inf))) for depth in separating]
    found.append((np.inf, groups.at(np.inf)))
    return tuple(Level(float(depth), int(each.max()) + 1, each) for depth, each in found)


def joined_below(depth: float, groups: ComponentGroups) -> np.ndarray:
    """Clusters `[K]` when valleys shallower than `depth` are joined; one of depth 0 is none."""
    return groups.at(depth if depth == 0 else np.nextafter(depth, -np.inf))


def joined_to(
    n_clusters: int, groups: ComponentGroups, terms_of: _TermsOf, statistics: SufficientStatistics
) -> np.ndarray:
    """Clusters `[K]` of which there are `n_clusters`: the shallowest valleys go first.

    Where nothing lies between clusters, the pair whose merging has the largest log ratio goes
    first, as in `merged_to`.
    """
    apart = joined_below(np.inf, groups)
    count = int(apart.max()) + 1
    if n_clusters >= count:
        return groups.down_to(n_clusters)
    of_groups = np.eye(count)[apart].T
    pooled = statistics.map(lambda part: np.tensordot(of_groups, np.asarray(part), 1))
    return merged_to(n_clusters, terms_of, pooled)[apart]


def deepest_within(groups: ComponentGroups) -> np.ndarray:
    """Depth `[clusters]` of the deepest valley over which each was joined; -inf for single ones."""
    clusters = groups.clusters
    deepest = np.full(int(clusters.max()) + 1, -np.inf)
    inside = clusters[groups.merges[:, 0]] == clusters[groups.merges[:, 1]]
    np.maximum.at(deepest, clusters[groups.merges[inside, 0]], groups.depths[inside])
    return deepest


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


def merged_to(n_clusters: int, terms_of: _TermsOf, statistics: SufficientStatistics) -> np.ndarray:
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
