"""Points held in memory for the search, and their reductions by all clusters at once, in float64.

Everything is a matrix product or a sorted pass. There is no loop over points, and over clusters
only where each iteration is one matrix product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import entr, gammaln

from tfdpm.mixture.categories import Categories
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.partition import log_joint_coefficients, triangle_moments, whitening
from tfdpm.mixture.statistics import SufficientStatistics, triangle
from tfdpm.mixture.t_mixture import TStatistics
from tfdpm.threads import map_in_threads

# Up to this many features, products x_a x_b are kept, so that each E-step and each reduction is
# one matrix product; 20,000 points then take 52 MB.
_MAX_KEPT_DIM = 24
# Above so many, the moments of each point lie beside each other: an E-step of 20,000 points in 16
# dimensions takes three quarters of the time then, and in 8 dimensions five quarters.
_MAX_LONG_DIM = 14
# Of so many components most have no share in a point. A pair of a point and a component that is
# looked at by itself takes as long as so many in one product.
_MANY_COMPONENTS = 64
_WORTH_OF_PAIR = 16
# An E-step and its reduction take points in blocks of about so many numbers, which a cache holds.
_BLOCK_ELEMENTS = 2**16
# No power of two: the maximum over components would read one cache set again and again.
_FEWEST_BLOCK_ROWS = 264
_BLOCK_ROWS = 4096
_WIDE_BLOCK_ROWS = 2048
# The blocks are added up in so many shares, one after the other, whatever the number of threads.
_MOST_SHARES = 4
# Fewer groups than this are reduced by a matrix product each.
_FEW_GROUPS = 64
# Exponentials that underflow take several times as long as others, and so do products with them.
_NO_SHARE = -100.0
# Above `_MAX_KEPT_DIM` features, distances are made so many axes at a time, and components are left
# out of which the axes so far say that their share has a logarithm below this. All such shares of
# 20,000 points are together less than a millionth of one point. Tails fall more slowly.
_AXES_AT_ONCE = 16
_RULED_OUT = -30.0
_RULED_OUT_OF_TAILS = -25.0
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
            density, links = _Density(parameters), near
            at_once = self.num_points * _MOST_PAIRS // max(near.num_pairs, 1)
            return (
                lambda rows: _measured_pairs(self._with_ones[rows], density, *links.pairs(rows)),
                max(_BLOCK_ROWS, at_once),
            )
        if moments is None:
            density = _Density(parameters)
            at_once = min(_MOST_PAIRS // count, self.num_points // (2 * _MOST_SHARES) + 1)
            return (
                lambda rows: _pairs_in_reach(self._with_ones[rows], density),
                max(_WIDE_BLOCK_ROWS, at_once),
            )
        tails = _Density(parameters) if isinstance(parameters, TMixtureParameters) else None
        gaussians = MixtureParameters(*parameters[:3])
        coefficients = np.ascontiguousarray(log_joint_coefficients(gaussians).T)

        def of_all(rows: slice) -> _AllPairs:
            logits = coefficients @ moments[rows].T
            return _AllPairs(logits) if tails is None else tails.of_gaussians(logits)

        return of_all, max(_FEWEST_BLOCK_ROWS, _BLOCK_ELEMENTS // (self._packed_width + count))

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
            return self._unpack(_members(assignments, num_components) @ moments)
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
            sums = _members(2 * assignments + sides, 2 * num_components) @ self._with_ones
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


def is_many(num_components: int) -> bool:
    """Whether it pays to know which components are near which points."""
    return num_components >= _MANY_COMPONENTS


class Neighbourhood(NamedTuple):
    """Which of K components may have a share in which points, by groups of the points.

    Attributes:
        groups: `[n]` integer in [0, G).
        graph: `[G, K]`, non-zero for components that may have a share in points of a group.
    """

    groups: np.ndarray
    graph: sparse.csr_matrix

    @property
    def num_pairs(self) -> int:
        """Number of pairs of points and components."""
        return int(np.diff(self.graph.indptr)[self.groups].sum())

    def pairs(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Components `[m]`, sorted, and places `[m]` within some rows of points near them."""
        order, starts = sort_by_group(self.groups[rows], self.graph.shape[0])
        by_component = self.graph.tocsc()
        groups = by_component.indices
        sizes = np.diff(starts)[groups]
        ends = np.cumsum(sizes)
        places = order[np.arange(ends[-1]) + np.repeat(starts[groups] - ends + sizes, sizes)]
        owners = np.repeat(np.arange(by_component.shape[1]), np.diff(by_component.indptr))
        return np.repeat(owners, sizes), places

    def chosen(self, components: np.ndarray) -> Neighbourhood | None:
        """That of some of the components; `None` where points would have none."""
        graph = self.graph[:, components]
        has_some = np.diff(graph.indptr) > 0
        return Neighbourhood(self.groups, graph) if has_some[self.groups].all() else None

    def followed(self, labels: np.ndarray) -> Neighbourhood:
        """That of components `labels [n]` that points of those so far have become."""
        shape = self.graph.shape[1], int(labels.max()) + 1
        links = np.unique(self.groups * shape[1] + labels)
        became = sparse.csr_matrix((np.ones(len(links)), np.divmod(links, shape[1])), shape)
        return Neighbourhood(self.groups, (self.graph @ became).tocsr())


