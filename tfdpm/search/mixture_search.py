"""Expectation-maximisation with split and merge moves on a sample in memory.

Finds the mixture that the networks of the default configuration start from. No network is used
here. What moves are worth is in `sample_evidence.py`, EM in `partitions.py`.
"""

from __future__ import annotations

import copy

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.evidence import SampleEvidence
from tfdpm.search.k_way_splits import split_many_ways
from tfdpm.search.kmeans import THREADS, kmeans_labels
from tfdpm.search.partitions import Partition, partition_of, refined
from tfdpm.search.prior import SearchPrior, SearchSettings
from tfdpm.search.sample import Sample

__all__ = ["MixtureSearch", "SearchSettings", "disjoint_best"]

_LAST_EM_ITERATIONS, _LAST_SETTLED = 40, 1e-4  # of the partition that the search ends with
_MOST_ROUNDS = 60
_ROUNDS_WITHOUT_GAIN = 2
_SCALE_UPDATES = 12
_MANY_SEEDS = 64  # parts of a lone cluster that neither two nor a few parts explain better


class MixtureSearch:
    """The search over partitions of one sample, by their probability (see `sample_evidence.py`).

    Args:
        points: `[n, D]` distinct points, centred, mean variance one.
        settings: moves and prior.
        seed: of k-means starts.
        extra_df: see `SearchPrior`.
        prior: to start from instead of the one that `settings` and `extra_df` make.

    Attributes:
        settings: as given.
        sample: the points.
        features: `[n, D']` of the points as networks see them. The first D are the points; whoever
            knows of more sets them.
        evidence: of the sample for partitions and moves.
        moves: proposed and accepted so far.
        trace: labels `[n]` of the first partition, of each one that was better, and of the last.
    """

    def __init__(
        self,
        points: np.ndarray,
        settings: SearchSettings,
        seed: int,
        extra_df: float = 0.0,
        *,
        prior: SearchPrior | None = None,
    ):
        self.settings = settings
        self.sample = Sample(points)
        self.features = self.sample.points
        self._seed = seed
        self._begin(prior or SearchPrior(settings, *self.sample.points.shape, extra_df))

    def _begin(self, prior: SearchPrior) -> None:
        self._prior = prior
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
        """A search that goes on with a prior that another's clusters were once given.

        Args:
            points, settings, seed: as for the class.
            prior: of `num_points` points, as `prior()` or `in_all_axes` returned it.
            num_components: K at present.
            num_points: how many points the prior is for.
        """
        multiple = num_points / len(points)
        found = SearchPrior(
            settings,
            *points.shape,
            float(prior.df) - settings.df - (prior.loc.shape[0] - points.shape[1]),
            num_components=num_components,
            scale=float(prior.scale[0, 0]) / (multiple * settings.scale_factor),
        )
        return cls(points, settings, seed, prior=found)

    def with_weight(self, extra_df: float) -> MixtureSearch:
        """A new search of the same points with another weight of the prior."""
        search = copy.copy(self)
        search._begin(SearchPrior(self.settings, *self.points.shape, extra_df))
        return search

    # -- what it is about ---------------------------------------------------------------------

    @property
    def points(self) -> np.ndarray:
        """The sample, `[n, D]` float64."""
        return self.sample.points

    @property
    def covariance(self) -> str:
        """Structure of the components' covariances."""
        return self.settings.covariance

    @property
    def extra_df(self) -> float:
        """Degrees of freedom of the prior beyond those of the settings."""
        return self._prior.extra_df

    @property
    def scale(self) -> float:
        """Of the prior, as a multiple of I."""
        return self._prior.scale

    def prior(self, multiple: float = 1.0) -> niw.NIWParameters:
        """The current prior, see `SearchPrior.as_niw`."""
        return self._prior.as_niw(multiple)

    def partition_prior(self, multiple: float = 1.0) -> PartitionPrior:
        """As `prior`, with the Dirichlet process."""
        return self._prior.of_partitions(multiple)

    def score(self, labels: np.ndarray) -> float:
        """`log p(X, z)` of the sample under the current prior, nats, up to a constant of n."""
        statistics = self.sample.hard_statistics(labels, int(labels.max()) + 1)
        return float(self.evidence.terms(statistics).sum())

    def shares(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each cluster's share `[K]` of `score`, and what a heavy tail would add to it, `[K]`."""
        with THREADS.limit(limits=1):
            statistics = self.sample.hard_statistics(labels, int(labels.max()) + 1)
            return self.evidence.terms(statistics), self.evidence.tail_gains(labels, statistics)

    def settle_scale(self, labels: np.ndarray) -> float:
        """Sets the scale by the evidence of a partition, and returns its score."""
        with THREADS.limit(limits=1):
            partition = partition_of(self.evidence, labels)
            for _ in range(_SCALE_UPDATES):
                if not self._prior.fit_scale(partition.statistics):
                    break
            return self._score(partition)

    # -- the search ---------------------------------------------------------------------------

    def run(self, initial_clusters: int) -> tuple[np.ndarray, MixtureParameters]:
        """Moves and EM until nothing changes; the scale of the prior is found on the way.

        Args:
            initial_clusters: K of the K-means start.

        Returns:
            Labels `[n]` and the mixture.
        """
        count = max(1, min(initial_clusters, self.sample.num_points // 4))
        return self.run_from(kmeans_labels(self.points, count, self._seed))

    def run_from(self, labels: np.ndarray) -> tuple[np.ndarray, MixtureParameters]:
        """As `run`, from given labels `[n]` of the sample."""
        # Threads would only wait for each other on products of this size.
        with THREADS.limit(limits=1):
            current = partition_of(self.evidence, labels)
            self.trace.append(current.labels)
            if current.num_components > 1:
                current = self._em(current.parameters)
            labels, parameters = self._climb(current)
            self.trace.append(labels)
            return labels, parameters

    def _climb(self, current: Partition) -> tuple[np.ndarray, MixtureParameters]:
        best: Partition | None = None
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
                current = self._refined(best.labels, 5)
            if moved and without_gain < _ROUNDS_WITHOUT_GAIN:
                continue
            current = self._refined(best.labels, 5)
            if scale_updates == _SCALE_UPDATES or not self._prior.fit_scale(current.statistics):
                break
            scale_updates += 1
            mixture = self._prior.of_partitions().map_mixture(current.statistics)
            current = self._em(mixture)
            best, without_gain = None, 0
        current = self._em(current.parameters, _LAST_EM_ITERATIONS, _LAST_SETTLED)
        return current.labels, current.parameters

    def _score(self, partition: Partition) -> float:
        return float(self.evidence.terms(partition.statistics).sum())

    def _refined(self, labels: np.ndarray, *limits) -> Partition:
        """EM from the mixture of clusters `labels`; `limits` as for `refined`."""
        mixture = partition_of(self.evidence, labels).parameters
        return self._em(mixture, *limits)

    def _em(self, parameters: MixtureParameters, *limits) -> Partition:
        return refined(self.sample, self._prior.of_partitions(), parameters, *limits)

    # -- moves --------------------------------------------------------------------------------

    def _round(self, partition: Partition, tries_two_way: bool) -> tuple[Partition, bool]:
        """Splits, then merges; k-way splits where no two-way split was accepted."""
        split = merged = 0
        if self.settings.splits:
            if tries_two_way:
                partition, split = self._split(partition)
            if not split:
                partition, split = self._split_many_ways(partition)
        if self.settings.merges:
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
        return self._refined(np.where(moves, new[labels], labels)), accepted

    def _split_many_ways(self, partition: Partition) -> tuple[Partition, int]:
        """Splits every cluster that gains by it into several parts.

        Of hundreds of clusters that fill a space of many dimensions evenly, a few parts are hardly
        better told than the whole.
        """
        proposed = partition.num_components
        labels, accepted = split_many_ways(self.evidence, partition, self._generator)
        if proposed == 1 and not accepted:
            labels, accepted = split_many_ways(
                self.evidence, partition, self._generator, _MANY_SEEDS
            )
        self.moves += MoveCounts(proposed_splits=proposed, accepted_splits=accepted)
        return (self._refined(labels), accepted) if accepted else (partition, 0)

    def _merge(self, partition: Partition) -> tuple[Partition, int]:
        """Merges disjoint neighbouring pairs, best first, until none gains."""
        labels, statistics, merged = partition.labels, partition.statistics, 0
        while len(statistics.counts) > 1:
            pairs, gains = self.evidence.merge_gains(labels, statistics)
            best = disjoint_best(pairs, gains)
            self.moves += MoveCounts(proposed_merges=len(pairs), accepted_merges=len(best))
            if not len(best):
                break
            merged += len(best)
            target = np.arange(len(statistics.counts))
            target[best[:, 1]] = best[:, 0]
            labels = np.unique(target[labels], return_inverse=True)[1].ravel()
            statistics = self.sample.hard_statistics(labels, int(labels.max()) + 1)
        return (self._refined(labels), merged) if merged else (partition, 0)

    def _collapse(self, partition: Partition) -> tuple[Partition, int]:
        """Everything into one cluster, if that gains.

        A cloud that was cut into many pieces at the start has no single pair worth merging.
        """
        count = partition.num_components
        if count == 1:
            return partition, 0
        gain = self.evidence.collapse_gain(partition.labels, partition.statistics)
        self.moves += MoveCounts(proposed_merges=1, accepted_merges=int(gain > 0))
        if gain <= 0:
            return partition, 0
        return partition_of(self.evidence, np.zeros_like(partition.labels)), count - 1


def disjoint_best(pairs: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Pairs `[M, 2]` with positive gain, best first, no component twice."""
    taken: set[int] = set()
    best = []
    for index in np.argsort(-gains, kind="stable"):
        first, second = pairs[index]
        if gains[index] <= 0:
            break
        if first not in taken and second not in taken:
            taken.update((first, second))
            best.append((first, second))
    return np.asarray(best, int).reshape(-1, 2)
