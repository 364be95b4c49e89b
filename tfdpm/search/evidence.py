"""Evidence of a sample's points for partitions of them and for moves between partitions.

The score of a partition is `log p(X, z)` under the DP mixture. Where two clusters may be one with
heavy tails, a component's evidence is that of the best elliptical t (`mixture/tails.py`).
"""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.mixture.tails import log_tail_gain
from tfdpm.moves.judge import neighbour_pairs
from tfdpm.search.prior import SearchPrior
from tfdpm.search.sample import Sample, sample_moments, sorted_groups

__all__ = ["SampleEvidence", "beyond_tail", "chosen"]

_LARGEST_TAIL = 3.0  # nats per point that a tail could add; only saves looking at hopeless pairs


class SampleEvidence:
    """What the points of `sample` say under `prior` as it stands at the time.

    Args:
        sample: distinct points.
        prior: of their clusters.
    """

    def __init__(self, sample: Sample, prior: SearchPrior):
        self.sample, self.prior = sample, prior

    def terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Each component's share of `log p(X, z)`, `[K]`."""
        return self.prior.of_partitions().terms(statistics)

    def tail_gains(
        self,
        labels: np.ndarray,
        statistics: SufficientStatistics,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """What a heavy tail adds to each component's evidence, `[K]`.

        Args:
            labels: component of each row.
            statistics: `[K]`.
            rows: of the sample; all where `None`.
        """
        rows = np.arange(self.sample.num_points) if rows is None else rows
        distances = self.sample.distances_to_own(labels, statistics, rows)
        return log_tail_gain(distances, labels, len(statistics.counts), self.sample.dim)

    def split_gains(
        self, labels: np.ndarray, sides: np.ndarray, statistics: SufficientStatistics
    ) -> np.ndarray:
        """Log ratios `[K]` of splitting each cluster into the given sides."""
        num_components = len(statistics.counts)
        halves_labels = 2 * labels + sides
        halves = self.sample.hard_statistics(halves_labels, 2 * num_components)
        terms = self.terms(halves)
        gains = terms[0::2] + terms[1::2] - self.terms(statistics)
        smallest = np.minimum(halves.counts[0::2], halves.counts[1::2])
        return np.where(smallest > 1, gains, -np.inf)

    def merge_gains(
        self, labels: np.ndarray, statistics: SufficientStatistics
    ) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]` and the log ratios `[P]` of merging them."""
        num_neighbours = self.prior.settings.num_neighbours
        pairs = neighbour_pairs(sample_moments(statistics)[0], num_neighbours)
        if not len(pairs):
            return pairs, np.zeros(0)
        terms = self.terms(statistics)
        union = chosen(statistics, pairs[:, 0]).plus(chosen(statistics, pairs[:, 1]))
        gains = self.terms(union) - terms[pairs[:, 0]] - terms[pairs[:, 1]]
        near = np.flatnonzero((gains <= 0) & (gains > -_LARGEST_TAIL * union.counts))
        if len(near):
            tails = self.tail_gains(labels, statistics)
            groups = sorted_groups(labels, len(statistics.counts))
            union_tails = self._union_tails(groups, pairs[near], chosen(union, near))
            gains[near] += union_tails - tails[pairs[near, 0]] - tails[pairs[near, 1]]
        return pairs, gains

    def collapse_gain(self, labels: np.ndarray, statistics: SufficientStatistics) -> float:
        """Log ratio of making one cluster of all."""
        whole = SufficientStatistics(*(part.sum(axis=0, keepdims=True) for part in statistics))
        gain = float(self.terms(whole)[0]) - float(self.terms(statistics).sum())
        if -_LARGEST_TAIL * len(labels) < gain <= 0:
            gain += self.tail_gains(np.zeros_like(labels), whole)[0]
            gain -= self.tail_gains(labels, statistics).sum()
        return gain

    def _union_tails(
        self,
        sorted_rows: tuple[np.ndarray, np.ndarray],
        pairs: np.ndarray,
        union: SufficientStatistics,
    ) -> np.ndarray:
        """What a heavy tail adds to the evidence of each pair `[P, 2]` of clusters as one, `[P]`.

        As many pairs at once as have about the sample's number of points, for the sake of memory.
        `sorted_rows` are those of all clusters, as `sorted_groups` tells them.
        """
        order, starts = sorted_rows
        groups = np.cumsum(union.counts) // self.sample.num_points
        tails = np.empty(len(pairs))
        for group in np.unique(groups):
            some = np.flatnonzero(groups == group)
            rows = [order[starts[k] : starts[k + 1]] for k in pairs[some].ravel()]
            sizes = np.array([len(part) for part in rows]).reshape(-1, 2).sum(axis=1)
            owners = np.repeat(np.arange(len(some)), sizes)
            tails[some] = self.tail_gains(owners, chosen(union, some), np.concatenate(rows))
        return tails


def beyond_tail(gain, tail, num_points):
    """What two parts gain beyond a heavy tail and the `log 2` per point of telling them apart.

    Two parts are the business of the search's own two-way move. Elsewhere they count in full only
    where a heavy tail would explain nothing (`tail` is 0).
    """
    return np.where(tail > 0, gain - tail - num_points * np.log(2.0), gain)


def chosen(statistics: SufficientStatistics, index) -> SufficientStatistics:
    """Statistics of the components `index`."""
    return SufficientStatistics(*(part[index] for part in statistics))
