"""K with error bars, and how firmly each point belongs to its cluster."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.features.preprocessing import feature_moments
from tfdpm.interpret.chains import chain
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


class StabilityMethods:
    """The part of `DeepDPM` that tells how sure it is."""

    def stability(self, x, *, num_chains: int = 8, seed: int = 0) -> Stability:
        """K with error bars, and how firmly each point belongs to its cluster.

        Several chains of splits and merges start from the trained clusters, disturbed, each on
        its own random part of the data, and end where nothing changes any more.

        Args:
            x: points, as for `predict`; those of the fit, or others like them.
            num_chains: at least 1.
            seed: of the chains.
        """
        num_chains = checks.integer(num_chains, "num_chains", minimum=1)
        seed = checks.integer(seed, "seed", minimum=0)
        features = self.embed(x)
        search = self._search_on(features)
        mixtures = self._chains(search, num_chains, seed)
        labels = self._labels_of(features)
        scores, leading = np.zeros(len(features)), features[:, : search.points.shape[1]]
        for mixture in mixtures:
            density = LogJoint(mixture)
            chain_labels = np.concatenate(
                [np.argmax(density(piece).numpy(), axis=1) for piece in _slices(leading)]
            )
            scores += co_assignment(labels, chain_labels) / num_chains
        return Stability(k_posterior(mixtures), scores)

    def __dir__(self) -> list[str]:
        """All names but that of the one value that takes long: Keras reads all of them to save."""
        return [name for name in super().__dir__() if name != "k_posterior_"]

    @property
    def k_posterior_(self) -> dict[int, float]:
        """Share of 8 split/merge chains on the sample of the fit that ended with each K."""
        if self._k_posterior is None:
            self._fitted()
            if self._search is None:
                checks.fail(
                    "k_posterior_",
                    "a model without the points of its fit",
                    "a call of stability(x).k_posterior",
                    AttributeError,
                )
            self._k_posterior = k_posterior(self._chains(self._search, 8, self.seed))
        return self._k_posterior

    def _chains(self, search: MixtureSearch, count: int, seed: int) -> list[MixtureParameters]:
        labels = self._labels_of(search.features)
        return [chain(search, labels, seed + index) for index in range(count)]

    def _search_on(self, features: np.ndarray) -> MixtureSearch:
        """A search over (a sample of) features that judges as the fit did."""
        if len(features) > self.config.max_start_points:
            generator = np.random.default_rng([self.seed, 5])
            chosen = generator.choice(len(features), self.config.max_start_points, replace=False)
            features = features[chosen]
        moments = feature_moments(features)
        # The prior stands for all points of the fit, however many of them are looked at here.
        moments = moments._replace(num_points=float(np.sum(self._fitted().soft.counts)))
        return resume_search(features, moments, self._state, self.config, self.seed)

    def _labels_of(self, features: np.ndarray) -> np.ndarray:
        pieces = [np.argmax(self._infer(piece), axis=1) for piece in _slices(features)]
        return np.concatenate(pieces)


def _slices(features: np.ndarray):
    """Features `[B, D]` float32, slice by slice."""
    for start in range(0, len(features), _SLICE_ROWS):
        yield tf.constant(features[start : start + _SLICE_ROWS], tf.float32)
