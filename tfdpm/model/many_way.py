"""Splits of clusters into more than two parts at once.

For layouts, such as a grid, in which no cut into two parts gains anything.
"""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.model.partitions import Partition
from tfdpm.model.sample_evidence import SampleEvidence, beyond_tail, chosen
from tfdpm.model.start import kmeans_labels

__all__ = ["split_many_ways"]

_NUM_SEEDS = 8  # k-means++ centres
_SEED_ITERATIONS = 10


def split_many_ways(
    evidence: SampleEvidence, partition: Partition, generator: np.random.Generator
) -> tuple[np.ndarray, int]:
    """k-means++ parts of each cluster, joined again while that gains, where the rest pays.

    Args:
        evidence: with the sample and the prior.
        partition: K clusters.
        generator: of the seeds of K-means.

    Returns:
        Labels `[n]` after the splits, and how many clusters were split.
    """
    labels, next_label, accepted = partition.labels.copy(), partition.num_components, 0
    terms = evidence.terms(partition.statistics)
    for component in range(partition.num_components):
        rows = np.flatnonzero(partition.labels == component)
        if len(rows) < 2 * _NUM_SEEDS:
            continue
        parts = kmeans_labels(
            evidence.sample.points[rows],
            _NUM_SEEDS,
            int(generator.integers(2**31)),
            _SEED_ITERATIONS,
        )
        parts, statistics = _joined(evidence, rows, parts)
        num_parts = len(statistics.counts)
        gain = evidence.terms(statistics).sum() - terms[component]
        if num_parts < 2 or gain <= 0:
            continue
        whole = chosen(partition.statistics, [component])
        tail = evidence.tail_gains(np.zeros(len(rows), int), whole, rows)[0]
        excess = gain - tail if num_parts > 2 else beyond_tail(gain, tail, len(rows))
        if excess > 0:
            labels[rows] = np.where(parts == 0, component, next_label + parts - 1)
            next_label += num_parts - 1
            accepted += 1
    return labels, accepted


def _joined(
    evidence: SampleEvidence, rows: np.ndarray, parts: np.ndarray
) -> tuple[np.ndarray, SufficientStatistics]:
    """Greedily joins the pair of parts with the largest gain until none gains."""
    parts = np.unique(parts, return_inverse=True)[1].ravel()
    statistics = evidence.sample.hard_statistics(parts, int(parts.max()) + 1, rows)
    statistics = SufficientStatistics(*(np.array(part) for part in statistics))
    terms = evidence.terms(statistics)
    while len(statistics.counts) > 1:
        first, second = np.triu_indices(len(statistics.counts), 1)
        union = chosen(statistics, first).plus(chosen(statistics, second))
        union_terms = evidence.terms(union)
        gains = union_terms - terms[first] - terms[second]
        best = int(gains.argmax())
        if gains[best] <= 0:
            break
        kept, joined = first[best], second[best]
        for part in statistics:
            part[kept] += part[joined]
        terms[kept] = union_terms[best]
        terms = np.delete(terms, joined)
        statistics = SufficientStatistics(*(np.delete(p, joined, 0) for p in statistics))
        parts = np.where(parts == joined, kept, parts)
        parts -= parts > joined
    return parts, statistics