class _Density:
    """Log joint densities of Gaussians or t distributions as functions of squared distances.

    Attributes:
        peaks: `[K]` of Gaussians at no distance.
        maps: `[K, 1 + D, D]` from a one and a point to its coordinates in standard deviations.
        means, variances, largest: `[K, D]`, and mean and largest variance `[K]` of an axis.
        ruled_out: logarithm of a share that is as good as none.
    """

    def __init__(self, parameters: MixtureParameters | TMixtureParameters):
        weights, means, scales = parameters[:3]
        whiteners, log_determinants = whitening(MixtureParameters(weights, means, scales))
        self.peaks = np.log(weights) - 0.5 * log_determinants
        offsets = -np.einsum("kab,kb->ka", whiteners, means)
        both = np.concatenate([offsets[:, :, np.newaxis], whiteners], axis=2)
        self.maps = np.swapaxes(both, 1, 2)
        self.means, self.variances = means, np.trace(scales, axis1=1, axis2=2) / means.shape[1]
        self._scales = scales
        self._df, self.ruled_out = None, _RULED_OUT
        if isinstance(parameters, TMixtureParameters):
            # log pi + log t = log pi - log|Sigma|/2 + log Gamma((nu + D)/2) - log Gamma(nu/2)
            # - D/2 log nu - (nu + D)/2 log(1 + d/nu), up to a constant.
            self._df, self.ruled_out = parameters.df, _RULED_OUT_OF_TAILS
            dim = means.shape[1]
            self._half_power = 0.5 * (self._df + dim)
            self._constants = self.peaks + gammaln(self._half_power) - gammaln(0.5 * self._df)
            self._constants -= 0.5 * dim * np.log(self._df)

    @functools.cached_property
    def largest(self) -> np.ndarray:
        # By power iteration from the widest feature, with a tenth more for what is still missing.
        widest = np.diagonal(self._scales, axis1=1, axis2=2).argmax(axis=1)
        vectors = self._scales[np.arange(len(widest)), widest][:, :, np.newaxis]
        for _ in range(8):
            vectors = self._scales @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return np.asarray(1.1 * np.linalg.norm(vectors, axis=1)[:, 0])

    def __call__(self, distances: np.ndarray, own: Any) -> np.ndarray:
        """Log joint densities at distances to the components `own`, an index of either."""
        if self._df is None:
            return np.asarray(self.peaks[own] - 0.5 * distances)
        logs = np.log1p(distances / self._df[own])
        return np.asarray(self._constants[own] - self._half_power[own] * logs)

    def of_gaussians(self, logits: np.ndarray) -> _AllPairs:
        """Densities of all pairs, from those `[K, B]` of Gaussians of the same matrices."""
        own = np.arange(len(logits))[:, np.newaxis]
        logits -= self.peaks[own]
        logits *= -2.0
        distances = np.maximum(logits, 0.0, out=logits)
        return _AllPairs(self(distances, own), own, distances)


