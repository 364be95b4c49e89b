"""What one pass over the data leaves behind: statistics of clusters and of their subclusters."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.statistics import (
    PointMoments,
    SufficientStatistics,
    num_moments,
    sum_over_slices,
    unpack_moments,
)


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
    """Statistics from sums of moments; see `Passes.sum_batch`."""
    soft, hard_halves, soft_first = (unpack_moments(part, dim) for part in sums)
    halves = hard_halves.map(lambda part: tf.reshape(part, [-1, 2, *part.shape[1:]]))
    # Subcluster responsibilities sum to one, so the second half is the rest.
    soft_halves = soft_first.map(
        lambda first, whole: tf.stack([first, whole - first], axis=1), halves.total(axis=1)
    )
    return PassStatistics(soft, halves, soft_halves)


def soft_statistics(log_joint: LogJoint, features, weights) -> SufficientStatistics:
    """Statistics of one batch weighted by its E-step responsibilities."""

    def reduce_slice(points, weights):
        moments = PointMoments(points)
        responsibilities = tf.nn.softmax(log_joint(points, moments.features))
        return moments.soft(responsibilities * tf.cast(weights, tf.float64)[:, tf.newaxis])

    dim = int(features.shape[-1])
    shape = [log_joint.num_components, num_moments(dim)]
    return unpack_moments(sum_over_slices(reduce_slice, shape, features, weights), dim)
