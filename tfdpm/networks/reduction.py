"""What one pass over the data leaves behind: statistics of clusters and of their subclusters.

How they are summed up is in `training.py`, what they are good for in `moves.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfdpm.mixture.statistics import SufficientStatistics, unpack_moments

__all__ = ["PassStatistics", "pass_statistics"]


class PassStatistics(NamedTuple):
    """What one pass reduces the data to, under the networks as they stand.

    Attributes:
        soft: `[K]` components weighted by responsibilities: for the M-step.
        halves: `[K, 2]` hard counts of subclusters within hard clusters: for Hastings ratios.
        soft_halves: `[K, 2]` points of hard clusters weighted by subcluster responsibilities.
    """

    soft: SufficientStatistics
    halves: SufficientStatistics
    soft_halves: SufficientStatistics


def pass_statistics(sums, dim: int) -> PassStatistics:
    """Statistics from sums of moments; see `Passes._reduce`."""
    soft, hard_halves, soft_first = (unpack_moments(part, dim) for part in sums)
    halves = SufficientStatistics(
        *(tf.reshape(part, [-1, 2, *part.shape[1:]]) for part in hard_halves)
    )
    # Subcluster responsibilities sum to one, so the second half is the rest.
    soft_halves = SufficientStatistics(
        *(
            tf.stack([part, tf.reduce_sum(whole, axis=1) - part], axis=1)
            for part, whole in zip(soft_first, halves, strict=True)
        )
    )
    return PassStatistics(soft, halves, soft_halves)
