"""Refinement of a search's mixture in all axes and by t distributions.

Every axis costs each split a share of its evidence, so that K is sought where nearly all of the
variance is. Once K is known, an axis of little variance may still tell which cluster a point is of.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.t_mixture import INITIAL_DF, map_t_mixture
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.partitions import run_em
from tfdpm.search.points.groups import without_gaps
from tfdpm.search.points.pairs import is_many
from tfdpm.search.points.sample import Sample
from tfdpm.threads import THREADS

_EM_ITERATIONS, _EM_TOLERANCE = 40, 1e-4
# Degrees of freedom converge more slowly than means and covariances.
_T_EM_ITERATIONS, _T_EM_TOLERANCE = 60, 3e-5


class RefinedMixture(NamedTuple):
    """Clusters of the sample in all axes.

    Attributes:
        prior: prior for statistics of as many points as was asked for.
        labels: `[n]` clusters of the sample.
        parameters: `[K]` Gaussian components.
        t_mixture: `[K]` t distributions that gave the labels; `None` if none were asked for.
    """

    prior: niw.NIWParameters
    labels: np.ndarray
    parameters: MixtureParameters
    t_mixture: TMixtureParameters | None


def refine_mixture(
    search: MixtureSearch, labels: np.ndarray, multiple: float, has_tails: bool
) -> RefinedMixture:
    """Makes EM steps in all features of a search's sample from the search's clusters.

    The prior is that of the search. Of a further axis it expects the same share of the variance
    within clusters as of the leading ones on average. Components that lose all points are removed.

    Args:
        search: a search that has ended.
        labels: `[n]` clusters that it found.
        multiple: number of points that the prior is to be for, over that of the sample.
        has_tails: whether components are t distributions. A few points far out make a Gaussian so
            wide that it claims its neighbours' points.
    """
    sample, prior = _in_all_axes(search)
    with THREADS.limit(limits=1):
        statistics = sample.hard_statistics(labels, int(labels.max()) + 1)
        gaussians = prior.map_mixture(statistics)
        scaled_prior = _prior_in_all_axes(search, multiple).as_niw()
        if not has_tails:
            partition = run_em(sample, prior, gaussians, _EM_ITERATIONS, _EM_TOLERANCE)
            return RefinedMixture(scaled_prior, partition.labels, partition.parameters, None)
        mixture = _run_t_em(sample, prior, gaussians)
        present, labels = without_gaps(sample.labels(mixture))
        weights, *others = (part[present] for part in mixture)
        mixture = TMixtureParameters(weights / weights.sum(), *others)
        parameters = prior.map_mixture(sample.hard_statistics(labels, len(present)))
    return RefinedMixture(scaled_prior, labels, parameters, mixture)


def fit_t_mixture(search: MixtureSearch, parameters: MixtureParameters) -> TMixtureParameters:
    """Fits t distributions to a search's sample in all features by EM.

    There are as many as the Gaussians of `parameters` that it begins with, in the same order.
    """
    gaussians = MixtureParameters(*(np.asarray(part) for part in parameters))
    with THREADS.limit(limits=1):
        return _run_t_em(*_in_all_axes(search), gaussians)


def _in_all_axes(search: MixtureSearch) -> tuple[Sample, PartitionPrior]:
    has_more = search.features.shape != search.points.shape
    sample = search.settings.sample(search.features) if has_more else search.sample
    return sample, _prior_in_all_axes(search)


def _prior_in_all_axes(search: MixtureSearch, multiple: float = 1.0) -> PartitionPrior:
    variances = search.features[:, search.points.shape[1] :].var(axis=0)
    return search.prior.partition_prior(multiple).with_axes(variances)


def _run_t_em(
    sample: Sample, prior: PartitionPrior, parameters: MixtureParameters
) -> TMixtureParameters:
    mixture = TMixtureParameters(*parameters, np.full(len(parameters.means), INITIAL_DF))
    labels = None
    near = sample.assign(parameters)[1] if is_many(len(parameters.means)) else None
    for _ in range(_T_EM_ITERATIONS):
        previous = labels
        labels, statistics = sample.t_expectation(mixture, near)
        mixture = map_t_mixture(prior, statistics, mixture)
        if previous is not None and np.mean(previous != labels) < _T_EM_TOLERANCE:
            break
    return mixture


def label_by_leading_axes(search: MixtureSearch, parameters: MixtureParameters) -> np.ndarray:
    """Labels the sample's points `[n]` by the search's own axes alone.

    Clusters that all axes separate may overlap in the leading ones. There, overlapping hard
    clusters have less evidence than the search's own, so that the search would merge them again.
    The mixture is one in all features.
    """
    dim = search.points.shape[1]
    weights, means, covariances = (np.asarray(part) for part in parameters)
    marginals = MixtureParameters(weights, means[:, :dim], covariances[:, :dim, :dim])
    with THREADS.limit(limits=1):
        return search.sample.labels(marginals)