class _AllPairs(NamedTuple):
    """Log joint densities of some points and all components, and what follows from them.

    Components come first, so that a reduction over them handles many points at once.

    Attributes:
        logits: `[K, B]`.
        components: `[K, 1]`, of t distributions.
        distances: squared ones `[K, B]`, of t distributions.
    """

    logits: np.ndarray
    components: np.ndarray | None = None
    distances: np.ndarray | None = None

    def likeliest(self) -> np.ndarray:
        """Component `[B]` of each point."""
        return np.asarray(self.logits.argmax(axis=0))

    def near(self) -> tuple[np.ndarray, ...]:
        """Components and points of pairs with a share."""
        return np.nonzero(self.logits > self.logits.max(axis=0) + _RULED_OUT)

    def responsibilities(self) -> np.ndarray:
        """Responsibilities `[K, B]`, written over the densities."""
        logits = self.logits
        logits -= logits.max(axis=0)
        np.maximum(logits, _NO_SHARE, out=logits)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=0)
        return logits

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums `[K]` of values of pairs."""
        return np.asarray(values.sum(axis=1))

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """A matrix `[K, B]` of values of pairs."""
        return values


class _NearPairs(NamedTuple):
    """The same for pairs of which the components may have a share in the points.

    They are sorted by component. Every point has one.

    Attributes:
        components, places: `[m]` component and point of each.
        distances, logits: `[m]` squared distances and log joint densities.
        shape: K and B.
    """

    components: np.ndarray
    places: np.ndarray
    distances: np.ndarray
    logits: np.ndarray
    shape: tuple[int, int]

    def _largest(self) -> np.ndarray:
        """The largest density `[B]` of each point."""
        order, starts = sort_by_group(self.places, self.shape[1])
        return np.asarray(np.maximum.reduceat(self.logits[order], starts[:-1]))

    def likeliest(self) -> np.ndarray:
        """Component `[B]` of each point."""
        is_best = self.logits == self._largest()[self.places]
        labels = np.empty(self.shape[1], np.int64)
        # The first of equal ones, as it is written last.
        labels[self.places[is_best][::-1]] = self.components[is_best][::-1]
        return labels

    def near(self) -> tuple[np.ndarray, ...]:
        """Components and points of pairs with a share."""
        is_near = self.logits > self._largest()[self.places] + _RULED_OUT
        return self.components[is_near], self.places[is_near]

    def responsibilities(self) -> np.ndarray:
        """Responsibility `[m]` of the component of each pair."""
        shares: np.ndarray = np.exp(self.logits - self._largest()[self.places])
        shares /= np.bincount(self.places, shares, self.shape[1])[self.places]
        return shares

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums `[K]` of values of pairs."""
        return np.asarray(np.bincount(self.components, values, self.shape[0]))

    @property
    def starts(self) -> np.ndarray:
        """First pair of each component, and m, `[K + 1]`."""
        return np.searchsorted(self.components, np.arange(self.shape[0] + 1))

    def matrix(self, values: np.ndarray) -> sparse.csr_matrix:
        """A matrix `[K, B]` of values of pairs."""
        return sparse.csr_matrix((values, self.places, self.starts), self.shape)


def _measured_pairs(
    points: np.ndarray, density: _Density, components: np.ndarray, places: np.ndarray
) -> _NearPairs:
    """Pairs of `points [B, 1 + D]`, with ones before, and sorted components, all of them near."""
    distances = _measure(points, density, components, places)
    logits = density(distances, components)
    return _NearPairs(components, places, distances, logits, (len(density.peaks), len(points)))


