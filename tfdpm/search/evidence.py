"""Evidence of a sample's points for partitions of them and for moves between partitions.

The score of a partition is `log p(X, z)` under the DP mixture. Where two clusters may be one with
heavy tails, a component's evidence is that of the best elliptical t distribution.
"""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.modality import dip_p_value
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.mixture.tails import log_flatness_gain, log_tail_gain
from tfdpm.moves.hastings import neighbour_pairs
from tfdpm.search.points.groups import sample_moments, sort_by_group
from tfdpm.search.points.sample import Sample
from tfdpm.search.prior import SearchPrior

# Largest gain by a heavy tail that is looked for, nats per point. It only saves time on pairs that
# no tail could make worth merging; half or twice of it gives the same partitions.
_LARGEST_TAIL = 3.0
# Probability of a dip in points of even density below which they are not of even density.
_VALLEY = 0.01


class SampleEvidence:
    """Evidence of a sample's distinct points under a prior whose scale may change meanwhile."""

    def __init__(self, sample: Sample, prior: SearchPrior):
        self.sample, self.prior = sample, prior

    def terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Each component's share of `log p(X, z)`, `[...]` as the counts."""
        return self.prior.partition_prior().terms(statistics)

    def tail_gains(
        self,
        labels: np.ndarray,
        statistics: SufficientStatistics,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Gain in each component's evidence by a heavy tail, `[K]` nats.

        `labels [m]` are the components of `rows [m]` of the sample; `None` stands for all.
        """
        rows = np.arange(self.sample.num_points) if rows is None else rows
        distances = self.sample.distances_to_own(labels, statistics, rows)
        return log_tail_gain(distances, labels, len(statistics.counts), self.sample.num_numbers)

    def shape_gains(self, labels: np.ndarray, statistics: SufficientStatistics) -> float:
        """What heavy tails and flat tops of the components may explain beyond Gaussians, nats.

        As in `subtract_tail_gain`, each point of a component with a heavy tail adds `log 2`.
        """
        rows = np.arange(self.sample.num_points)
        distances = self.sample.distances_to_own(labels, statistics, rows)
        count, dim = len(statistics.counts), self.sample.num_numbers
        flat = [log_flatness_gain(distances[labels == k], dim) for k in range(count)]
        tails = log_tail_gain(distances, labels, count, dim)
        costs = np.where(tails > 0, tails + statistics.counts * np.log(2.0), 0.0)
        return float(costs.sum() + np.maximum(flat, 0.0).sum())

    def split_gains(
        self, labels: np.ndarray, sides: np.ndarray, statistics: SufficientStatistics
    ) -> np.ndarray:
        """Log ratios `[K]` of splitting each cluster into the given sides."""
        halves = self.sample.hard_statistics(2 * labels + sides, 2 * len(statistics.counts))
        terms = self.terms(halves)
        gains = terms[0::2] + terms[1::2] - self.terms(statistics)
        smallest = np.minimum(halves.counts[0::2], halves.counts[1::2])
        return np.where(smallest > 1, gains, -np.inf)

    def merge_gains(
        self, labels: np.ndarray, statistics: SufficientStatistics
    ) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]` and the log ratios `[P]` of merging them."""
        means, _ = sample_moments(statistics)
        pairs = neighbour_pairs(means, self.prior.settings.config.num_neighbours)
        if not len(pairs):
            return pairs, np.zeros(0)
        terms, (a, b) = self.terms(statistics), pairs.T
        union = statistics.at(a).plus(statistics.at(b))
        gains = self.terms(union) - terms[a] - terms[b]
        near = np.flatnonzero((gains <= 0) & (gains > -_LARGEST_TAIL * union.counts))
        if len(near):
            tails = self.tail_gains(labels, statistics)
            groups = sort_by_group(labels, len(statistics.counts))
            union_tails = self._union_tails(groups, pairs[near], union.at(near))
            gains[near] += union_tails - tails[a[near]] - tails[b[near]]
        return pairs, gains

    def collapse_gain(self, labels: np.ndarray, statistics: SufficientStatistics) -> float:
        """Log ratio of making one cluster of all points, nats."""
        whole = statistics.map(lambda part: part.sum(axis=0, keepdims=True))
        gain = float(self.terms(whole)[0]) - float(self.terms(statistics).sum())
        if -_LARGEST_TAIL * len(labels) < gain <= 0:
            gain += self.tail_gains(np.zeros_like(labels), whole)[0]
            gain -= self.tail_gains(labels, statistics).sum()
        return gain

    def is_flat(self, parts: SufficientStatistics) -> bool:
        """Whether one flat-topped cluster explains all points better than its `parts` do.

        There must be no valley along any axis that tells the parts apart. Points of even density
        have more evidence in many round pieces than as one Gaussian.
        """
        whole = parts.map(lambda part: part.sum(axis=0, keepdims=True))
        rows = np.arange(self.sample.num_points)
        distances = self.sample.distances_to_own(np.zeros_like(rows), whole, rows)
        loss = self.terms(parts).sum() - self.terms(whole)[0]
        if log_flatness_gain(distances, self.sample.num_numbers) <= loss:
            return False
        means, _ = sample_moments(parts)
        offsets = (means - sample_moments(whole)[0]) * np.sqrt(parts.counts)[:, np.newaxis]
        # Axes along which the means differ, in units of the spread of all points.
        covariance = sample_moments(whole)[1][0]
        covariance += (1e-6 * np.trace(covariance) / self.sample.dim) * np.eye(self.sample.dim)
        whitener = np.linalg.inv(np.linalg.cholesky(covariance))
        axes = np.linalg.svd(offsets @ whitener.T, full_matrices=False)[2] @ whitener
        heights = self.sample.points @ axes[: len(means) - 1].T
        least = min(dip_p_value(column) for column in heights.T)
        return bool(least > _VALLEY / heights.shape[1])

    def _union_tails(
        self,
        sorted_rows: tuple[np.ndarray, np.ndarray],
        pairs: np.ndarray,
        union: SufficientStatistics,
    ) -> np.ndarray:
        """Gain by a heavy tail of each of the `pairs [P, 2]` of clusters as one, `[P]` nats."""
        # To save memory, pairs are looked at together up to about the sample's number of points.
        order, starts = sorted_rows
        groups = np.cumsum(union.counts) // self.sample.num_points
        tails = np.empty(len(pairs))
        for group in np.unique(groups):
            some = np.flatnonzero(groups == group)
            rows = [order[starts[k] : starts[k + 1]] for k in pairs[some].ravel()]
            sizes = np.array([len(part) for part in rows]).reshape(-1, 2).sum(axis=1)
            owners = np.repeat(np.arange(len(some)), sizes)
            tails[some] = self.tail_gains(owners, union.at(some), np.concatenate(rows))
        return tails


def subtract_tail_gain(gain: np.ndarray, tail: np.ndarray, num_points: np.ndarray) -> np.ndarray:
    """Subtracts from the gain of two parts what a heavy tail of the whole would explain.

    `log 2` per point, what it costs to say which part a point is in, is subtracted too. Outside
    the search's own two-way move, two parts count in full only where a tail explains nothing.
    Gains are nats, that of a tail >= 0, and all three arrays are `[K]`.
    """
    return np.where(tail > 0, gain - tail - num_points * np.log(2.0), gain)
