"""Expectation-maximisation with split and merge moves on a sample in memory.

The search finds the mixture that the networks of the default configuration learn first.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.ledger import MoveCounts
from tfdpm.moves.proposals import choose_disjoint
from tfdpm.search.evidence import SampleEvidence
from tfdpm.search.partitions import (
    Partition,
    make_partition,
    run_em,
    variational_bound,
)
from tfdpm.search.points.groups import without_gaps
from tfdpm.search.points.kmeans import clump_cells, kmeans_labels
from tfdpm.search.points.pairs import Neighbourhood
from tfdpm.search.prior import SearchPrior, SearchSettings
from tfdpm.search.splits import split_many_ways, split_overlapping
from tfdpm.threads import THREADS


@dataclasses.dataclass(frozen=True)
class _Limits:
    """Where the search stops.

    Attributes:
        final_em: largest number of EM steps from the best partition, and the share of points that
            may still change cluster in the last one.
        rounds: largest number of rounds of moves.
        rounds_without_gain: rounds in a row without a better partition that end the moves.
        scale_updates: largest number of times that the prior's scale is fitted.
        em_iterations_between_rounds: EM steps from the best partition before moves are tried anew.
        overlap_rounds: largest number of rounds of splits into Gaussians that overlap.
        least_overlap: entropy of the responsibilities below which clusters stand apart and other
            starts are not tried, nats per point. On Fashion-MNIST they are tried in vain; twice
            misses three of the 39 sets of `bench suite` on which another start is kept.
        kmeans_starts: initial centres of K-means before EM. With one, K-means at the true number of
            overlapping Gaussians was often stuck itself.
        most_cells: K up to which EM also starts from K-means with about as many.
        least_gain: gain of another start up to which the clusters stay as they are, nats. With one
            nat, small sets whose clusters are not Gaussian change for the worse.
        share_of_shapes: of what heavy tails and flat tops may explain, the share that another start
            must gain besides, as a few more Gaussians explain a part of it. Without any, s3 of
            `bench suite` ends with 18 clusters of 15; with all of it, bars of chameleon t4 and
            overlapping Gaussians stay one.
        parts_of_lone_cluster: k-means++ parts of a single cluster that fewer parts do not explain
            better. Five hundred clusters in ten dimensions were taken for one without this.
    """

    final_em: tuple[int, float] = 40, 1e-4
    rounds: int = 60
    rounds_without_gain: int = 2
    scale_updates: int = 12
    em_iterations_between_rounds: int = 5
    overlap_rounds: int = 4
    least_overlap: float = 0.01
    kmeans_starts: int = 4
    most_cells: int = 100
    least_gain: float = 5.0
    share_of_shapes: float = 0.5
    parts_of_lone_cluster: int = 64


_LIMITS = _Limits()


class MixtureSearch:
    """The search over partitions of one sample by their probability.

    Args:
        points: `[n, D]` points, centred, mean variance one.
        settings: moves and prior.
        seed: random seed of K-means; the same seed gives the same partition.
        prior: prior to begin with; `None` makes one from `settings`.

    Attributes:
        covariance: structure of the components' covariances.
        prior: the current prior.
        sample: the points, to be reduced.
        points: `[n, D]` float64.
        features: `[n, D']` of the points as networks see them; the first D are the points.
        evidence: evidence of the sample for partitions and moves.
        moves: moves proposed and accepted so far, in the searches it was chosen from too.
        trace: labels `[n]` of the initial partition, of each better one, and of the final one.
    """

    def __init__(
        self,
        points: np.ndarray,
        settings: SearchSettings,
        seed: int,
        prior: SearchPrior | None = None,
    ):
        self.settings = settings
        self.covariance = settings.covariance
        self.sample = settings.sample(points)
        self.points = self.features = self.sample.points
        self._seed = seed
        self._begin(prior or SearchPrior(settings, self.sample.num_points, self.sample.dim))

    def _begin(self, prior: SearchPrior) -> None:
        self.prior = prior
        self.evidence = SampleEvidence(self.sample, prior)
        self._generator = np.random.default_rng([self._seed, 3])
        self.moves = MoveCounts()
        self.trace: list[np.ndarray] = []

    @classmethod
    def resumed(
        cls,
        points: np.ndarray,
        settings: SearchSettings,
        seed: int,
        prior: niw.NIWParameters,
        num_components: int,
        num_points: float,
    ) -> MixtureSearch:
        """Returns a search whose prior is the one that an earlier search ended with.

        The prior, of that search or of `refine_mixture`, is for `num_points` points and K
        components as they are at present. The other arguments are those of the class.
        """
        multiple = num_points / len(points)
        search_prior = SearchPrior(
            settings,
            len(points),
            points.shape[1],
            float(prior.df) - settings.df - (prior.loc.shape[0] - points.shape[1]),
            num_components=num_components,
            scale=float(prior.scale[points.shape[1] - 1, points.shape[1] - 1])
            / (multiple * settings.config.prior_scale),
        )
        return cls(points, settings, seed, search_prior)

    def with_prior_weight(self, extra_df: float) -> MixtureSearch:
        """Returns a new search of the same points with another weight of the prior."""
        sample = self.sample
        return self._with_prior(SearchPrior(self.settings, sample.num_points, sample.dim, extra_df))

    def _with_prior(self, prior: SearchPrior) -> MixtureSearch:
        search = copy.copy(self)
        search._begin(prior)
        return search

    def with_features(self, features: np.ndarray) -> MixtureSearch:
        """Returns this search with other features `[n, D']` of its points for the networks."""
        search = copy.copy(self)
        search.features = features
        return search

    def with_moves(self, moves: MoveCounts) -> MixtureSearch:
        """Returns this search with other counts of moves, such as those of several searches."""
        search = copy.copy(self)
        search.moves = moves
        return search

    def score(self, labels: np.ndarray) -> float:
        """`log p(X, z)` of the sample under the current prior, nats, up to a constant of n."""
        return self._score(self._statistics(labels))

    def bound(self, parameters: MixtureParameters) -> float:
        """Variational bound of `log p(X)` of the sample, nats; see `variational_bound`."""
        return variational_bound(self.sample, self.prior.partition_prior(), parameters)[0]

    def has_overlap(self, parameters: MixtureParameters) -> bool:
        """Whether components of the mixture share points of the sample rather than stand apart."""
        entropy = self.sample.entropy(parameters)
        return bool(entropy > _LIMITS.least_overlap * self.sample.num_points)

    def shares(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns each cluster's share `[K]` of `score` and the gain by a heavy tail, `[K]`."""
        with THREADS.limit(limits=1):
            statistics = self._statistics(labels)
            return self.evidence.terms(statistics), self.evidence.tail_gains(labels, statistics)

    def fit_scale_to(self, labels: np.ndarray) -> float:
        """Sets the prior's scale by the evidence of a partition and returns its score."""
        with THREADS.limit(limits=1):
            statistics = make_partition(self.evidence, labels).statistics
            for _ in range(_LIMITS.scale_updates):
                if not self.prior.fit_scale(statistics):
                    break
            return self._score(statistics)

    def run(self, initial_clusters: int) -> tuple[np.ndarray, MixtureParameters]:
        """Makes moves and EM steps until nothing changes, and fits the scale of the prior.

        It starts from K-means with so many clusters, and returns labels `[n]` and the mixture.
        """
        count = max(1, min(initial_clusters, self.sample.num_points // 4))
        return self.run_from(kmeans_labels(self.points, count, self._seed))

    def run_from(
        self, labels: np.ndarray, trace: Sequence[np.ndarray] = ()
    ) -> tuple[np.ndarray, MixtureParameters]:
        """Does what `run` does from given `labels [n]`.

        `trace` are labels of the partitions that led to these, kept before this search's own.
        """
        self.trace.extend(trace)
        # Threads would only wait for each other on products of this size.
        with THREADS.limit(limits=1):
            current = make_partition(self.evidence, labels)
            self.trace.append(current.labels)
            if current.num_components > 1:
                current = self._run_em(current.parameters)
            labels, parameters = self._improve(current)
            self.trace.append(labels)
            return labels, parameters

    def find_clumps(
        self, labels: np.ndarray, parameters: MixtureParameters
    ) -> tuple[np.ndarray, MixtureParameters]:
        """Searches anew from cells of K-means if there are many more clumps than clusters.

        Hundreds of clumps that fill the space evenly look like one, and like any few parts of it.

        Args:
            labels, parameters: `[n]` clusters and mixture that `run` ended with.

        Returns:
            Labels `[n]` and the mixture.
        """
        with THREADS.limit(limits=1):
            current = Partition(labels, self._statistics(labels), parameters)
            cells = None
            if current.num_components == 1 or self.has_overlap(current.parameters):
                cells = clump_cells(self.points, self._seed, 2 * current.num_components + 1)
            if cells is not None:
                other, found = self._search_from(cells, fits_scale=True)
                # Each under the prior that was fitted to it: their scales have little in common.
                if self._is_better(other.bound(found.parameters), current):
                    current = self._take(other, found)
            return current.labels, current.parameters

    def settle(
        self, labels: np.ndarray, parameters: MixtureParameters
    ) -> tuple[np.ndarray, MixtureParameters]:
        """Corrects what the moves of `run` cannot see, once it has ended.

        They know Gaussians alone, and count each point for one cluster. So they cut points of even
        density into round pieces, and take two Gaussians that overlap for one. Where clusters still
        overlap, moves one at a time may also be stuck, so that other starts are tried. It takes
        the labels `[n]` and mixture that `run` ended with, and returns others.
        """
        with THREADS.limit(limits=1):
            current = Partition(labels, self._statistics(labels), parameters)
            if self.settings.config.merges:
                current = self._join_flat(current)
            if self.settings.config.splits:
                current = self._split_overlapping(current)
                if self.settings.config.merges:
                    current = self._start_anew(current)
            return current.labels, current.parameters

    def _join_flat(self, partition: Partition) -> Partition:
        """Makes one cluster of points of even density."""
        count = partition.num_components
        if count == 1:
            return partition
        is_flat = self.evidence.is_flat(partition.statistics)
        self.moves += MoveCounts(proposed_merges=1, accepted_merges=int(is_flat))
        if not is_flat:
            return partition
        self.trace.append(np.zeros_like(partition.labels))
        return make_partition(self.evidence, self.trace[-1])

    def _split_overlapping(self, partition: Partition) -> Partition:
        """Splits clusters that are rather two Gaussians that overlap, until there are none."""
        for _ in range(_LIMITS.overlap_rounds):
            labels, accepted = split_overlapping(self.evidence, partition)
            proposed = partition.num_components
            self.moves += MoveCounts(proposed_splits=proposed, accepted_splits=accepted)
            if not accepted:
                break
            partition = self._run_em_from(labels, *_LIMITS.final_em, near=partition.near)
            self.trace.append(partition.labels)
        return partition

    def _start_anew(self, partition: Partition) -> Partition:
        """Takes clusters that another start leads to, until no start explains the points better.

        What counts is the variational bound of `log p(X)`, since clusters that overlap share
        points. Many Gaussians also explain heavy tails and flat tops of the present clusters, so
        that a start must gain more than those would. A lone cluster overlaps with none: points of
        even density, or skewed ones, have a larger bound in several Gaussians.
        """
        if partition.num_components == 1 or not self.has_overlap(partition.parameters):
            return partition
        largest = max(1, self.sample.num_points // 8)
        cells = min(2 * partition.num_components + 10, largest)
        starts = [self._search_from(kmeans_labels(self.points, cells, self._seed))]
        for _ in range(_LIMITS.overlap_rounds):
            count = partition.num_components
            if count <= _LIMITS.most_cells:
                starts += [self._fit_cells(min(count + more, largest)) for more in range(3)]
            if not starts:
                break
            other, found = max(starts, key=lambda start: self.bound(start[1].parameters))
            if not self._is_better(self.bound(found.parameters), partition):
                break
            partition, starts = self._take(other, found), []
        return partition

    def _is_better(self, bound: float, partition: Partition) -> bool:
        """Whether a bound exceeds that of `partition` by more than its clusters' shapes may."""
        shapes = self.evidence.shape_gains(partition.labels, partition.statistics)
        needed = _LIMITS.share_of_shapes * shapes + _LIMITS.least_gain
        return bound - self.bound(partition.parameters) > needed

    def _take(self, other: MixtureSearch, found: Partition) -> Partition:
        """Takes over the clusters and the prior of another search."""
        self.prior, self.evidence = other.prior, other.evidence
        self.trace.append(found.labels)
        return found

    def _search_from(
        self, labels: np.ndarray, fits_scale: bool = False
    ) -> tuple[MixtureSearch, Partition]:
        """Searches from cells, more than there are clusters; the search and its result."""
        # A prior of its own, since it follows K.
        other = self._with_prior(copy.copy(self.prior))
        if fits_scale:
            other.fit_scale_to(labels)
        labels, parameters = other.run_from(labels)
        found = Partition(labels, self._statistics(labels), parameters)
        found = other._split_overlapping(found)
        self.moves += other.moves
        return other, found

    def _fit_cells(self, cells: int) -> tuple[MixtureSearch, Partition]:
        """Makes EM steps from K-means cells; the search with their prior, and the result."""
        other, starts = self._with_prior(copy.copy(self.prior)), _LIMITS.kmeans_starts
        labels = kmeans_labels(self.points, cells, self._seed, num_starts=starts)
        return other, other._run_em_from(labels, *_LIMITS.final_em)

    def _improve(self, current: Partition) -> tuple[np.ndarray, MixtureParameters]:
        """Makes rounds of moves and fits the prior's scale until neither changes anything."""
        best: Partition | None = None
        without_gain = scale_updates = 0
        for _ in range(_LIMITS.rounds):
            current, moved = self._make_moves(current, tries_two_way=without_gain == 0)
            # The prior follows K, so the best partition is scored anew under the present one.
            score = self._score(current.statistics)
            if best is None or score > self._score(best.statistics) + 1e-6 * abs(score):
                best, without_gain = current, 0
                self.trace.append(best.labels)
            else:
                without_gain += 1
            if moved and not without_gain:
                continue
            limits = _LIMITS.em_iterations_between_rounds
            current = self._run_em_from(best.labels, limits, near=best.near)
            if moved and without_gain < _LIMITS.rounds_without_gain:
                continue
            statistics = current.statistics
            if scale_updates == _LIMITS.scale_updates or not self.prior.fit_scale(statistics):
                break
            scale_updates += 1
            fitted = self.prior.partition_prior().map_mixture(statistics)
            current = self._run_em(fitted, near=current.near)
            best, without_gain = None, 0
        current = self._run_em(current.parameters, *_LIMITS.final_em)
        return current.labels, current.parameters

    def _score(self, statistics: SufficientStatistics) -> float:
        return float(self.evidence.terms(statistics).sum())

    def _statistics(self, labels: np.ndarray) -> SufficientStatistics:
        return self.sample.hard_statistics(labels, int(labels.max()) + 1)

    def _run_em_from(
        self, labels: np.ndarray, *limits: Any, near: Neighbourhood | None = None
    ) -> Partition:
        """Makes EM steps from the mixture of clusters `labels`; limits are those of `run_em`.

        The clusters are parts or unions of those that are `near`, where these are known.
        """
        start = make_partition(self.evidence, labels)
        near = None if near is None else near.followed(start.labels)
        return self._run_em(start.parameters, *limits, near=near)

    def _run_em(
        self, parameters: MixtureParameters, *limits: Any, near: Neighbourhood | None = None
    ) -> Partition:
        return run_em(self.sample, self.prior.partition_prior(), parameters, *limits, near=near)

    def _make_moves(self, partition: Partition, tries_two_way: bool) -> tuple[Partition, bool]:
        """Makes splits, then merges; k-way splits where no two-way split was accepted."""
        split = merged = 0
        if self.settings.config.splits:
            if tries_two_way:
                partition, split = self._split(partition)
            if not split:
                partition, split = self._split_many_ways(partition)
        if self.settings.config.merges:
            partition, merged = self._merge(partition)
            if not merged:
                partition, merged = self._collapse(partition)
        return partition, bool(split or merged)

    def _split(self, partition: Partition) -> tuple[Partition, int]:
        """Splits every cluster that gains by it into the sides of its principal axis."""
        labels, count = partition.labels, partition.num_components
        sides = self.sample.principal_axis_sides(labels, partition.statistics)
        sides = self.sample.two_means_sides(labels, count, sides)
        is_split = self.evidence.split_gains(labels, sides, partition.statistics) > 0
        accepted = int(is_split.sum())
        self.moves += MoveCounts(proposed_splits=count, accepted_splits=accepted)
        if not accepted:
            return partition, 0
        new = count + np.cumsum(is_split) - 1
        moves = is_split[labels] & (sides == 1)
        labels = np.where(moves, new[labels], labels)
        return self._run_em_from(labels, near=partition.near), accepted

    def _split_many_ways(self, partition: Partition) -> tuple[Partition, int]:
        """Splits every cluster that gains by it into several parts.

        Of hundreds of clusters that fill a space of many dimensions evenly, a few parts have
        hardly more evidence than the whole. A lone cluster is therefore tried in many parts.
        """
        proposed = partition.num_components
        given = self.evidence, partition, self._generator
        labels, accepted = split_many_ways(*given)
        if proposed == 1 and not accepted:
            labels, accepted = split_many_ways(*given, _LIMITS.parts_of_lone_cluster)
        self.moves += MoveCounts(proposed_splits=proposed, accepted_splits=accepted)
        if not accepted:
            return partition, 0
        return self._run_em_from(labels, near=partition.near), accepted

    def _merge(self, partition: Partition) -> tuple[Partition, int]:
        """Merges disjoint neighbouring pairs, best first, until none gains."""
        labels, statistics, merged = partition.labels, partition.statistics, 0
        while len(statistics.counts) > 1:
            pairs, gains = self.evidence.merge_gains(labels, statistics)
            best = choose_disjoint(pairs, gains, gains > 0)
            self.moves += MoveCounts(proposed_merges=len(pairs), accepted_merges=len(best))
            if not len(best):
                break
            merged += len(best)
            target = np.arange(len(statistics.counts))
            target[best[:, 1]] = best[:, 0]
            labels = without_gaps(target[labels])[1]
            statistics = self._statistics(labels)
        return (
            (self._run_em_from(labels, near=partition.near), merged) if merged else (partition, 0)
        )

    def _collapse(self, partition: Partition) -> tuple[Partition, int]:
        """Makes one cluster of all points if that gains.

        A cloud that K-means cut into many pieces has no single pair worth merging.
        """
        count = partition.num_components
        if count == 1:
            return partition, 0
        gain = self.evidence.collapse_gain(partition.labels, partition.statistics)
        self.moves += MoveCounts(proposed_merges=1, accepted_merges=int(gain > 0))
        if gain <= 0:
            return partition, 0
        return make_partition(self.evidence, np.zeros_like(partition.labels)), count - 1
