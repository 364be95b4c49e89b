"""Points held in memory for the search, and their reductions by all clusters at once, in float64.

Everything is a matrix product or a sorted pass. There is no loop over points, and over clusters
only where each iteration is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

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
# out of which the axes so far say that their share, of this logarithm, is less than rounding takes.
# With half as many axes or with twice as many, an E-step takes a half to twice as long.
_AXES_AT_ONCE = 16
_RULED_OUT = -40.0
# Responsibilities below this are left out there, too.
_NEGLIGIBLE = 1e-16


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

    def expectation(self, parameters: MixtureParameters) -> tuple[np.ndarray, SufficientStatistics]:
        """Makes an E-step and its reduction block by block, so that no array has n K numbers.

        Returns:
            The likeliest component `[n]` of each point, and statistics of all points weighted by
            their responsibilities.
        """
        labels = np.empty(self.num_points, np.int64)
        log_joint = self._log_joint(parameters)

        def reduce(rows: slice) -> list[np.ndarray]:
            logits = log_joint(rows)
            logits.argmax(axis=0, out=labels[rows])
            return [self._packed(rows, _responsibilities(logits))]

        (total,) = self._sum_over_blocks(reduce, len(parameters.means))
        return labels, self._unpack(total)

    def entropy(self, parameters: MixtureParameters) -> float:
        """Sum of the entropies of all points' responsibilities, nats."""
        log_joint = self._log_joint(parameters)

        def reduce(rows: slice) -> list[np.ndarray]:
            return [entr(_responsibilities(log_joint(rows))).sum(keepdims=True)]

        (total,) = self._sum_over_blocks(reduce, len(parameters.means))
        return float(total.item())

    def t_expectation(self, parameters: TMixtureParameters) -> tuple[np.ndarray, TStatistics]:
        """Makes an E-step under t distributions and its reduction; see `expectation`."""
        labels = np.empty(self.num_points, np.int64)
        df, half_power = _columns(parameters.df, 0.5 * (parameters.df + self.dim))
        log_joint = self._t_log_joint(parameters)

        def reduce(rows: slice) -> list[np.ndarray]:
            logits, logs = log_joint(rows)
            logits.argmax(axis=0, out=labels[rows])
            shares = _responsibilities(logits)
            counts = shares.sum(axis=1)
            # u = (nu + D) / (nu + d), whose logarithm is a constant less log(1 + d / nu).
            log_u = np.log(2.0 * half_power / df) - logs
            u = np.exp(log_u)
            log_weights = np.einsum("kb,kb->k", shares, log_u - u)
            shares *= u
            return [counts, log_weights, self._packed(rows, shares)]

        counts, log_weights, total = self._sum_over_blocks(reduce, len(parameters.means))
        return labels, TStatistics(counts, self._unpack(total), log_weights)

    def _t_log_joint(
        self, parameters: TMixtureParameters
    ) -> Callable[[slice], tuple[np.ndarray, np.ndarray]]:
        """Log joint densities and `log(1 + d / nu)` of squared distances d, `[K, B]` each."""
        # log pi + log t = log pi - log|Sigma|/2 + log Gamma((nu + D)/2) - log Gamma(nu/2)
        # - D/2 log nu - (nu + D)/2 log(1 + d/nu), up to a constant. The Gaussian
        # log joint is peaks - d/2, which gives d.
        weights, means, scales, df = parameters
        gaussians = MixtureParameters(weights, means, scales)
        whiteners, log_determinants = whitening(gaussians)
        peaks = np.log(weights) - 0.5 * log_determinants
        half_power = 0.5 * (df + self.dim)
        constants = peaks + gammaln(half_power) - gammaln(0.5 * df) - 0.5 * self.dim * np.log(df)
        peaks, constants, half_power, df = _columns(peaks, constants, half_power, df)

        def log_joint(distances: np.ndarray, k: Any = slice(None)) -> np.ndarray:
            return np.asarray(constants[k] - half_power[k] * np.log1p(distances / df[k]))

        if self._moments is None:
            near_distances = self._near_distances(means, whiteners, log_joint)

            def of_near(rows: slice) -> tuple[np.ndarray, np.ndarray]:
                distances, logits = near_distances(rows)
                distances /= df
                return logits, np.log1p(distances, out=distances)

            return of_near
        gaussian_log_joint = self._log_joint(gaussians)

        def of_all(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            logits = gaussian_log_joint(rows)
            logits -= peaks
            logits *= -2.0 / df
            np.maximum(logits, 0.0, out=logits)
            logs = np.log1p(logits, out=logits)
            return constants - half_power * logs, logs

        return of_all

    def labels(self, parameters: MixtureParameters | TMixtureParameters) -> np.ndarray:
        """The likeliest component of each point, `[n]`."""
        labels = np.empty(self.num_points, np.int64)
        log_joint: Callable[[slice], np.ndarray]
        if isinstance(parameters, TMixtureParameters):
            t_log_joint = self._t_log_joint(parameters)
            log_joint = lambda rows: t_log_joint(rows)[0]  # noqa: E731
        else:
            log_joint = self._log_joint(parameters)

        def reduce(rows: slice) -> list[np.ndarray]:
            log_joint(rows).argmax(axis=0, out=labels[rows])
            return []

        self._sum_over_blocks(reduce, len(parameters.means))
        return labels

    def _sum_over_blocks(
        self, reduce: Callable[[slice], list[np.ndarray]], num_components: int
    ) -> list[np.ndarray]:
        """Sums of arrays that `reduce` makes of each block of points, in few threads.

        The order in which blocks are added up does not depend on the number of threads.
        """
        block = _WIDE_BLOCK_ROWS
        if self._moments is not None:
            elements = self._packed_width + num_components
            block = max(_FEWEST_BLOCK_ROWS, _BLOCK_ELEMENTS // elements)
        starts = range(0, max(self.num_points, 1), block)

        def add(some: np.ndarray) -> list[np.ndarray]:
            total: list[np.ndarray] = []
            for start in some:
                parts = reduce(slice(start, min(start + block, self.num_points)))
                total = total or [np.zeros_like(part) for part in parts]
                for sums, part in zip(total, parts, strict=True):
                    sums += part
            return total

        shares = np.array_split(starts, max(1, min(_MOST_SHARES, len(starts) // 2)))
        return [sum(parts) for parts in zip(*map_in_threads(add, shares), strict=True)]

    def _log_joint(self, parameters: MixtureParameters) -> Callable[[slice], np.ndarray]:
        """Log joint densities `[K, B]`, up to a constant, of a slice of the points.

        Components come first, so that a reduction over them handles many points at once.
        """
        if self.categories is not None:
            parameters = self.categories.as_gaussians(parameters)
        if self._moments is None:
            whiteners, log_determinants = whitening(parameters)
            (peaks,) = _columns(np.log(parameters.mixture_weights) - 0.5 * log_determinants)

            def log_joint(distances: np.ndarray, k: Any = slice(None)) -> np.ndarray:
                return np.asarray(peaks[k] - 0.5 * distances)

            near_distances = self._near_distances(parameters.means, whiteners, log_joint)
            return lambda rows: near_distances(rows)[1]
        moments, coefficients = self._moments, log_joint_coefficients(parameters).T
        coefficients = np.ascontiguousarray(coefficients)
        return lambda rows: coefficients @ moments[rows].T

    def _near_distances(
        self, means: np.ndarray, whiteners: np.ndarray, log_joint: Callable[..., np.ndarray]
    ) -> Callable[[slice], tuple[np.ndarray, np.ndarray]]:
        """Squared distances to the components and log joint densities, `[K, B]`, of a slice.

        Distances in the leading axes alone are at most those in all. Where they leave a component
        no share in a point, its density is taken for zero.

        Args:
            means, whiteners: of the components, `[K, D]` and lower triangular `[K, D, D]`.
            log_joint: densities at distances `[K, B]`, or at those `[b]` to the component that a
                second argument names; they fall with the distances.
        """
        offsets = -np.einsum("kab,kb->ka", whiteners, means)
        maps = np.swapaxes(np.concatenate([offsets[:, :, np.newaxis], whiteners], axis=2), 1, 2)
        # A coordinate depends on no later feature. Two components are not worth several products.
        at_once = _AXES_AT_ONCE if len(maps) > 2 else self.dim
        stops = [*range(at_once, self.dim, at_once), self.dim]
        spans = list(zip([0, *stops], stops, strict=False))
        blocks = [np.ascontiguousarray(maps[:, : 1 + stop, start:stop]) for start, stop in spans]
        leading = np.ascontiguousarray(np.moveaxis(blocks[0], 1, 2)).reshape(-1, 1 + stops[0])
        count = len(maps)
        piece = max(_FEWEST_BLOCK_ROWS, _BLOCK_ELEMENTS // len(leading))

        def of_slice(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            points = self._with_ones[rows]
            distances = np.empty((count, len(points)))
            for begin in range(0, len(points), piece):
                whitened = leading @ points[begin : begin + piece, : 1 + stops[0]].T
                np.square(whitened, out=whitened)
                whitened = whitened.reshape(count, stops[0], -1)
                whitened.sum(axis=1, out=distances[:, begin : begin + piece])
            logits = log_joint(distances)
            everyone, nearest = np.arange(len(points)), logits.argmax(axis=0)
            for k in np.flatnonzero(np.bincount(nearest)):
                chosen = np.flatnonzero(nearest == k)
                for block in blocks[1:]:
                    distances[k, chosen] += _squares(points, chosen, block[k])
                logits[k, chosen] = log_joint(distances[k, chosen], k)
            least = logits[nearest, everyone] + _RULED_OUT
            is_open = logits > least
            is_open[nearest, everyone] = False
            for k in np.flatnonzero(is_open.any(axis=1)):
                chosen = np.flatnonzero(is_open[k])
                for block in blocks[1:]:
                    distances[k, chosen] += _squares(points, chosen, block[k])
                    logits[k, chosen] = log_joint(distances[k, chosen], k)
                    chosen = chosen[logits[k, chosen] > least[chosen]]
            np.copyto(logits, -np.inf, where=logits <= least)
            return distances, logits

        return of_slice

    @property
    def _packed_width(self) -> int:
        return int(self._moments.shape[1] if self._moments is not None else (1 + self.dim) ** 2)

    def _packed(self, rows: slice, weights: np.ndarray) -> np.ndarray:
        """Sums `[K, M]` of moments of some points under `weights [K, B]`."""
        if self._moments is not None:
            return np.asarray(weights @ self._moments[rows])
        points = self._with_ones[rows]
        products = np.zeros((len(weights), 1 + self.dim, 1 + self.dim))
        for row, product in zip(weights, products, strict=True):
            chosen = np.flatnonzero(row > _NEGLIGIBLE)
            roots = points[chosen] * np.sqrt(row[chosen])[:, np.newaxis]
            np.matmul(roots.T, roots, out=product)
        return products.reshape(len(weights), -1)

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


def _responsibilities(logits: np.ndarray) -> np.ndarray:
    """Responsibilities `[K, B]`, written over log joint densities."""
    logits -= logits.max(axis=0)
    np.maximum(logits, _NO_SHARE, out=logits)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def _squares(points: np.ndarray, rows: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Squared norms `[b]` of some points, cut to the M features that `linear [M, d]` maps."""
    mapped = points[rows, : len(linear)] @ linear
    return np.asarray(np.einsum("nd,nd->n", mapped, mapped))


def _columns(*parts: np.ndarray) -> list[np.ndarray]:
    return [part[:, np.newaxis] for part in parts]


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
