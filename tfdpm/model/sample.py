"""Points held in memory for the search: reductions of all clusters at once, in float64.

Everything is a matrix product or a sorted pass; no loop over points, and over clusters only where
each iteration is one matrix product.
"""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.partition import squared_distances
from tfdpm.mixture.statistics import SufficientStatistics

# Up to this many features, products x_i x_j are kept, so that each E-step and each reduction is
# one matrix product; 20,000 points then take 50 MB.
_MAX_KEPT_DIM = 24


class Sample:
    """`n` points and their reductions.

    Args:
        points: `[n, D]` floating.
    """

    def __init__(self, points: np.ndarray):
        self.points = np.ascontiguousarray(points, np.float64)
        self.num_points, self.dim = self.points.shape
        self._moments = None
        if self.dim <= _MAX_KEPT_DIM:
            products = self.points[:, :, np.newaxis] * self.points[:, np.newaxis, :]
            ones = np.ones((self.num_points, 1))
            products = products.reshape(self.num_points, -1)
            self._moments = np.concatenate([ones, self.points, products], axis=1)

    def responsibilities(self, parameters: MixtureParameters) -> np.ndarray:
        """E-step, `[n, K]`."""
        distances, log_determinants = squared_distances(parameters, self.points, self._moments)
        logits = np.log(parameters.mixture_weights) - 0.5 * (distances + log_determinants)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def soft_statistics(self, responsibilities: np.ndarray) -> SufficientStatistics:
        """Statistics weighted by `[n, K]`."""
        if self._moments is not None:
            return self._unpack(responsibilities.T @ self._moments)
        products = [
            (self.points * column[:, np.newaxis]).T @ self.points for column in responsibilities.T
        ]
        return SufficientStatistics(
            responsibilities.sum(axis=0), responsibilities.T @ self.points, np.stack(products)
        )

    def _unpack(self, packed: np.ndarray) -> SufficientStatistics:
        products = packed[:, 1 + self.dim :].reshape(-1, self.dim, self.dim)
        return SufficientStatistics(packed[:, 0], packed[:, 1 : 1 + self.dim], products)

    def hard_statistics(
        self, assignments: np.ndarray, num_components: int, rows: np.ndarray | None = None
    ) -> SufficientStatistics:
        """Statistics of `rows` (all where `None`) under `assignments`, one integer per row."""
        rows = np.arange(self.num_points) if rows is None else rows
        order = np.argsort(assignments, kind="stable")
        counts = np.bincount(assignments, minlength=num_components)
        starts = np.concatenate([[0], np.cumsum(counts)])
        if self._moments is not None:
            present = np.flatnonzero(counts)
            packed = np.zeros((num_components, self._moments.shape[1]))
            if len(present):
                ordered = self._moments[rows[order]]
                packed[present] = np.add.reduceat(ordered, starts[present], axis=0)
            return self._unpack(packed)
        ordered = self.points[rows[order]]
        sums = np.zeros((num_components, self.dim))
        products = np.zeros((num_components, self.dim, self.dim))
        for index in np.flatnonzero(counts):
            block = ordered[starts[index] : starts[index + 1]]
            sums[index], products[index] = block.sum(axis=0), block.T @ block
        return SufficientStatistics(counts.astype(float), sums, products)

    def principal_axis_sides(
        self, assignments: np.ndarray, statistics: SufficientStatistics
    ) -> np.ndarray:
        """0 or 1 for each point: its side of its cluster's mean along the principal axis."""
        means, covariances = sample_moments(statistics)
        axes = np.linalg.eigh(covariances)[1][:, :, -1]
        heights = np.einsum("nd,nd->n", self.points, axes[assignments])
        middle = np.einsum("kd,kd->k", means, axes)
        return (heights > middle[assignments]).astype(np.int64)

    def two_means_sides(
        self, assignments: np.ndarray, num_components: int, sides: np.ndarray, iterations: int = 6
    ) -> np.ndarray:
        """2-means within every cluster at once, from the given sides."""
        for _ in range(iterations):
            counts, sums = self._sums(2 * assignments + sides, 2 * num_components)
            means = sums / np.maximum(counts, 1.0)[:, np.newaxis]
            directions = means[1::2] - means[0::2]
            thresholds = 0.5 * ((means[0::2] + means[1::2]) * directions).sum(axis=1)
            heights = np.einsum("nd,nd->n", self.points, directions[assignments])
            moved = (heights > thresholds[assignments]).astype(np.int64)
            has_settled = np.mean(moved != sides) < 1e-3
            sides = moved
            if has_settled:
                break
        return sides

    def distances_to_own(
        self, assignments: np.ndarray, statistics: SufficientStatistics, rows: np.ndarray
    ) -> np.ndarray:
        """Squared Mahalanobis distance of each row to its cluster under the sample covariance."""
        means, covariances = sample_moments(statistics)
        average = np.trace(covariances, axis1=1, axis2=2) / self.dim
        ridge = (1e-6 * average + 1e-12)[:, np.newaxis, np.newaxis] * np.eye(self.dim)
        whiteners = np.linalg.inv(np.linalg.cholesky(covariances + ridge))
        order = np.argsort(assignments, kind="stable")
        starts = np.searchsorted(assignments[order], np.arange(len(means) + 1))
        distances = np.empty(len(rows))
        for index in range(len(means)):
            chosen = order[starts[index] : starts[index + 1]]
            whitened = (self.points[rows[chosen]] - means[index]) @ whiteners[index].T
            distances[chosen] = np.einsum("nd,nd->n", whitened, whitened)
        return distances

    def _sums(self, assignments: np.ndarray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
        counts = np.bincount(assignments, minlength=num_groups).astype(float)
        columns = [np.bincount(assignments, column, num_groups) for column in self.points.T]
        return counts, np.stack(columns, axis=1)


def sample_moments(statistics: SufficientStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Sample means `[K, D]` and covariances `[K, D, D]` (divided by the count)."""
    counts = np.maximum(statistics.counts, 1.0)
    means = statistics.sums / counts[:, np.newaxis]
    second = statistics.outer_products / counts[:, np.newaxis, np.newaxis]
    return means, second - means[:, :, np.newaxis] * means[:, np.newaxis, :]
