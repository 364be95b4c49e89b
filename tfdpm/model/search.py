"""Expectation-maximisation with split and merge moves on a sample in memory.

Finds the mixture that the networks of the default configuration start from, and judges their
proposals by the same rule afterwards. No network is used here.
"""

from __future__ import annotations

import copy
import dataclasses

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.prior import automatic_scale
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.mixture.tails import log_tail_gain
from tfdpm.model.sample import Sample, sample_moments, sorted_groups
from tfdpm.model.start import THREADS, kmeans_labels
from tfdpm.proposals.merge import neighbour_pairs
from tfdpm.proposals.tally import MoveCounts

_EM_ITERATIONS = 15
_SETTLED = 1e-3  # share of points that may still change cluster when EM stops
_LAST_EM_ITERATIONS, _LAST_SETTLED = 40, 1e-4  # of the partition that the search ends with
_MOST_ROUNDS = 60
_ROUNDS_WITHOUT_GAIN = 2
_SCALE_UPDATES = 12
_LARGEST_SCALE = 3.0
_NUM_SEEDS = 8  # k-means++ centres of a k-way split
_SEED_ITERATIONS = 10
_LARGEST_TAIL = 3.0  # nats per point that a tail could add; only saves looking at hopeless pairs


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What the search takes from the configuration; see `DeepDPMConfig`.

    Attributes:
        splits, merges: whether each kind of move is made.
        dp_concentration: alpha.
        mean_precision, df: of the prior.
        scale_factor: multiplies the prior's scale that is found.
        fixed_scale: `[D, D]` scale matrix to use instead of finding one, or `None`.
        num_neighbours: merge candidates.
        weight_concentration: see `m_step`.
        covariance: structure of covariances, or `"auto"`, which only `best_search.py` understands.
    """

    splits: bool
    merges: bool
    dp_concentration: float
    mean_precision: float
    df: float
    scale_factor: float
    num_neighbours: int
    weight_concentration: float
    fixed_scale: np.ndarray | None = None
    covariance: str = "full"


@dataclasses.dataclass
class _Partition:
    """Hard clusters of the sample, their statistics, and the mixture that goes with them."""

    labels: np.ndarray
    statistics: SufficientStatistics
    parameters: MixtureParameters

    @property
    def num_components(self) -> int:
        return len(self.statistics.counts)


class MixtureSearch:
    """The search over partitions of one sample.

    The score of a partition is `log p(X, z)` under the DP mixture. Where two clusters may be one
    with heavy tails, a component's evidence is that of the best elliptical t (`mixture/tails.py`).

    Args:
        points: `[n, D]` distinct points, centred, mean variance one.
        settings: moves and prior.
        seed: of k-means starts.
        extra_df: added to the degrees of freedom; the scale matrix grows alike, so that the prior
            mean of a covariance stays and only its weight grows.

    Attributes:
        scale: of the prior, as a multiple of I.
        moves: proposed and accepted so far.
        trace: labels `[n]` of the first partition, of each one that was better, and of the last.
    """

    def __init__(
        self, points: np.ndarray, settings: SearchSettings, seed: int, extra_df: float = 0.0
    ):
        self._sample = Sample(points)
        self._settings = settings
        self._generator = np.random.default_rng([seed, 3])
        self._seed = seed
        self.extra_df = extra_df
        self._floor = self._floor_for(1)
        self.scale = max(1.0 + extra_df, self._floor)
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
        """A search that goes on with a prior that `prior()` of another once returned.

        Args:
            points, settings, seed: as for the class.
            prior: of `num_points` points.
            num_components: K at present.
            num_points: how many points the prior is for.
        """
        search = cls(points, settings, seed, float(prior.df) - settings.df)
        search._floor = search._floor_for(num_components)
        multiple = num_points / len(points)
        search.scale = float(prior.scale[0, 0]) / (multiple * settings.scale_factor)
        return search

    def with_weight(self, extra_df: float) -> MixtureSearch:
        """A new search of the same points with another weight of the prior."""
        search = copy.copy(self)
        search._generator = np.random.default_rng([self._seed, 3])
        search.extra_df = extra_df
        search._floor = search._floor_for(1)
        search.scale = max(1.0 + extra_df, search._floor)
        search.moves, search.trace = MoveCounts(), []
        return search

    # -- the prior ----------------------------------------------------------------------------

    @property
    def covariance(self) -> str:
        """Structure of the components' covariances."""
        return self._settings.covariance

    @property
    def df(self) -> float:
        """Degrees of freedom of the prior."""
        return self._settings.df + self.extra_df

    def prior(self, multiple: float = 1.0) -> niw.NIWParameters:
        """The current prior; a scale that was found is multiplied by `multiple`.

        Args:
            multiple: number of all points over that of the sample. The scale is in proportion to
                the number of points (see `automatic_scale`).
        """
        scale = self._partition_prior(multiple).scale
        return niw.niw_parameters(
            np.zeros(len(scale)), self._settings.mean_precision, self.df, scale
        )

    def _partition_prior(self, multiple: float = 1.0) -> PartitionPrior:
        settings = self._settings
        scale = settings.fixed_scale
        if scale is None:
            scale = multiple * settings.scale_factor * self.scale * np.eye(self._sample.dim)
        return PartitionPrior(
            scale,
            self.df,
            settings.mean_precision,
            settings.dp_concentration,
            settings.weight_concentration,
            settings.covariance,
        )

    def _floor_for(self, num_components: int) -> float:
        return automatic_scale(self._sample.num_points, num_components, self._sample.dim)

    def _follow_floor(self, num_components: int) -> None:
        """Keeps the scale on its floor, where it was, and above it, where it was not."""
        was_on_floor = self.scale <= self._floor * 1.0001
        self._floor = self._floor_for(num_components)
        if was_on_floor or self.scale < self._floor:
            self.scale = self._floor

    # -- partitions ---------------------------------------------------------------------------

    def _partition(self, labels: np.ndarray) -> _Partition:
        """Clusters `labels` (renumbered without gaps) and their MAP mixture."""
        labels = np.unique(labels, return_inverse=True)[1].ravel()
        num_components = int(labels.max()) + 1
        self._follow_floor(num_components)
        statistics = self._sample.hard_statistics(labels, num_components)
        return _Partition(labels, statistics, self._estimate(statistics))

    def _estimate(self, statistics: SufficientStatistics) -> MixtureParameters:
        return self._partition_prior().map_mixture(statistics)

    def _refined(
        self, partition: _Partition, iterations: int = _EM_ITERATIONS, settled: float = _SETTLED
    ) -> _Partition:
        """Soft EM from a partition until few points change cluster; empty components go."""
        parameters, labels = partition.parameters, None
        for _ in range(iterations):
            previous = labels
            labels, statistics = self._sample.expectation(parameters)
            # Of a sample of one or two points, no component need hold more than one.
            is_kept = (statistics.counts > 1.0) | (statistics.counts == statistics.counts.max())
            if not is_kept.all():
                parameters = MixtureParameters(*(part[is_kept] for part in parameters))
                labels, statistics = self._sample.expectation(parameters)
            parameters = self._estimate(statistics)
            if previous is not None and is_kept.all() and np.mean(previous != labels) < settled:
                break
        labels = self._sample.labels(parameters)
        present, labels = np.unique(labels, return_inverse=True)
        statistics = self._sample.hard_statistics(labels.ravel(), len(present))
        weights, means, covariances = (part[present] for part in parameters)
        parameters = MixtureParameters(weights / weights.sum(), means, covariances)
        return _Partition(labels.ravel(), statistics, parameters)

    def _terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Each component's share of `log p(X, z)`, `[K]`."""
        return self._partition_prior().terms(statistics)

    def _score(self, partition: _Partition) -> float:
        return float(self._terms(partition.statistics).sum())

    def _tail_gains(
        self,
        labels: np.ndarray,
        statistics: SufficientStatistics,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """What a heavy tail adds to each component's evidence, `[K]`."""
        rows = np.arange(self._sample.num_points) if rows is None else rows
        distances = self._sample.distances_to_own(labels, statistics, rows)
        return log_tail_gain(distances, labels, len(statistics.counts), self._sample.dim)

    # -- moves --------------------------------------------------------------------------------

    def split_gains(
        self, labels: np.ndarray, sides: np.ndarray, statistics: SufficientStatistics
    ) -> np.ndarray:
        """Log ratios `[K]` of splitting each cluster into the given sides."""
        num_components = len(statistics.counts)
        halves_labels = 2 * labels + sides
        halves = self._sample.hard_statistics(halves_labels, 2 * num_components)
        terms = self._terms(halves)
        gains = terms[0::2] + terms[1::2] - self._terms(statistics)
        smallest = np.minimum(halves.counts[0::2], halves.counts[1::2])
        return np.where(smallest > 1, gains, -np.inf)

    def _split(self, partition: _Partition) -> tuple[_Partition, int]:
        """Splits every cluster that gains by it into the sides of its principal axis."""
        labels, count = partition.labels, partition.num_components
        sides = self._sample.principal_axis_sides(labels, partition.statistics)
        sides = self._sample.two_means_sides(labels, count, sides)
        is_split = self.split_gains(labels, sides, partition.statistics) > 0
        self.moves += MoveCounts(proposed_splits=count, accepted_splits=int(is_split.sum()))
        if not is_split.any():
            return partition, 0
        new = count + np.cumsum(is_split) - 1
        moves = is_split[labels] & (sides == 1)
        labels = np.where(moves, new[labels], labels)
        return self._refined(self._partition(labels)), int(is_split.sum())

    def _split_many_ways(self, partition: _Partition) -> tuple[_Partition, int]:
        """k-means++ parts of each cluster, joined again while that gains, where the rest pays.

        For layouts, such as a grid, in which no cut into two parts gains anything.
        """
        labels, next_label, accepted = partition.labels.copy(), partition.num_components, 0
        terms = self._terms(partition.statistics)
        for component in range(partition.num_components):
            rows = np.flatnonzero(partition.labels == component)
            if len(rows) < 2 * _NUM_SEEDS:
                continue
            parts = kmeans_labels(
                self._sample.points[rows],
                _NUM_SEEDS,
                int(self._generator.integers(2**31)),
                _SEED_ITERATIONS,
            )
            parts, statistics = self._joined(rows, parts)
            num_parts = len(statistics.counts)
            gain = self._terms(statistics).sum() - terms[component]
            if num_parts < 2 or gain <= 0:
                continue
            whole = _rows(partition.statistics, [component])
            tail = self._tail_gains(np.zeros(len(rows), int), whole, rows)[0]
            excess = gain - tail if num_parts > 2 else _beyond_tail(gain, tail, len(rows))
            if excess > 0:
                labels[rows] = np.where(parts == 0, component, next_label + parts - 1)
                next_label += num_parts - 1
                accepted += 1
        self.moves += MoveCounts(proposed_splits=partition.num_components, accepted_splits=accepted)
        if not accepted:
            return partition, 0
        return self._refined(self._partition(labels)), accepted

    def _joined(
        self, rows: np.ndarray, parts: np.ndarray
    ) -> tuple[np.ndarray, SufficientStatistics]:
        """Greedily joins the pair of parts with the largest gain until none gains."""
        parts = np.unique(parts, return_inverse=True)[1].ravel()
        statistics = self._sample.hard_statistics(parts, int(parts.max()) + 1, rows)
        statistics = SufficientStatistics(*(np.array(part) for part in statistics))
        terms = self._terms(statistics)
        while len(statistics.counts) > 1:
            first, second = np.triu_indices(len(statistics.counts), 1)
            union = _rows(statistics, first).plus(_rows(statistics, second))
            union_terms = self._terms(union)
            gains = union_terms - terms[first] - terms[second]
            best = int(gains.argmax())
            if gains[best] <= 0:
                break
            kept, joined = first[best], second[best]
            for part in statistics:
                part[kept] += part[joined]
            terms[kept] = union_terms[best]
            terms = np.delete(terms, joined)
            statistics = SufficientStatistics(*(np.delete(p, joined, 0) for p in statistics))
            parts = np.where(parts == joined, kept, parts)
            parts -= parts > joined
        return parts, statistics

    def merge_gains(
        self, labels: np.ndarray, statistics: SufficientStatistics
    ) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]` and the log ratios `[P]` of merging them."""
        pairs = neighbour_pairs(sample_moments(statistics)[0], self._settings.num_neighbours)
        if not len(pairs):
            return pairs, np.zeros(0)
        terms = self._terms(statistics)
        union = _rows(statistics, pairs[:, 0]).plus(_rows(statistics, pairs[:, 1]))
        gains = self._terms(union) - terms[pairs[:, 0]] - terms[pairs[:, 1]]
        near = np.flatnonzero((gains <= 0) & (gains > -_LARGEST_TAIL * union.counts))
        if len(near):
            tails = self._tail_gains(labels, statistics)
            groups = sorted_groups(labels, len(statistics.counts))
            union_tails = self._union_tails(groups, pairs[near], _rows(union, near))
            gains[near] += union_tails - tails[pairs[near, 0]] - tails[pairs[near, 1]]
        return pairs, gains

    def _union_tails(
        self,
        sorted_rows: tuple[np.ndarray, np.ndarray],
        pairs: np.ndarray,
        union: SufficientStatistics,
    ) -> np.ndarray:
        """What a heavy tail adds to the evidence of each pair `[P, 2]` of clusters as one, `[P]`.

        As many pairs at once as have about the sample's number of points, for the sake of memory.
        `sorted_rows` are those of all clusters, as `sorted_groups` tells them.
        """
        order, starts = sorted_rows
        groups = np.cumsum(union.counts) // self._sample.num_points
        tails = np.empty(len(pairs))
        for group in np.unique(groups):
            chosen = np.flatnonzero(groups == group)
            rows = [order[starts[k] : starts[k + 1]] for k in pairs[chosen].ravel()]
            sizes = np.array([len(part) for part in rows]).reshape(-1, 2).sum(axis=1)
            owners = np.repeat(np.arange(len(chosen)), sizes)
            tails[chosen] = self._tail_gains(owners, _rows(union, chosen), np.concatenate(rows))
        return tails

    def _merge(self, partition: _Partition) -> tuple[_Partition, int]:
        """Merges disjoint neighbouring pairs, best first, until none gains."""
        labels, statistics, merged = partition.labels, partition.statistics, 0
        while len(statistics.counts) > 1:
            pairs, gains = self.merge_gains(labels, statistics)
            chosen = disjoint_best(pairs, gains)
            self.moves += MoveCounts(proposed_merges=len(pairs), accepted_merges=len(chosen))
            if not len(chosen):
                break
            merged += len(chosen)
            target = np.arange(len(statistics.counts))
            target[chosen[:, 1]] = chosen[:, 0]
            labels = np.unique(target[labels], return_inverse=True)[1].ravel()
            statistics = self._sample.hard_statistics(labels, int(labels.max()) + 1)
        if not merged:
            return partition, 0
        return self._refined(self._partition(labels)), merged

    # -- judging the networks' proposals --------------------------------------------------------

    def judge_splits(self, labels: np.ndarray, sides: np.ndarray, count: int) -> np.ndarray:
        """`[count]` log ratios of splitting clusters of the sample into the networks' halves.

        The search has already tried such splits and found none, so that what gains a little now is
        rather the shape of a cluster that is not Gaussian; see `_beyond_tail`.
        """
        with THREADS.limit(limits=1):
            statistics = self._sample.hard_statistics(labels, count)
            gains = self.split_gains(labels, sides, statistics)
            if not (gains > 0).any():
                return gains
            tails = self._tail_gains(labels, statistics)
            return np.where(gains > 0, _beyond_tail(gains, tails, statistics.counts), gains)

    def judge_merges(self, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Neighbouring pairs `[P, 2]` of clusters of the sample and the log ratios of merging."""
        with THREADS.limit(limits=1):
            statistics = self._sample.hard_statistics(labels, count)
            return self.merge_gains(labels, statistics)

    def chain(self, labels: np.ndarray, seed: int) -> MixtureParameters:
        """Where moves lead from a disturbed partition of a random part of the sample.

        Four fifths of the points are kept; every cluster is cut in two at random with probability
        one half, so that each chain has to find its way back.

        Args:
            labels: `[n]` clusters of the sample.
            seed: of the choice of points and of the disturbance.
        """
        generator = np.random.default_rng([seed, 4])
        count = max(2, int(0.8 * len(labels)))
        chosen = np.sort(generator.permutation(len(labels))[:count])
        part = MixtureSearch(self._sample.points[chosen], self._settings, seed, self.extra_df)
        part._floor = part._floor_for(int(labels.max()) + 1)
        part.scale = self.scale * len(chosen) / len(labels)
        return part.run_from(part._disturbed(labels[chosen], generator))[1]

    def _disturbed(self, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Labels after random cuts through the means of some clusters."""
        labels = np.unique(labels, return_inverse=True)[1].ravel()
        count = int(labels.max()) + 1
        means, _ = sample_moments(self._sample.hard_statistics(labels, count))
        directions = generator.standard_normal(means.shape)
        heights = np.einsum("nd,nd->n", self._sample.points - means[labels], directions[labels])
        is_cut = generator.uniform(size=count) < 0.5
        return np.where(is_cut[labels] & (heights > 0), count + labels, labels)

    @property
    def points(self) -> np.ndarray:
        """The sample, `[n, D]` float64."""
        return self._sample.points

    def _collapse(self, partition: _Partition) -> tuple[_Partition, int]:
        """Everything into one cluster, if that gains.

        A cloud that was cut into many pieces at the start has no single pair worth merging.
        """
        count = partition.num_components
        if count == 1:
            return partition, 0
        whole = SufficientStatistics(
            *(part.sum(axis=0, keepdims=True) for part in partition.statistics)
        )
        gain = self._terms(whole)[0] - self._score(partition)
        labels = np.zeros_like(partition.labels)
        if -_LARGEST_TAIL * len(labels) < gain <= 0:
            gain += self._tail_gains(labels, whole)[0]
            gain -= self._tail_gains(partition.labels, partition.statistics).sum()
        self.moves += MoveCounts(proposed_merges=1, accepted_merges=int(gain > 0))
        return (self._partition(labels), count - 1) if gain > 0 else (partition, 0)

    # -- the search ---------------------------------------------------------------------------

    def run(self, initial_clusters: int) -> tuple[np.ndarray, MixtureParameters]:
        """Moves and EM until nothing changes; the scale of the prior is found on the way.

        Args:
            initial_clusters: K of the K-means start.

        Returns:
            Labels `[n]` and the mixture.
        """
        count = max(1, min(initial_clusters, self._sample.num_points // 4))
        return self.run_from(kmeans_labels(self._sample.points, count, self._seed))

    def run_from(self, labels: np.ndarray) -> tuple[np.ndarray, MixtureParameters]:
        """As `run`, from given labels `[n]` of the sample."""
        # Threads would only wait for each other on products of this size.
        with THREADS.limit(limits=1):
            current = self._partition(labels)
            self.trace.append(current.labels)
            if current.num_components > 1:
                current = self._refined(current)
            labels, parameters = self._climb(current)
            self.trace.append(labels)
            return labels, parameters

    def _climb(self, current: _Partition) -> tuple[np.ndarray, MixtureParameters]:
        best: _Partition | None = None
        without_gain = scale_updates = 0
        for _ in range(_MOST_ROUNDS):
            current, moved = self._round(current, tries_two_way=without_gain == 0)
            # The prior follows K, so the best partition is scored anew under the present one.
            score = self._score(current)
            kept = -np.inf if best is None else self._score(best)
            if score > kept + 1e-6 * abs(score):
                best, without_gain = current, 0
                self.trace.append(best.labels)
            else:
                without_gain += 1
                current = self._refined(self._partition(best.labels), 5)
            if moved and without_gain < _ROUNDS_WITHOUT_GAIN:
                continue
            current = self._refined(self._partition(best.labels), 5)
            if scale_updates == _SCALE_UPDATES or not self._update_scale(current):
                break
            scale_updates += 1
            current = self._refined(
                _Partition(current.labels, current.statistics, self._estimate(current.statistics))
            )
            best, without_gain = None, 0
        current = self._refined(current, _LAST_EM_ITERATIONS, _LAST_SETTLED)
        return current.labels, current.parameters

    def _round(self, partition: _Partition, tries_two_way: bool) -> tuple[_Partition, bool]:
        """Splits, then merges; k-way splits where no two-way split was accepted."""
        split = merged = 0
        if self._settings.splits:
            if tries_two_way:
                partition, split = self._split(partition)
            if not split:
                partition, split = self._split_many_ways(partition)
        if self._settings.merges:
            partition, merged = self._merge(partition)
            if not merged:
                partition, merged = self._collapse(partition)
        return partition, bool(split or merged)

    def _update_scale(self, partition: _Partition) -> bool:
        """Sets the scale by the evidence, within its bounds; whether it moved by over 10 %."""
        if self._settings.fixed_scale is not None:
            return False
        factor = self._settings.scale_factor
        fitted = self._partition_prior().fitted_scale(partition.statistics, factor * self.scale)
        self._floor = self._floor_for(partition.num_components)
        largest = max(_LARGEST_SCALE * (1.0 + self.extra_df), self._floor)
        fitted = float(np.clip(fitted / factor, self._floor, largest))
        moved = abs(np.log(fitted / self.scale)) > 0.1
        if moved:
            self.scale = fitted
        return moved

    def settle_scale(self, labels: np.ndarray) -> float:
        """Sets the scale by the evidence of a partition, and returns its score."""
        with THREADS.limit(limits=1):
            partition = self._partition(labels)
            for _ in range(_SCALE_UPDATES):
                if not self._update_scale(partition):
                    break
            return self._score(partition)

    def score(self, labels: np.ndarray) -> float:
        """`log p(X, z)` of the sample under the current prior, nats, up to a constant of n."""
        return float(self._terms(self._sample.hard_statistics(labels, int(labels.max()) + 1)).sum())

    def shares(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each cluster's share `[K]` of `score`, and what a heavy tail would add to it, `[K]`."""
        with THREADS.limit(limits=1):
            statistics = self._sample.hard_statistics(labels, int(labels.max()) + 1)
            return self._terms(statistics), self._tail_gains(labels, statistics)


def _beyond_tail(gain, tail, num_points):
    """What two parts gain beyond a heavy tail and the `log 2` per point of telling them apart.

    Two parts are the business of the search's own two-way move. Elsewhere they count in full only
    where a heavy tail would explain nothing (`tail` is 0).
    """
    return np.where(tail > 0, gain - tail - num_points * np.log(2.0), gain)


def disjoint_best(pairs: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Pairs `[M, 2]` with positive gain, best first, no component twice."""
    taken: set[int] = set()
    chosen = []
    for index in np.argsort(-gains, kind="stable"):
        first, second = pairs[index]
        if gains[index] <= 0:
            break
        if first not in taken and second not in taken:
            taken.update((first, second))
            chosen.append((first, second))
    return np.asarray(chosen, int).reshape(-1, 2)


def _rows(statistics: SufficientStatistics, index) -> SufficientStatistics:
    return SufficientStatistics(*(part[index] for part in statistics))
