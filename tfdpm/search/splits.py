"""Splits that no cut of a cluster into two separate sides finds.

Some layouts, such as a grid, gain nothing by a cut into two parts but by one into several. Of two
Gaussians that overlap, a cut counts the points between them for one of them alone, and so
underrates both; there responsibilities are shared.
"""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.modality import dip_p_value
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.mixture.tails import log_flatness_gain, log_tail_gain
from tfdpm.search.evidence import SampleEvidence, subtract_tail_gain
from tfdpm.search.partitions import Partition, run_em, variational_bound
from tfdpm.search.points.groups import sample_moments, sort_by_group
from tfdpm.search.points.kmeans import grouped_kmeans
from tfdpm.threads import map_in_threads

# Largest number of elements of the second moments of the pairs that are looked at together.
_MOST_ELEMENTS = 2**22
# Two Gaussians must have a larger dip between them than half of all points of even density. The
# evidence decides; the dip only refuses pieces of a shape that is no Gaussian.
_VALLEY = 0.5
# EM steps until each look at the evidence. Those of one Gaussian in two gain less and less.
_OVERLAP_ITERATIONS, _OVERLAP_TOLERANCE = (5, 5, 50), 1e-4


def split_many_ways(
    evidence: SampleEvidence,
    partition: Partition,
    generator: np.random.Generator,
    max_parts: int = 8,
) -> tuple[np.ndarray, int]:
    """Splits each cluster into several parts where that gains.

    k-means++ makes `max_parts` S parts, and pairs of them are joined again while joining gains.
    Clusters of fewer than 2 S points are left alone. Returns labels `[n]` after the splits, and how
    many clusters were split.
    """
    labels, next_label, accepted = partition.labels.copy(), partition.num_components, 0
    order, starts = sort_by_group(partition.labels, partition.num_components)
    large = np.flatnonzero(np.diff(starts) >= 2 * max_parts)
    num_pairs = max_parts * (max_parts - 1) // 2
    at_once = max(1, _MOST_ELEMENTS // (num_pairs * (1 + evidence.sample.dim) ** 2))
    for begin in range(0, len(large), at_once):
        components = large[begin : begin + at_once]
        rows = np.concatenate([order[starts[k] : starts[k + 1]] for k in components])
        sizes = starts[components + 1] - starts[components]
        wholes = partition.statistics.at(components)
        parts, num_parts = _gaining_parts(evidence, wholes, rows, sizes, generator, max_parts)
        # The first part keeps the cluster's number.
        added = num_parts - 1
        firsts = next_label + np.cumsum(added) - added
        own, first = np.repeat(components, sizes), np.repeat(firsts, sizes)
        labels[rows] = np.where(parts == 0, own, first + parts - 1)
        next_label += int(added.sum())
        accepted += int((added > 0).sum())
    return labels, accepted


def _gaining_parts(
    evidence: SampleEvidence,
    wholes: SufficientStatistics,
    rows: np.ndarray,
    sizes: np.ndarray,
    generator: np.random.Generator,
    max_parts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Parts of G clusters where splitting gains, and the whole elsewhere.

    `rows [m]` of the sample come cluster by cluster, in `sizes [G]`. Returns the part `[m]` that
    each is in, and the number of parts `[G]`, 1 of a whole.
    """
    owners = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    points = evidence.sample.points[rows]
    pieces = grouped_kmeans(points, starts, max_parts, generator, max_iterations=10)
    pieces += max_parts * owners
    statistics = evidence.sample.hard_statistics(pieces, max_parts * len(sizes), rows)
    statistics = statistics.map(lambda part: part.reshape(-1, max_parts, *part.shape[1:]))
    target, terms = _join_parts(evidence, statistics)
    is_part = (target == np.arange(max_parts)) & (statistics.counts > 0)
    num_parts = is_part.sum(axis=1)
    gains = np.where(is_part, terms, 0.0).sum(axis=1) - evidence.terms(wholes)
    pays = (num_parts > 1) & (gains > 0)
    if pays.any():
        of_these = pays[owners]
        labels = (np.cumsum(pays) - 1)[owners[of_these]]
        tails = evidence.tail_gains(labels, wholes.at(pays), rows[of_these])
        gains, counts, several = gains[pays], sizes[pays], num_parts[pays] > 2
        excess = np.where(several, gains - tails, subtract_tail_gain(gains, tails, counts))
        pays[pays] = excess > 0
    numbers = np.take_along_axis(np.cumsum(is_part, axis=1) - 1, target, axis=1)
    numbers = np.where(pays[:, np.newaxis], numbers, 0)
    return numbers.ravel()[pieces], np.where(pays, num_parts, 1)


def _join_parts(
    evidence: SampleEvidence, statistics: SufficientStatistics
) -> tuple[np.ndarray, np.ndarray]:
    """Joins the pair of parts with the largest gain, in each of G clusters, until none gains.

    Of parts with `statistics [G, S]`, some may be empty. Returns the part that each was joined to,
    `[G, S]` (itself if it is still there), and the evidence `[G, S]` of those still there.
    """
    statistics = statistics.map(np.array)
    num_parts = statistics.counts.shape[1]
    first, second = np.triu_indices(num_parts, 1)
    pair_of = np.zeros((num_parts, num_parts), int)
    pair_of[first, second] = pair_of[second, first] = np.arange(len(first))
    others = np.array([np.delete(np.arange(num_parts), part) for part in range(num_parts)])

    def union_terms(rows: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return evidence.terms(statistics.at((rows, one)).plus(statistics.at((rows, other))))

    everyone = np.arange(len(statistics.counts))[:, np.newaxis]
    is_there = statistics.counts > 0
    terms = evidence.terms(statistics)
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
        index, place = np.nonzero(is_there[active[:, np.newaxis], others[kept]])
        rows, own, partners = active[index], kept[index], others[kept[index], place]
        pairs = pair_of[own, partners]
        unions[rows, pairs] = union_terms(rows, own, partners)
        gains[rows, pairs] = unions[rows, pairs] - terms[rows, own] - terms[rows, partners]
        gains[active] = np.where(
            is_there[active][:, first] & is_there[active][:, second], gains[active], -np.inf
        )


def split_overlapping(evidence: SampleEvidence, partition: Partition) -> tuple[np.ndarray, int]:
    """Splits each cluster whose points are rather two Gaussians that overlap.

    Returns labels `[n]` after the splits, and how many clusters were split.
    """
    labels, accepted = partition.labels.copy(), 0
    order, starts = sort_by_group(partition.labels, partition.num_components)
    sides = evidence.sample.principal_axis_sides(partition.labels, partition.statistics)
    nearest = evidence.sample.two_means_sides(partition.labels, partition.num_components, sides)
    groups = np.split(order, starts[1:-1])
    found = map_in_threads(
        lambda rows: overlap_gain(evidence, rows, sides[rows], nearest[rows]), groups
    )
    for rows, (gain, parts) in zip(groups, found, strict=True):
        if gain > 0:
            labels[rows[parts == 1]] = partition.num_components + accepted
            accepted += 1
    return labels, accepted


def overlap_gain(
    evidence: SampleEvidence, rows: np.ndarray, *starts: np.ndarray
) -> tuple[float, np.ndarray]:
    """Gain in evidence by two Gaussians that share responsibility for some points, over one.

    The evidence of shared responsibilities is the variational lower bound: the terms of their
    statistics, and their entropy. What one flat-topped shape would explain as well is subtracted,
    and so is what dependence of categories on one another would. There must be a valley between the
    two: points of even density would have any number of Gaussians. Two Gaussians that overlap have
    a flatter top than one; a heavy tail is a sign of one cluster, or of two apart that other moves
    find.

    Args:
        evidence: evidence of the sample.
        rows: `[m]` rows of the sample.
        *starts: `[m]` Gaussian that each of them begins in, 0 or 1; several starts may be tried.

    Returns:
        The largest gain, nats, and sides `[m]` that have it. The gain is minus infinity for a heavy
        tail, or where there is no second Gaussian.
    """
    everyone = np.zeros_like(starts[0])
    whole = evidence.sample.hard_statistics(everyone, 1, rows)
    distances = evidence.sample.distances_to_own(everyone, whole, rows)
    best = -np.inf, starts[0]
    if log_tail_gain(distances, everyone, 1, evidence.sample.num_numbers)[0] > 0:
        return best
    sample = evidence.sample.of_rows(rows)
    prior = evidence.prior.partition_prior()
    least = float(evidence.terms(whole)[0]) + max(
        log_flatness_gain(distances, sample.num_numbers), 0.0
    )
    if sample.categories is not None:
        least += float(sample.categories.dependence(whole)[0])
    for sides in np.unique(starts, axis=0):
        halves = sample.hard_statistics(sides, 2)
        if halves.counts.min() <= 1:
            continue
        gain, parameters = float(prior.terms(halves).sum()) - least, prior.map_mixture(halves)
        for iterations in _OVERLAP_ITERATIONS:
            partition = run_em(sample, prior, parameters, iterations, _OVERLAP_TOLERANCE)
            if partition.num_components < 2:
                gain = -np.inf
                break
            parameters, before = partition.parameters, gain
            bound, soft = variational_bound(sample, prior, parameters)
            gain = bound - least
            # Not even steps as large as the last ones would make up for the rest.
            if gain < 0 and gain + _OVERLAP_ITERATIONS[-1] / iterations * (gain - before) < 0:
                break
        if gain > 0 and dip_p_value(sample.points @ _discriminant(soft)) > _VALLEY:
            continue
        if gain > best[0]:
            best = gain, partition.labels
    return best


def _discriminant(statistics: SufficientStatistics) -> np.ndarray:
    """Direction `[D]` that tells two clusters apart best under one covariance for both."""
    means, covariances = sample_moments(statistics)
    pooled = covariances.mean(axis=0)
    pooled += 1e-9 * np.trace(pooled) * np.eye(len(pooled))
    return np.linalg.solve(pooled, means[1] - means[0])
