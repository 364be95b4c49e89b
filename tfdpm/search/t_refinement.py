"""The mixture of a search in leading axes, seen in all of them and with tails.

Every axis costs each split a share of its evidence, so that K is sought where nearly all of the
variance is. Once K is known, an axis of little variance may still tell which cluster a point is of.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.t_mixture import FIRST_DF, map_t_mixture
from tfdpm.search.kmeans import THREADS
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.partitions import refined
from tfdpm.search.sample import Sample

__all__ = ["InAllAxes", "in_all_axes", "leading_labels", "with_tails"]

_EM_ITERATIONS, _SETTLED = 40, 1e-4
_T_EM_ITERATIONS, _T_SETTLED = 60, 3e-5  # tails are found slowly


class InAllAxes(NamedTuple):
    """Clusters of the sample in all axes.

    Attributes:
        prior: for statistics of as many points as was asked for.
        labels: `[n]` of the sample.
        parameters: `[K]` Gaussian components.
        t_mixture: `[K]` t distributions by which the labels are, if they were asked for.
    """

    prior: niw.NIWParameters
    labels: np.ndarray
    parameters: MixtureParameters
    t_mixture: TMixtureParameters | None


def in_all_axes(
    search: MixtureSearch, labels: np.ndarray, multiple: float, has_tails: bool
) -> InAllAxes:
    """EM from the clusters of a search in all features of its sample, K as it is.

    The prior is that of the search; of a further axis it expects the same share of the variance
    within clusters as of the leading ones on average.

    Args:
        search: that has ended; its first features are its points.
        labels: `[n]` that it found.
        multiple: number of points that the prior is to be for, over that of the sample.
        has_tails: whether components are t distributions. A few points far out make a Gaussian so
            wide that it claims its neighbours' points.
    """
    sample, prior = _sample_in_all_axes(search), _prior_in_all_axes(search)
    with THREADS.limit(limits=1):
        statistics = sample.hard_statistics(labels, int(labels.max()) + 1)
        start, of_all = prior.map_mixture(statistics), _prior_in_all_axes(search, multiple)
        if not has_tails:
            found = refined(sample, prior, start, _EM_ITERATIONS, _SETTLED)
            return InAllAxes(of_all.as_niw(), found.labels, found.parameters, None)
        mixture = _with_tails(sample, prior, start)
        present, labels = np.unique(sample.t_labels(mixture), return_inverse=True)
        labels = labels.ravel()
        weights, *others = (part[present] for part in mixture)
        mixture = TMixtureParameters(weights / weights.sum(), *others)
        parameters = prior.map_mixture(sample.hard_statistics(labels, len(present)))
    return InAllAxes(of_all.as_niw(), labels, parameters, mixture)


def with_tails(search: MixtureSearch, parameters: MixtureParameters) -> TMixtureParameters:
    """The t distributions that EM leads to from a mixture in all features of a search's sample.

    Args:
        search: with the sample.
        parameters: K components; there are as many t distributions, in the same order.
    """
    gaussians = MixtureParameters(*(np.asarray(part) for part in parameters))
    with THREADS.limit(limits=1):
        return _with_tails(_sample_in_all_axes(search), _prior_in_all_axes(search), gaussians)


def _sample_in_all_axes(search: MixtureSearch) -> Sample:
    has_more = search.features.shape != search.points.shape
    return Sample(search.features) if has_more else search.sample


def _prior_in_all_axes(search: MixtureSearch, multiple: float = 1.0) -> PartitionPrior:
    variances = search.features[:, search.points.shape[1] :].var(axis=0)
    return search.partition_prior(multiple).with_axes(variances)


def _with_tails(
    sample: Sample, prior: PartitionPrior, parameters: MixtureParameters
) -> TMixtureParameters:
    found = TMixtureParameters(*parameters, np.full(len(parameters.means), FIRST_DF))
    labels = None
    for _ in range(_T_EM_ITERATIONS):
        previous = labels
        labels, statistics = sample.t_expectation(found)
        found = map_t_mixture(prior, statistics, found)
        if previous is not None and np.mean(previous != labels) < _T_SETTLED:
            break
    return found


def leading_labels(search: MixtureSearch, parameters: MixtureParameters) -> np.ndarray:
    """The likeliest component `[n]` of the sample's points by the search's own axes alone.

    Clusters that are told apart by all axes overlap in the leading ones, where hard clusters that
    overlap have less evidence than those that the search cuts; it would merge what it has found.

    Args:
        search: with the points.
        parameters: in all features.
    """
    dim = search.points.shape[1]
    weights, means, covariances = (np.asarray(part) for part in parameters)
    marginals = MixtureParameters(weights, means[:, :dim], covariances[:, :dim, :dim])
    with THREADS.limit(limits=1):
        return search.sample.labels(marginals)
