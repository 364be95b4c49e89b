"""Splits of clusters into more than two parts at once.

For layouts, such as a grid, in which no cut into two parts gains anything. All clusters are looked
at together: no step is made cluster by cluster.
"""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.evidence import SampleEvidence, beyond_tail, chosen
from tfdpm.search.kmeans import grouped_kmeans
from tfdpm.search.partitions import Partition
from tfdpm.search.sample import sorted_groups

__all__ = ["split_many_ways"]

_NUM_SEEDS = 8  # k-means++ centres
_SEED_ITERATIONS = 10
_MOST_ELEMENTS = 2**22  # of second moments of all pairs of parts that are looked at together


def split_many_ways(
    evidence: SampleEvidence,
    partition: Partition,
    generator: np.random.Generator,
    num_seeds: int = _NUM_SEEDS,
) -> tuple[np.ndarray, int]:
    """k-means++ parts of each cluster, joined again while that gains, where the rest pays.

    Args:
        evidence: with the sample and the prior.
        partition: K clusters.
        generator: of the centres.
        num_seeds: parts to begin with, S; clusters of fewer than 2 S points are left alone.

    Returns:
        Labels `[n]` after the splits, and how many clusters were split.
    """
    labels, next_label, accepted = partition.labels.copy(), partition.num_components, 0
    order, starts = sorted_groups(partition.labels, partition.num_components)
    large = np.flatnonzero(np.diff(starts) >= 2 * num_seeds)
    num_pairs = num_seeds * (num_seeds - 1) // 2
    at_once = max(1, _MOST_ELEMENTS // (num_pairs * (1 + evidence.sample.dim) ** 2))
    for begin in range(0, len(large), at_once):
        components = large[begin : begin + at_once]
        rows = np.concatenate([order[starts[k] : starts[k + 1]] for k in components])
        sizes = starts[components + 1] - starts[components]
        wholes = chosen(partition.statistics, components)
        parts, num_parts = _paying_parts(evidence, wholes, rows, sizes, generator, num_seeds)
        # The first part keeps the cluster's number.
        added = num_parts - 1
        firsts = next_label + np.cumsum(added) - added
        own, first = np.repeat(components, sizes), np.repeat(firsts, sizes)
        labels[rows] = np.where(parts == 0, own, first + parts - 1)
        next_label += int(added.sum())
        accepted += int((added > 0).sum())
    return labels, accepted


def _paying_parts(
    evidence: SampleEvidence,
    wholes: SufficientStatistics,
    rows: np.ndarray,
    sizes: np.ndarray,
    generator: np.random.Generator,
    num_seeds: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Parts of G clusters where splitting pays, and the whole elsewhere.

    Args:
        evidence: with the sample and the prior.
        wholes: statistics `[G]` of the clusters.
        rows: `[m]` of the sample, cluster by cluster.
        sizes: `[G]` points of each cluster.
        generator, num_seeds: as for `split_many_ways`.

    Returns:
        Part `[m]` of its cluster that each row is in, and the number of parts `[G]`, 1 of a whole.
    """
    owners = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    points = evidence.sample.points[rows]
    pieces = grouped_kmeans(points, starts, num_seeds, generator, _SEED_ITERATIONS)
    pieces += num_seeds * owners
    statistics = evidence.sample.hard_statistics(pieces, num_seeds * len(sizes), rows)
    statistics = SufficientStatistics(
        *(np.reshape(part, (-1, num_seeds, *part.shape[1:])) for part in statistics)
    )
    target, terms = _joined(evidence, statistics)
    is_part = (target == np.arange(num_seeds)) & (statistics.counts > 0)
    num_parts = is_part.sum(axis=1)
    gains = np.where(is_part, terms, 0.0).sum(axis=1) - evidence.terms(wholes)
    pays = (num_parts > 1) & (gains > 0)
    if pays.any():
        of_these = pays[owners]
        labels = (np.cumsum(pays) - 1)[owners[of_these]]
        tails = evidence.tail_gains(labels, chosen(wholes, pays), rows[of_these])
        gains, counts, several = gains[pays], sizes[pays], num_parts[pays] > 2
        excess = np.where(several, gains - tails, beyond_tail(gains, tails, counts))
        pays[pays] = excess > 0
    numbers = np.take_along_axis(np.cumsum(is_part, axis=1) - 1, target, axis=1)
    numbers = np.where(pays[:, np.newaxis], numbers, 0)
    return numbers.ravel()[pieces], np.where(pays, num_parts, 1)


def _joined(
    evidence: SampleEvidence, statistics: SufficientStatistics
) -> tuple[np.ndarray, np.ndarray]:
    """Joins the pair of parts with the largest gain, in each of G clusters, until none gains.

    Args:
        evidence: with the prior.
        statistics: `[G, S]` of the parts, of which some may be empty.

    Returns:
        What each part has become a piece of, `[G, S]` (itself, if it is still there), and the
        evidence `[G, S]` of those that are still there.
    """
    statistics = SufficientStatistics(*(np.array(part) for part in statistics))
    num_parts = statistics.counts.shape[1]
    first, second = np.triu_indices(num_parts, 1)
    pair_of = np.zeros((num_parts, num_parts), int)
    pair_of[first, second] = pair_of[second, first] = np.arange(len(first))
    others = np.array([np.delete(np.arange(num_parts), part) for part in range(num_parts)])

    def union_terms(rows, one, other):
        union = chosen(statistics, (rows, one)).plus(chosen(statistics, (rows, other)))
        return _stacked_terms(evidence, union)

    everyone = np.arange(len(statistics.counts))[:, np.newaxis]
    is_there = statistics.counts > 0
    terms = _stacked_terms(evidence, statistics)
    unions = union_terms(everyone, first, second)
    gains = np.where(
        is_there[:, first] & is_there[:, second],
        unions - terms[:, first] - terms[:, second],
        -np.inf,
    )
    target = np.tile(np.arange(num_parts), (len(everyone), 1))
    active = everyone[:, 0]
    while True:
        best = gains[active].argmax(axis=1)
        has_gain = gains[active, best] > 0
        active, best = active[has_gain], best[has_gain]
        if not len(active):
            return target, terms
        kept, gone = first[best], second[best]
        for part in statistics:
            part[active, kept] += part[active, gone]
        terms[active, kept] = unions[active, best]
        is_there[active, gone] = False
        target[active] = np.where(
            target[active] == gone[:, np.newaxis], kept[:, np.newaxis], target[active]
        )
        rows, own, partners = active[:, np.newaxis], kept[:, np.newaxis], others[kept]
        pairs = pair_of[own, partners]
        unions[rows, pairs] = union_terms(rows, own, partners)
        gains[rows, pairs] = unions[rows, pairs] - terms[rows, own] - terms[rows, partners]
        gains[active] = np.where(
            is_there[active][:, first] & is_there[active][:, second], gains[active], -np.inf
        )


def _stacked_terms(evidence: SampleEvidence, statistics: SufficientStatistics) -> np.ndarray:
    """`SampleEvidence.terms` of statistics `[G, P]`."""
    shape = statistics.counts.shape
    flat = SufficientStatistics(*(part.reshape(-1, *part.shape[2:]) for part in statistics))
    return evidence.terms(flat).reshape(shape)