def _pairs_in_reach(points: np.ndarray, density: _Density) -> _NearPairs:
    """Pairs of `points [B, 1 + D]`, with ones before, and components with a share in them.

    Squared distances over the largest variance are at most those in standard deviations, and so
    are distances in the leading axes alone. Where they leave a component no share in a point, it is
    left out.
    """
    count, num_points = len(density.peaks), len(points)
    if count <= 2:  # which are not worth several products
        everyone = np.tile(np.arange(num_points), count)
        return _measured_pairs(points, density, np.repeat(np.arange(count), num_points), everyone)
    norms = np.einsum("nd,nd->n", points[:, 1:], points[:, 1:])
    centres = np.einsum("kd,kd->k", density.means, density.means)
    linear = np.concatenate([centres[:, np.newaxis], -2.0 * density.means], axis=1)
    at_once = max(_FEWEST_BLOCK_ROWS, _BLOCK_ELEMENTS // count)
    index = np.arange(count)[:, np.newaxis]

    def pieces(variances: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, num_points, at_once):
            piece = slice(start, start + at_once)
            squares = linear @ points[piece].T
            squares += norms[piece]
            squares /= variances[:, np.newaxis]
            yield piece, density(np.maximum(squares, 0.0, out=squares), index)

    nearest = np.empty(num_points, np.int64)
    for piece, logits in pieces(density.variances):
        logits.argmax(axis=0, out=nearest[piece])
    order = sort_by_group(nearest, count)[0]
    own_distances = _measure(points, density, nearest[order], order)
    least = np.empty(num_points)
    least[order] = density(own_distances, nearest[order]) + density.ruled_out
    others = []
    for piece, logits in pieces(density.largest):
        is_near = logits > least[piece]
        is_near[nearest[piece], np.arange(is_near.shape[1])] = False
        components, places = np.nonzero(is_near)
        others.append((components, places + piece.start))
    components, places = (np.concatenate(part) for part in zip(*others, strict=True))
    ranks = sort_by_group(components, count)[0]
    components, places = components[ranks], places[ranks]
    distances = _measure(points, density, components, places, least)
    is_near = density(distances, components) > least[places]
    components = np.concatenate([nearest[order], components[is_near]])
    ranks = sort_by_group(components, count)[0]
    components, places = components[ranks], np.concatenate([order, places[is_near]])[ranks]
    distances = np.concatenate([own_distances, distances[is_near]])[ranks]
    logits = density(distances, components)
    return _NearPairs(components, places, distances, logits, (count, num_points))


def _measure(
    points: np.ndarray,
    density: _Density,
    components: np.ndarray,
    places: np.ndarray,
    least: np.ndarray | None = None,
) -> np.ndarray:
    """Squared distances `[m]` of pairs of points and sorted components.

    Where some axes leave a density below `least [B]` of the point, the others are left out.
    """
    dim = density.means.shape[1]
    stops = [dim] if least is None else [*range(_AXES_AT_ONCE, dim, _AXES_AT_ONCE), dim]
    distances = np.zeros(len(components))
    starts = np.searchsorted(components, np.arange(len(density.peaks) + 1))
    for k in np.flatnonzero(np.diff(starts)):
        own = slice(starts[k], starts[k + 1])
        at, so_far, begin = places[own], np.zeros(starts[k + 1] - starts[k]), 0
        is_open: np.ndarray | slice = slice(None)
        for stop in stops:
            # A coordinate depends on no later feature.
            so_far[is_open] += _squares(
                points, at[is_open], density.maps[k, : 1 + stop, begin:stop]
            )
            if least is not None and stop < dim:
                is_open = np.flatnonzero(density(so_far, k) > least[at])
            begin = stop
        distances[own] = so_far
    return distances


def _squares(points: np.ndarray, rows: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Squared norms `[b]` of some points, cut to the M features that `linear [M, d]` maps."""
    has_all = len(rows) == len(points) and bool((rows[1:] > rows[:-1]).all())
    chosen = points if has_all else points[rows]
    mapped = chosen[:, : len(linear)] @ linear
    return np.asarray(np.einsum("nd,nd->n", mapped, mapped))


def _members(assignments: np.ndarray, num_groups: int) -> sparse.csc_matrix:
    """Indicator matrix `[G, n]` of each point's group; its products are sums by group."""
    starts = np.arange(len(assignments) + 1)
    shape = (num_groups, len(assignments))
    return sparse.csc_matrix((np.ones(len(assignments)), assignments, starts), shape)


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
