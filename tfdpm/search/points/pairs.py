"""Densities of pairs of points and components, of all or of those near each other, in float64."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.partition import whitening
from tfdpm.search.points.groups import sort_by_group

# Of so many components most have no share in a point.
_MANY_COMPONENTS = 64
# Points are taken in blocks of about so many numbers, which a cache holds.
BLOCK_ELEMENTS = 2**16
# No power of two: the maximum over components would read one cache set again and again.
FEWEST_BLOCK_ROWS = 264
# Exponentials that underflow take several times as long as others, and so do products with them.
_NO_SHARE = -100.0
# Of many features, distances are made so many axes at a time, and components are left out of which
# the axes so far say that their share has a logarithm below this. All such shares of 20,000 points
# are together less than a millionth of one point. Tails fall more slowly.
_AXES_AT_ONCE = 16
_RULED_OUT = -30.0
_RULED_OUT_OF_TAILS = -25.0


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


class PairDensity:
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

    def of_gaussians(self, logits: np.ndarray) -> AllPairs:
        """Densities of all pairs, from those `[K, B]` of Gaussians of the same matrices."""
        own = np.arange(len(logits))[:, np.newaxis]
        logits -= self.peaks[own]
        logits *= -2.0
        distances = np.maximum(logits, 0.0, out=logits)
        return AllPairs(self(distances, own), own, distances)


class AllPairs(NamedTuple):
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


class NearPairs(NamedTuple):
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


def measured_pairs(
    points: np.ndarray, density: PairDensity, components: np.ndarray, places: np.ndarray
) -> NearPairs:
    """Pairs of `points [B, 1 + D]`, with ones before, and sorted components, all of them near."""
    distances = _measure(points, density, components, places)
    logits = density(distances, components)
    return NearPairs(components, places, distances, logits, (len(density.peaks), len(points)))


def pairs_in_reach(points: np.ndarray, density: PairDensity) -> NearPairs:
    """Pairs of `points [B, 1 + D]`, with ones before, and components with a share in them.

    Squared distances over the largest variance are at most those in standard deviations, and so
    are distances in the leading axes alone. Where they leave a component no share in a point, it is
    left out.
    """
    count, num_points = len(density.peaks), len(points)
    if count <= 2:  # which are not worth several products
        everyone = np.tile(np.arange(num_points), count)
        return measured_pairs(points, density, np.repeat(np.arange(count), num_points), everyone)
    norms = np.einsum("nd,nd->n", points[:, 1:], points[:, 1:])
    centres = np.einsum("kd,kd->k", density.means, density.means)
    linear = np.concatenate([centres[:, np.newaxis], -2.0 * density.means], axis=1)
    at_once = max(FEWEST_BLOCK_ROWS, BLOCK_ELEMENTS // count)
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
    return NearPairs(components, places, distances, logits, (count, num_points))


def _measure(
    points: np.ndarray,
    density: PairDensity,
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
