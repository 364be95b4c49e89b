"""Points held in memory for the search, and their reductions by all clusters at once, in float64.

Everything is a matrix product or a sorted pass. There is no loop over points, and over clusters
only where each iteration is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import entr

from tfdpm.mixture.categories import Categories
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.partition import log_joint_coefficients, triangle_moments, whitening
from tfdpm.mixture.statistics import SufficientStatistics, triangle
from tfdpm.mixture.t_mixture import TStatistics
from tfdpm.search.points.groups import members, sample_moments, sort_by_group
from tfdpm.search.points.pairs import (
    BLOCK_ELEMENTS,
    FEWEST_BLOCK_ROWS,
    AllPairs,
    Neighbourhood,
    PairDensity,
    is_many,
    measured_pairs,
    pairs_in_reach,
)
from tfdpm.threads import map_in_threads

# Up to this many features, products x_a x_b are kept, so that each E-step and each reduction is
# one matrix product; 20,000 points then take 52 MB.
_MAX_KEPT_DIM = 24
# Above so many, the moments of each point lie beside each other: an E-step of 20,000 points in 16
# dimensions takes three quarters of the time then, and in 8 dimensions five quarters.
_MAX_LONG_DIM = 14
# A pair of a point and a component that is looked at by itself takes as long as so many in one
# product.
_WORTH_OF_PAIR = 16
_BLOCK_ROWS = 4096
_WIDE_BLOCK_ROWS = 2048
# The blocks are added up in so many shares, one after the other, whatever the number of threads.
_MOST_SHARES = 4
# Fewer groups than this are reduced by a matrix product each.
_FEW_GROUPS = 64
# Pairs of points and components that are looked at together, at most.
_MOST_PAIRS = 2**21


class Sample:
    """Points and their reductions.

    Args:
        points: `[n, D]` floating.
        rounding: covariance `[D, D]` of each point about its value, which statistics include;
            `None` for none.
        categories: which of the first features are flags of categories; `None` for none.

    Attributes:
        points: `[n, D]` float64.
        num_points, dim: n and D.
    """

    def __init__(
        self,
        points: np.ndarray,
        rounding: np.ndarray | None = None,
        categories: Categories | None = None,
    ):
        self.rounding, self.categories = rounding, categories
        self.points = np.ascontiguousarray(points, np.float64)
        self.num_points, self.dim = self.points.shape
        self._with_ones = np.concatenate([np.ones((self.num_points, 1)), self.points], axis=1)
        self._moments = triangle_moments(self.points) if self.dim <= _MAX_KEPT_DIM else None
        if self._moments is not None and self.dim > _MAX_LONG_DIM:
            self._moments = np.ascontiguousarray(self._moments)

    @property
    def num_numbers(self) -> int:
        """Number of features that are no flags."""
        return int(self.dim - (0 if self.categories is None else self.categories.num_flags))

    def of_rows(self, rows: np.ndarray) -> Sample:
        """The sample of some of the points."""
        return Sample(self.points[rows], self.rounding, self.categories)

    def expectation(
        self, parameters: MixtureParameters, near: Neighbourhood | None = None
    ) -> tuple[np.ndarray, SufficientStatistics]:
        """Makes an E-step and its reduction block by block, so that no array has n K numbers.

        Args:
            parameters: the mixture.
            near: which of many components may have a share in which points; `None` for all.

        Returns:
            The likeliest component `[n]` of each point, and statistics of all points weighted by
            their responsibilities.
        """
        labels = np.empty(self.num_points, np.int64)

        def reduce(rows: slice, found: Any) -> list[np.ndarray]:
            labels[rows] = found.likeliest()
            return [self._packed(rows, found, found.responsibilities())]

        (total,) = self._sum_over_blocks(reduce, parameters, near)
        return labels, self._unpack(total)

    def soft_statistics(self, parameters: MixtureParameters) -> SufficientStatistics:
        """The statistics of `expectation`."""

        def reduce(rows: slice, found: Any) -> list[np.ndarray]:
            return [self._packed(rows, found, found.responsibilities())]

        (total,) = self._sum_over_blocks(reduce, parameters)
        return self._unpack(total)

    def assign(
        self, parameters: MixtureParameters, near: Neighbourhood | None = None
    ) -> tuple[np.ndarray, Neighbourhood | None]:
        """The likeliest component `[n]` of each point, and which others of many are near it.

        Arguments are those of `expectation`.
        """
        count = len(parameters.means)
        if not is_many(count):
            return self.labels(parameters), None
        labels = np.empty(self.num_points, np.int64)
        are_near = np.zeros((count, count), bool)

        def reduce(rows: slice, found: Any) -> list[np.ndarray]:
            labels[rows] = found.likeliest()
            others, places = found.near()
            are_near[labels[rows][places], others] = True
            return []

        self._sum_over_blocks(reduce, parameters, near)
        return labels, Neighbourhood(labels, sparse.csr_matrix(are_near, dtype=np.float64))

    def shared(self, parameters: MixtureParameters) -> tuple[SufficientStatistics, float]:
        """The statistics of `expectation`, with the `entropy` of the responsibilities, nats."""

        def reduce(rows: slice, found: Any) -> list[np.ndarray]:
            shares = found.responsibilities()
            entropy = entr(shares).sum(keepdims=True).ravel()
            return [self._packed(rows, found, shares), entropy]

        total, entropy = self._sum_over_blocks(reduce, parameters)
        return self._unpack(total), float(entropy.item())

    def entropy(self, parameters: MixtureParameters) -> float:
        """Sum of the entropies of all points' responsibilities, nats."""

        def reduce(_: slice, found: Any) -> list[np.ndarray]:
            return [entr(found.responsibilities()).sum(keepdims=True).ravel()]

        (total,) = self._sum_over_blocks(reduce, parameters)
        return float(total.item())

    def t_expectation(
        self, parameters: TMixtureParameters, near: Neighbourhood | None = None
    ) -> tuple[np.ndarray, TStatistics]:
        """Makes an E-step under t distributions and its reduction; see `expectation`."""
        labels = np.empty(self.num_points, np.int64)
        df = parameters.df

        def reduce(rows: slice, found: Any) -> list[np.ndarray]:
            labels[rows] = found.likeliest()
            shares, own = found.responsibilities(), found.components
            # u = (nu + D) / (nu + d) of squared distances d.
            u = (df + self.dim)[own] / (df[own] + found.distances)
            log_weights = found.sums(shares * (np.log(u) - u))
            return [found.sums(shares), log_weights, self._packed(rows, found, shares * u)]

        counts, log_weights, total = self._sum_over_blocks(reduce, parameters, near)
        return labels, TStatistics(counts, self._unpack(total), log_weights)

    def labels(self, parameters: MixtureParameters | TMixtureParameters) -> np.ndarray:
        """The likeliest component of each point, `[n]`."""
        labels = np.empty(self.num_points, np.int64)

        def reduce(rows: slice, found: Any) -> list[np.ndarray]:
            labels[rows] = found.likeliest()
            return []

        self._sum_over_blocks(reduce, parameters)
        return labels

    def _sum_over_blocks(
        self,
        reduce: Callable[[slice, Any], list[np.ndarray]],
        parameters: MixtureParameters | TMixtureParameters,
        near: Neighbourhood | None = None,
    ) -> list[np.ndarray]:
        """Sums of arrays that `reduce` makes of blocks and their log joint densities, in threads.

        The order in which blocks are added up does not depend on the number of threads.
        """
        log_joint, block = self._log_joint(parameters, near)
        starts = range(0, max(self.num_points, 1), block)

        def add(some: np.ndarray) -> list[np.ndarray]:
            total: list[np.ndarray] = []
            for start in some:
                rows = slice(start, min(start + block, self.num_points))
                parts = reduce(rows, log_joint(rows))
                total = total or [np.zeros_like(part) for part in parts]
                for sums, part in zip(total, parts, strict=True):
                    sums += part
            return total

        shares = np.array_split(starts, max(1, min(_MOST_SHARES, len(starts) // 2)))
        return [sum(parts) for parts in zip(*map_in_threads(add, shares), strict=True)]

    def _log_joint(
        self,
        parameters: MixtureParameters | TMixtureParameters,
        near: Neighbourhood | None = None,
    ) -> tuple[Callable[[slice], Any], int]:
        """Log joint densities of slices of the points up to a constant, and how long slices are."""
        if self.categories is not None and not isinstance(parameters, TMixtureParameters):
            parameters = self.categories.as_gaussians(parameters)
        count, moments = len(parameters.means), self._moments
        if near is not None and moments is not None:
            is_worth_it = near.num_pairs * _WORTH_OF_PAIR < self.num_points * count
            near = near if is_worth_it else None
        if near is not None:
            density, links = PairDensity(parameters), near
            at_once = self.num_points * _MOST_PAIRS // max(near.num_pairs, 1)
            return (
                lambda rows: measured_pairs(self._with_ones[rows], density, *links.pairs(rows)),
                max(_BLOCK_ROWS, at_once),
            )
        if moments is None:
            density = PairDensity(parameters)
            at_once = min(_MOST_PAIRS // count, self.num_points // (2 * _MOST_SHARES) + 1)
            return (
                lambda rows: pairs_in_reach(self._with_ones[rows], density),
                max(_WIDE_BLOCK_ROWS, at_once),
            )
        tails = PairDensity(parameters) if isinstance(parameters, TMixtureParameters) else None
        gaussians = MixtureParameters(*parameters[:3])
        coefficients = np.ascontiguousarray(log_joint_coefficients(gaussians).T)

        def of_all(rows: slice) -> AllPairs:
            logits = coefficients @ moments[rows].T
            return AllPairs(logits) if tails is None else tails.of_gaussians(logits)

        return of_all, max(FEWEST_BLOCK_ROWS, BLOCK_ELEMENTS // (self._packed_width + count))

    @property
    def _packed_width(self) -> int:
        return int(self._moments.shape[1] if self._moments is not None else (1 + self.dim) ** 2)

    def _packed(self, rows: slice, found: Any, weights: np.ndarray) -> np.ndarray:
        """Sums `[K, M]` of moments of some points under `weights` of the pairs that were found."""
        if self._moments is not None:
            return np.asarray(found.matrix(weights) @ self._moments[rows])
        points = self._with_ones[rows]
        products = np.zeros((found.shape[0], 1 + self.dim, 1 + self.dim))
        for product, start, stop in zip(products, found.starts[:-1], found.starts[1:], strict=True):
            roots = points[found.places[start:stop]] * np.sqrt(weights[start:stop])[:, np.newaxis]
            np.matmul(roots.T, roots, out=product)
        return products.reshape(len(products), -1)

    def _unpack(self, packed: np.ndarray) -> SufficientStatistics:
        """Statistics from sums of `triangle_moments`, or of products of points with ones before."""
        dim = self.dim
        if self._moments is None:
            return self._from_squares(packed.reshape(-1, 1 + dim, 1 + dim))
        place = 1 + dim + triangle(dim)[2]
        parts = packed[:, 0], packed[:, 1 : 1 + dim], packed[:, place]
        return SufficientStatistics(*parts).widened(self.rounding)

    def _from_squares(self, squares: np.ndarray) -> SufficientStatistics:
        """Statistics from sums of `[1, x] [1, x]^T`, `[K, 1 + D, 1 + D]`."""
        parts = squares[:, 0, 0], squares[:, 0, 1:], squares[:, 1:, 1:]
        return SufficientStatistics(*parts).widened(self.rounding)

    def hard_statistics(
        self, assignments: np.ndarray, num_components: int, rows: np.ndarray | None = None
    ) -> SufficientStatistics:
        """Statistics of `rows` (all where `None`) under `assignments`, one integer per row."""
        if self._moments is not None and num_components >= _FEW_GROUPS:
            moments = self._moments if rows is None else self._moments[rows]
            return self._unpack(members(assignments, num_components) @ moments)
        order, starts = sort_by_group(assignments, num_components)
        order = order if rows is None else rows[order]
        squares = np.zeros((num_components, 1 + self.dim, 1 + self.dim))

        def add(index: int) -> None:
            block = self._with_ones[order[starts[index] : starts[index + 1]]]
            np.matmul(block.T, block, out=squares[index])

        self._map(add, np.flatnonzero(np.diff(starts)))
        return self._from_squares(squares)

    def principal_axis_sides(
        self, assignments: np.ndarray, statistics: SufficientStatistics
    ) -> np.ndarray:
        """Side of each point's cluster along its principal axis, `[n]` of 0 and 1."""
        means, covariances = sample_moments(statistics)
        axes = np.linalg.eigh(covariances)[1][:, :, -1]
        heights = self._heights(axes, assignments)
        middle = np.einsum("kd,kd->k", means, axes)
        return np.asarray((heights > middle[assignments]).astype(np.int64))

    def _heights(self, directions: np.ndarray, assignments: np.ndarray) -> np.ndarray:
        """Products `[n]` of points with the `directions [K, D]` of their clusters."""
        heights = np.empty(self.num_points)

        def measure(start: int) -> None:
            rows = slice(start, start + _WIDE_BLOCK_ROWS)
            own = directions[assignments[rows]]
            np.einsum("nd,nd->n", self.points[rows], own, out=heights[rows])

        self._map(measure, range(0, self.num_points, _WIDE_BLOCK_ROWS))
        return heights

    def two_means_sides(
        self, assignments: np.ndarray, num_components: int, sides: np.ndarray, iterations: int = 6
    ) -> np.ndarray:
        """Makes 2-means within every cluster at once, from the given sides `[n]` of 0 and 1."""
        # A point is nearer to the second mean where x^T (m_1 - m_0) > (m_0 + m_1)^T (m_1 - m_0)/2.
        for _ in range(iterations):
            sums = members(2 * assignments + sides, 2 * num_components) @ self._with_ones
            means = sums[:, 1:] / np.maximum(sums[:, :1], 1.0)
            directions = means[1::2] - means[0::2]
            thresholds = 0.5 * ((means[0::2] + means[1::2]) * directions).sum(axis=1)
            heights = self._heights(directions, assignments)
            before, sides = sides, (heights > thresholds[assignments]).astype(np.int64)
            if np.mean(sides != before) < 1e-3:
                break
        return sides

    def two_means_halves(self, parameters: MixtureParameters) -> SufficientStatistics:
        """Statistics `[K, 2]` of 2-means within every component, from sides of its principal axis.

        Each point belongs to its likeliest component.
        """
        labels, count = self.labels(parameters), len(parameters.means)
        sides = self.principal_axis_sides(labels, self.hard_statistics(labels, count))
        sides = self.two_means_sides(labels, count, sides)
        halves = self.hard_statistics(2 * labels + sides, 2 * count)
        return halves.map(lambda part: part.reshape(-1, 2, *part.shape[1:]))

    def distances_to_own(
        self, assignments: np.ndarray, statistics: SufficientStatistics, rows: np.ndarray
    ) -> np.ndarray:
        """Squared Mahalanobis distance of each row to its cluster under the sample covariance.

        Beside flags, it is the numbers' distance to what the flags let expect.
        """
        means, covariances = sample_moments(statistics)
        average = np.trace(covariances, axis1=1, axis2=2) / self.dim
        ridge = (1e-6 * average + 1e-12)[:, np.newaxis, np.newaxis] * np.eye(self.dim)
        gaussians = MixtureParameters(np.ones(len(means)), means, covariances + ridge)
        whiteners, log_determinants = whitening(gaussians)
        # Coordinates do not depend on later features, so that those of numbers are residuals.
        whiteners = whiteners[:, self.dim - self.num_numbers :]
        has_all = self.num_numbers == self.dim
        if self._moments is not None and len(means) >= _FEW_GROUPS and has_all:
            coefficients = log_joint_coefficients(gaussians).T
            distances: np.ndarray = -log_determinants[assignments]
            for start in range(0, len(rows), _BLOCK_ROWS):
                some = slice(start, start + _BLOCK_ROWS)
                own = coefficients[assignments[some]]
                distances[some] -= 2.0 * np.einsum("nm,nm->n", self._moments[rows[some]], own)
            np.maximum(distances, 0.0, out=distances)
            return distances
        order, starts = sort_by_group(assignments, len(means))
        distances = np.empty(len(rows))

        def measure(index: int) -> None:
            chosen = order[starts[index] : starts[index + 1]]
            whitened = (self.points[rows[chosen]] - means[index]) @ whiteners[index].T
            distances[chosen] = np.einsum("nd,nd->n", whitened, whitened)

        self._map(measure, range(len(means)))
        return distances

    def _map(self, function: Callable[[int], None], parts: Iterable[int]) -> None:
        """Calls a function of each part of the points, in threads where products take long."""
        if self._moments is None:
            map_in_threads(function, parts)
            return
        for part in parts:
            function(part)
