"""The judge of moves on a search's sample."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.search.evidence import SampleEvidence, subtract_tail_gain
from tfdpm.search.splits import overlap_gain
from tfdpm.threads import THREADS


@dataclasses.dataclass(frozen=True)
class SampleJudge:
    """Judges clusters of a sample by the evidence of the search that has ended on it.

    Attributes:
        evidence: of the search.
        num_components: K.
        labels: `[n]` cluster of each point of the sample.
        sides: `[n]` half of its cluster, 0 or 1; not needed for merges.
    """

    evidence: SampleEvidence
    num_components: int
    labels: np.ndarray
    sides: np.ndarray | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Points of the sample in each component's halves, `[K, 2]`."""
        halves = 2 * self.labels + (0 if self.sides is None else self.sides)
        return np.bincount(halves, minlength=2 * self.num_components).reshape(-1, 2)

    def split_ratios(self) -> np.ndarray:
        """Log ratios `[K]` of splitting each cluster into the given halves.

        The search has already tried such splits and found none, so that what gains a little now is
        rather the shape of a cluster that is not Gaussian; see `subtract_tail_gain`.
        """
        if self.sides is None:
            raise ValueError("`sides`: got None, wanted the half of each point to judge splits")
        with THREADS.limit(limits=1):
            statistics = self.evidence.sample.hard_statistics(self.labels, self.num_components)
            gains = self.evidence.split_gains(self.labels, self.sides, statistics)
            if not (gains > 0).any():
                return gains
            tails = self.evidence.tail_gains(self.labels, statistics)
            return np.where(gains > 0, subtract_tail_gain(gains, tails, statistics.counts), gains)

    def merge_ratios(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]` and the log ratios `[P]` of merging them.

        Two clusters that overlap may gain by it as long as each point counts for one of them
        alone; see `overlap_gain`.
        """
        with THREADS.limit(limits=1):
            statistics = self.evidence.sample.hard_statistics(self.labels, self.num_components)
            pairs, gains = self.evidence.merge_gains(self.labels, statistics)
            for index in np.flatnonzero(gains > 0):
                rows = np.flatnonzero(np.isin(self.labels, pairs[index]))
                sides = (self.labels[rows] == pairs[index, 1]).astype(np.int64)
                loss, _ = overlap_gain(self.evidence, rows, sides)
                gains[index] = -loss if loss > 0 else gains[index]
            return pairs, gains
