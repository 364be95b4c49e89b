"""The mixture of a search in leading axes, seen in all of them.

Every axis costs each split a share of its evidence, so that K is sought where nearly all of the
variance is. Once K is known, an axis of little variance may still tell which cluster a point is of.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.model.partitions import refined
from tfdpm.model.sample import Sample
from tfdpm.model.search import MixtureSearch
from tfdpm.model.start import THREADS

__all__ = ["InAllAxes", "in_all_axes", "leading_labels"]

_EM_ITERATIONS, _SETTLED = 40, 1e-4


class InAllAxes(NamedTuple):
    """Clusters of the sample in all axes.

    Attributes:
        prior: for statistics of as many points as was asked for.
        labels: `[n]` of the sample.
        parameters: `[K]` components.
    """

    prior: niw.NIWParameters
    labels: np.ndarray
    parameters: MixtureParameters


def in_all_axes(search: MixtureSearch, labels: np.ndarray, multiple: float) -> InAllAxes:
    """EM from the clusters of a search in all features of its sample, K as it is.

    The prior is that of the search; of a further axis it expects the same share of the variance
    within clusters as of the leading ones on average.

    Args:
        search: that has ended; its first features are its points.
        labels: `[n]` that it found.
        multiple: number of points that the prior is to be for, over that of the sample.
    """
    features = search.features
    variances = features[:, search.points.shape[1] :].var(axis=0)
    sample = Sample(features)
    of_sample = search.partition_prior().with_axes(variances)
    with THREADS.limit(limits=1):
        statistics = sample.hard_statistics(labels, int(labels.max()) + 1)
        start = of_sample.map_mixture(statistics)
        found = refined(sample, of_sample, start, _EM_ITERATIONS, _SETTLED)
    prior = search.partition_prior(multiple).with_axes(variances).as_niw()
    return InAllAxes(prior, found.labels, found.parameters)


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
