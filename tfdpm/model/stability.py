"""K with error bars, and how firmly each point belongs to its cluster."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from tfdpm.mixture.parameters import MixtureParameters


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
