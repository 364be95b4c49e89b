"""Ratios of single moves, asked of the judge by all statistics."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.hastings import HastingsJudge


def log_split_ratio(left, right, prior, *, dp_concentration):
    """Log ratios of splitting components into halves `left` and `right`, of any batch shape."""
    shape = left.counts.shape

    def stack(*parts):
        return tf.stack([tf.reshape(part, [-1, *part.shape[len(shape) :]]) for part in parts], 1)

    halves = left.map(stack, right)
    return HastingsJudge(halves, prior, dp_concentration).split_ratios().reshape(shape)


def log_merge_ratio(left, right, prior, *, dp_concentration):
    """Log ratios of merging components `left` with components `right`, of any batch shape."""
    shape = left.counts.shape
    flat = [
        tf.reshape(part, [-1, *part.shape[len(shape) :]])
        for group in zip(left, right, strict=True)
        for part in group
    ]
    joined = SufficientStatistics(
        *(tf.concat(flat[index : index + 2], axis=0) for index in range(0, len(flat), 2))
    )
    halves = SufficientStatistics(*(tf.stack([part, 0 * part], axis=1) for part in joined))
    count = len(joined.counts) // 2
    pairs = np.stack([np.arange(count), count + np.arange(count)], axis=1)
    ratios = HastingsJudge(halves, prior, dp_concentration).pair_ratios(pairs)
    return ratios.reshape(shape)
