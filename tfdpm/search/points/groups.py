"""Groups of points, numbered from 0, and what is known of them by one sorted pass."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from tfdpm.mixture.statistics import SufficientStatistics


def sort_by_group(assignments: np.ndarray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorts places by their group; returns them `[n]` and the first of each group, `[G + 1]`."""
    # Short integers are sorted by their digits.
    kind = np.int16 if num_groups < 2**15 else np.int64
    order = np.argsort(assignments.astype(kind), kind="stable")
    counts = np.bincount(assignments, minlength=num_groups)
    return order, np.concatenate([[0], np.cumsum(counts)])


def distinct_rows(rows: np.ndarray) -> np.ndarray:
    """`np.unique(rows, axis=0)`, which takes several times as long where columns are continuous."""
    ordered = rows[np.lexsort(rows[:, 1::-1].T)]
    # Two columns mostly tell all rows apart.
    if (ordered[1:, :2] != ordered[:-1, :2]).any(axis=1).all():
        return ordered
    return np.asarray(np.unique(rows, axis=0))


def without_gaps(assignments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups that have members, and assignments `[n]` to them by their place among these."""
    has_members = np.bincount(assignments) > 0
    return np.flatnonzero(has_members), (np.cumsum(has_members) - 1)[assignments]


def sample_moments(statistics: SufficientStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Sample means `[K, D]` and covariances `[K, D, D]` (divided by the count)."""
    counts = np.maximum(statistics.counts, 1.0)
    means = statistics.sums / counts[:, np.newaxis]
    second = statistics.outer_products / counts[:, np.newaxis, np.newaxis]
    return means, second - means[:, :, np.newaxis] * means[:, np.newaxis, :]


def members(assignments: np.ndarray, num_groups: int) -> sparse.csc_matrix:
    """Indicator matrix `[G, n]` of each point's group; its products are sums by group."""
    starts = np.arange(len(assignments) + 1)
    shape = (num_groups, len(assignments))
    return sparse.csc_matrix((np.ones(len(assignments)), assignments, starts), shape)
