"""Partitions of a sample with the mixtures that go with them, and soft EM from one to the next."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.evidence import SampleEvidence
from tfdpm.search.points.groups import without_gaps
from tfdpm.search.points.pairs import Neighbourhood, is_many
from tfdpm.search.points.sample import Sample

# Below this share of a component's spread, sums in another order differ.
_ROUNDING = 1e-10


@dataclasses.dataclass
class Partition:
    """Hard clusters of the sample, their statistics, and the mixture that goes with them.

    Attributes:
        labels: `[n]` int64, without gaps.
        statistics: `[K]`.
        parameters: of K components.
        near: which of many components are near which points; `None` where that is not known.
    """

    labels: np.ndarray
    statistics: SufficientStatistics
    parameters: MixtureParameters
    near: Neighbourhood | None = None

    @property
    def num_components(self) -> int:
        """K."""
        return len(self.statistics.counts)


def make_partition(evidence: SampleEvidence, labels: np.ndarray) -> Partition:
    """Makes a partition of labels `[n]`, numbered anew without gaps, with its MAP mixture.

    The lower bound of the prior's scale follows the number of clusters.
    """
    labels = without_gaps(labels)[1]
    num_components = int(labels.max()) + 1
    evidence.prior.follow_floor(num_components)
    statistics = evidence.sample.hard_statistics(labels, num_components)
    return Partition(labels, statistics, evidence.prior.partition_prior().map_mixture(statistics))


def run_em(
    sample: Sample,
    prior: PartitionPrior,
    parameters: MixtureParameters,
    iterations: int = 15,
    tolerance: float = 1e-3,
    *,
    near: Neighbourhood | None = None,
) -> Partition:
    """Makes soft EM steps until few points change cluster; empty components are removed.

    The last step is the one that changes the clusters of a share of points below `tolerance`, or
    one of so many `iterations`. Of many components, a point is compared with those alone that
    are `near` it; where `None` are known, with all before the first step and after the last one.
    """
    given, is_settled = near, False
    previous: np.ndarray | None = None
    if near is None and is_many(len(parameters.means)):
        near = sample.assign(parameters)[1]
    for _ in range(iterations):
        labels, statistics = sample.expectation(parameters, near)
        # Of a sample of one or two points, no component need hold more than one.
        is_kept = (statistics.counts > 1.0) | (statistics.counts == statistics.counts.max())
        if not is_kept.all():
            parameters = MixtureParameters(*(part[is_kept] for part in parameters))
            near = None if near is None else near.chosen(is_kept)
            labels, statistics = sample.expectation(parameters, near)
        before, parameters = parameters, prior.map_mixture(statistics)
        is_settled = near is None and _are_same(before, parameters)
        if is_settled:
            break
        if previous is not None and is_kept.all() and np.mean(previous != labels) < tolerance:
            break
        previous = labels
    if not is_settled:
        labels, near = sample.assign(parameters, None if given is None else near)
    present, labels = without_gaps(labels)
    if near is not None:
        near = Neighbourhood(labels, near.graph[present][:, present])
    statistics = sample.hard_statistics(labels, len(present))
    weights, means, covariances = (part[present] for part in parameters)
    parameters = MixtureParameters(weights / weights.sum(), means, covariances)
    return Partition(labels, statistics, parameters, near)


def _are_same(before: MixtureParameters, after: MixtureParameters) -> bool:
    """Whether an EM step changed nothing but rounding, as where clusters stand well apart."""
    variances = np.trace(before.covariances, axis1=1, axis2=2)[:, np.newaxis]
    units = 1.0, np.sqrt(variances), variances[:, :, np.newaxis]
    return all(
        bool((np.abs(new - old) <= _ROUNDING * unit).all())
        for new, old, unit in zip(after, before, units, strict=True)
    )


def variational_bound(
    sample: Sample, prior: PartitionPrior, parameters: MixtureParameters
) -> tuple[float, SufficientStatistics]:
    """Lower bound of `log p(X)` where points are shared by responsibility, and their statistics.

    It is the statistics' terms with the entropy of the responsibilities, which is zero where
    clusters stand apart. There it is the score of the partition.
    """
    soft, entropy = sample.shared(parameters)
    return float(prior.terms(soft).sum()) + entropy, soft
