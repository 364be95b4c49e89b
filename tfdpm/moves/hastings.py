"""Hastings ratios, by which splits and merges of a partition's components are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from tfdpm import checks
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.categories import Categories
from tfdpm.mixture.statistics import SufficientStatistics

_PAIRS_AT_ONCE = 4_096


class Judge(Protocol):
    """What decides about the K components of one partition and their two halves each."""

    @property
    def sizes(self) -> np.ndarray:
        """Points of each component's halves, `[K, 2]`; weighted where points are."""

    def split_ratios(self) -> np.ndarray:
        """Log ratios `[K]`, nats, of splitting each component into its halves."""

    def merge_ratios(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]` and the log ratios `[P]`, nats, of merging each."""


@dataclasses.dataclass(frozen=True)
class HastingsJudge:
    """Judges by Hastings ratios of the statistics of all points, [DeepDPM] eq. 2 and 24.

    Attributes:
        halves: hard statistics of the components' halves, batch shape `[K, 2]`.
        prior: Normal-inverse-Wishart prior of components and halves.
        dp_concentration: concentration of the Dirichlet process, > 0.
        means: `[K, D]` component means, by which neighbours are found.
        covariance: structure of the components' covariances.
        num_neighbours: nearest components that each may merge with, >= 1 ([DeepDPM]: 3).
        min_points: a half of this many points or fewer is refused (the released program: 5).
        joins_empty: whether a component without points merges with any other, or with none, as
            long as its network may still find them.
        categories: which of the first features are flags of categories; `None` for none.
    """

    halves: SufficientStatistics
    prior: niw.NIWParameters
    dp_concentration: float
    means: np.ndarray | None = None
    covariance: str = "full"
    num_neighbours: int = 3
    min_points: float = 0.0
    joins_empty: bool = True
    categories: Categories | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Points of each component's halves, `[K, 2]` float64."""
        return np.asarray(self.halves.counts)

    def terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Shares of components with such statistics in the log probability of a partition."""
        terms = evidence.log_partition_terms(
            self.prior, statistics, self.dp_concentration, self.covariance
        )
        if self.categories is not None:
            terms += self.categories.log_evidence(self.prior, statistics, self.covariance)
        return terms

    def split_ratios(self) -> np.ndarray:
        """Log ratios `[K]` float64, nats; `-inf` where a half is too small or empty.

        [DeepDPM] eq. 2, from hard counts: `log alpha + log Gamma(N1) + log f(X1) + log Gamma(N2)
        + log f(X2) - log Gamma(N) - log f(X)`.
        """
        left, right = (self.halves.select(side, axis=1) for side in (0, 1))
        ratios = self.terms(left) + self.terms(right) - self.terms(left.plus(right))
        return np.where(self.sizes.min(axis=1) <= self.min_points, -np.inf, ratios)

    def merge_ratios(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]`, nearest first, and the log ratios `[P]` of merging them."""
        means = np.zeros((len(self.sizes), 0)) if self.means is None else np.asarray(self.means)
        pairs = neighbour_pairs(means, self.num_neighbours)
        return pairs, self.pair_ratios(pairs)

    def pair_ratios(self, pairs: np.ndarray) -> np.ndarray:
        """Log ratios `[P]` of merging pairs `[P, 2]`; infinite where a component is empty."""
        ratios = pair_ratios(self.terms, self.halves.total(axis=1), pairs)
        return ratios if self.joins_empty else np.where(ratios == np.inf, -np.inf, ratios)


def pair_ratios(
    terms_of: Callable[[SufficientStatistics], np.ndarray],
    statistics: SufficientStatistics,
    pairs: np.ndarray,
) -> np.ndarray:
    """Log ratios `[P]` of merging pairs `[P, 2]` of components with such statistics `[K]`.

    `terms_of` gives the shares of components in the log probability of a partition.
    """
    terms, counts = terms_of(statistics), np.asarray(statistics.counts)
    pieces = [np.zeros(0)]
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        a, b = pairs[start : start + _PAIRS_AT_ONCE].T
        union = terms_of(statistics.select(a).plus(statistics.select(b)))
        # To join a component without points costs nothing.
        is_empty = (counts[a] <= 0) | (counts[b] <= 0)
        pieces.append(np.where(is_empty, np.inf, union - terms[a] - terms[b]))
    return np.concatenate(pieces)


def neighbour_pairs(means: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Distinct pairs of each component with its nearest others by distance of `means [K, D]`.

    At least one neighbour is wanted besides the component itself ([DeepDPM]: 3). Of pairs `[P, 2]`
    the first index is below the second; they are sorted by distance (ties by index).
    """
    num_neighbours = checks.integer(num_neighbours, "num_neighbours", minimum=1)
    means = np.asarray(means, float)
    num_components = len(means)
    if num_components < 2:
        return np.zeros((0, 2), int)
    means = means - means.mean(axis=0)  # or the differences drown when the origin is far
    squares = np.sum(means**2, axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * means @ means.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")
    nearest = nearest[:, : min(num_neighbours, num_components - 1)]
    first = np.repeat(np.arange(num_components), nearest.shape[1])
    pairs = np.unique(np.sort(np.stack([first, nearest.ravel()], axis=1), axis=1), axis=0)
    order = np.argsort(distances[pairs[:, 0], pairs[:, 1]], kind="stable")
    return pairs[order]
