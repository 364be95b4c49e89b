"""K with error bars, and how firmly each point belongs to its cluster."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import feature_moments
from tfdpm.interpret.fitted import Fitted, slices
from tfdpm.mixture.categories import density_of
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.initialization import resume_search
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.points.groups import sample_moments
from tfdpm.search.points.sample import Sample
from tfdpm.search.prior import SearchPrior
from tfdpm.shapes.valleys import group_components

_KEPT_SHARE = 0.8  # of the points, in a chain
_CUT_SHARE = 0.5  # of the clusters, on average


class Stability(NamedTuple):
    """What several split/merge chains agree on.

    A score says how much the cluster of a point and the cluster that a chain puts it in share their
    points (Jaccard index), on average over the chains. Near 1, the point is always found with the
    same companions.
    """

    k_posterior: dict[int, float]  # share of the chains that ended with each K, by K
    scores: np.ndarray  # [N], from 0 to 1


class Chain(NamedTuple):
    """Where one chain ended."""

    mixture: MixtureParameters
    clusters: np.ndarray  # [K], cluster of each of its components


def k_posterior(chains: list[Chain]) -> dict[int, float]:
    """Share of the chains with each number of clusters, by number."""
    counts = Counter(int(each.clusters.max()) + 1 for each in chains)
    return {count: counts[count] / len(chains) for count in sorted(counts)}


def co_assignment(labels: np.ndarray, chain_labels: np.ndarray) -> np.ndarray:
    """Jaccard index `[N]` of each point's cluster in one partition `[N]` with that in another."""
    table = np.zeros((labels.max() + 1, chain_labels.max() + 1))
    np.add.at(table, (labels, chain_labels), 1.0)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return (table / np.maximum(union, 1.0))[labels, chain_labels]


def measure_stability(
    fitted: Fitted, features: np.ndarray, config: DeepDPMConfig, seeds: tuple[int, int], count: int
) -> Stability:
    """What `count` chains of moves agree on, of features `[N, D]` float32.

    `seeds` are those of the fit and of the chains.
    """
    search = search_on(fitted, features, config, seeds[0])
    chains = run_chains(fitted, search, count, seeds[1])
    labels = fitted.clusters_of(slices(features))
    scores, leading = np.zeros(len(features)), features[:, : search.points.shape[1]]
    for each in chains:
        density = LogJoint(density_of(each.mixture, search.settings.categories))
        components = np.concatenate(
            [np.argmax(density(piece).numpy(), axis=1) for piece in slices(leading)]
        )
        scores += co_assignment(labels, each.clusters[components]) / count
    return Stability(k_posterior(chains), scores)


def run_chains(fitted: Fitted, search: MixtureSearch, count: int, seed: int) -> list[Chain]:
    """Where `count` chains of moves end, from the components of a search's sample.

    Their components are joined into clusters where those of the fit are.
    """
    labels = fitted.labels_of(slices(search.features))
    found = []
    for index in range(count):
        mixture = chain(search, labels, seed + index)
        components = mixture.num_components
        clusters = np.arange(components)
        if fitted.result.groups is not None:
            own = search.sample.labels(mixture)
            clusters = group_components(search.points, own, components, seed=seed + index).clusters
        found.append(Chain(mixture, clusters))
    return found


def search_on(
    fitted: Fitted, features: np.ndarray, config: DeepDPMConfig, seed: int
) -> MixtureSearch:
    """A search over (a sample of) features that judges as the fit did."""
    if len(features) > config.max_start_points:
        generator = np.random.default_rng([seed, 5])
        chosen = generator.choice(len(features), config.max_start_points, replace=False)
        features = features[chosen]
    moments = feature_moments(features)
    # The prior stands for all points of the fit, however many of them are looked at here.
    moments = moments._replace(num_points=float(np.sum(fitted.state.soft.counts)))
    return resume_search(features, moments, fitted.state, config, seed)


def chain(search: MixtureSearch, labels: np.ndarray, seed: int) -> MixtureParameters:
    """Where moves lead from a disturbed partition of a random part of the sample.

    Four fifths of the points are kept; every cluster is cut in two at random with probability
    one half, so that each chain has to find its way back.
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
