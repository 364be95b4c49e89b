"""Chains of moves from disturbed partitions, which tell how firm a search's result is."""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.prior import SearchPrior
from tfdpm.search.sample import Sample, sample_moments

__all__ = ["chain"]

_KEPT_SHARE = 0.8  # of the points
_CUT_SHARE = 0.5  # of the clusters, on average


def chain(search: MixtureSearch, labels: np.ndarray, seed: int) -> MixtureParameters:
    """Where moves lead from a disturbed partition of a random part of the sample.

    Four fifths of the points are kept; every cluster is cut in two at random with probability
    one half, so that each chain has to find its way back.

    Args:
        search: that has ended.
        labels: `[n]` clusters of its sample.
        seed: of the choice of points and of the disturbance.
    """
    generator = np.random.default_rng([seed, 4])
    count = max(2, int(_KEPT_SHARE * len(labels)))
    kept = np.sort(generator.permutation(len(labels))[:count])
    prior = SearchPrior(
        search.settings,
        count,
        search.points.shape[1],
        search.prior.extra_df,
        num_components=int(labels.max()) + 1,
        scale=search.prior.scale * count / len(labels),
    )
    part = MixtureSearch(search.points[kept], search.settings, seed, prior=prior)
    return part.run_from(_disturbed(part.sample, labels[kept], generator))[1]


def _disturbed(sample: Sample, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Labels after random cuts through the means of some clusters."""
    labels = np.unique(labels, return_inverse=True)[1].ravel()
    count = int(labels.max()) + 1
    means, _ = sample_moments(sample.hard_statistics(labels, count))
    directions = generator.standard_normal(means.shape)
    heights = np.einsum("nd,nd->n", sample.points - means[labels], directions[labels])
    is_cut = generator.uniform(size=count) < _CUT_SHARE
    return np.where(is_cut[labels] & (heights > 0), count + labels, labels)
