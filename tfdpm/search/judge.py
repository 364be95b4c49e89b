"""What a search's evidence says about the networks' proposals."""

from __future__ import annotations

import numpy as np

from tfdpm.search.evidence import SampleEvidence, subtract_tail_gain
from tfdpm.search.kmeans import THREADS

__all__ = ["judged_merges", "judged_splits"]


def judged_splits(
    evidence: SampleEvidence, labels: np.ndarray, sides: np.ndarray, num_components: int
) -> np.ndarray:
    """Log ratios `[K]` of splitting clusters of the sample into the networks' halves.

    The search has already tried such splits and found none, so that what gains a little now is
    rather the shape of a cluster that is not Gaussian; see `subtract_tail_gain`.

    Args:
        evidence: of the search.
        labels, sides: `[n]` cluster, and half of it (0 or 1), of each point of the sample.
        num_components: K.
    """
    with THREADS.limit(limits=1):
        statistics = evidence.sample.hard_statistics(labels, num_components)
        gains = evidence.split_gains(labels, sides, statistics)
        if not (gains > 0).any():
            return gains
        tails = evidence.tail_gains(labels, statistics)
        return np.where(gains > 0, subtract_tail_gain(gains, tails, statistics.counts), gains)


def judged_merges(
    evidence: SampleEvidence, labels: np.ndarray, num_components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring pairs `[P, 2]` of clusters of the sample and the log ratios `[P]` of merging.

    Arguments as for `judged_splits`.
    """
    with THREADS.limit(limits=1):
        statistics = evidence.sample.hard_statistics(labels, num_components)
        return evidence.merge_gains(labels, statistics)
