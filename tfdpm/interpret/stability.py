"""K with error bars, and how firmly each point belongs to its cluster."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import feature_moments
from tfdpm.interpret.chains import chain
from tfdpm.interpret.fitted import Fitted
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.initialization import resume_search
from tfdpm.search.mixture_search import MixtureSearch

_SLICE_ROWS = 16_384


class Stability(NamedTuple):
    """What several split/merge chains agree on.

    Attributes:
        k_posterior: share of the chains that ended with each K, by K.
        scores: `[N]` in `[0, 1]`: how much the cluster of each point and the cluster that a chain
            puts it in share their points (Jaccard index), on average over the chains. Near 1: the
            point is always found with the same companions.
    """

    k_posterior: dict[int, float]
    scores: np.ndarray


def k_posterior(mixtures: list[MixtureParameters]) -> dict[int, float]:
    """Share of the mixtures with each number of components, by number."""
    counts = Counter(mixture.num_components for mixture in mixtures)
    return {count: counts[count] / len(mixtures) for count in sorted(counts)}


def co_assignment(labels: np.ndarray, chain_labels: np.ndarray) -> np.ndarray:
    """Jaccard index `[N]` of each point's cluster in one partition with that in another.

    Args:
        labels, chain_labels: `[N]` non-negative integers.
    """
    table = np.zeros((labels.max() + 1, chain_labels.max() + 1))
    np.add.at(table, (labels, chain_labels), 1.0)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return (table / np.maximum(union, 1.0))[labels, chain_labels]


def measure_stability(
    fitted: Fitted, features: np.ndarray, config: DeepDPMConfig, seeds: tuple[int, int], count: int
) -> Stability:
    """Several chains of moves on parts of some points, and what they agree on.

    Args:
        fitted: the fit.
        features: `[N, D]` float32 features of the points.
        config: settings of the fit.
        seeds: random seed of the fit, and of the chains.
        count: number of chains.
    """
    search = _search_on(fitted, features, config, seeds[0])
    mixtures = run_chains(fitted, search, count, seeds[1])
    labels = _labels_of(fitted, features)
    scores, leading = np.zeros(len(features)), features[:, : search.points.shape[1]]
    for mixture in mixtures:
        density = LogJoint(mixture)
        chain_labels = np.concatenate(
            [np.argmax(density(piece).numpy(), axis=1) for piece in _slices(leading)]
        )
        scores += co_assignment(labels, chain_labels) / count
    return Stability(k_posterior(mixtures), scores)


def run_chains(
    fitted: Fitted, search: MixtureSearch, count: int, seed: int
) -> list[MixtureParameters]:
    """Mixtures that `count` chains of moves end with, from the clusters of a search's sample."""
    labels = _labels_of(fitted, search.features)
    return [chain(search, labels, seed + index) for index in range(count)]


def _search_on(
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


def _labels_of(fitted: Fitted, features: np.ndarray) -> np.ndarray:
    count = fitted.state.num_components
    pieces = [
        np.argmax(fitted.networks.responsibilities(piece, count), axis=1)
        for piece in _slices(features)
    ]
    return np.concatenate(pieces)


def _slices(features: np.ndarray):
    """Features `[B, D]` float32, slice by slice."""
    for start in range(0, len(features), _SLICE_ROWS):
        yield tf.constant(features[start : start + _SLICE_ROWS], tf.float32)
