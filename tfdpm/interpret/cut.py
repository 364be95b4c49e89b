"""A fit's clusters cut at another level: fewer of them, or its components in halves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.fitted import Fitted
from tfdpm.interpret.hierarchy import halve_clusters, joined_to, merged_to
from tfdpm.interpret.judges import hastings_judge


def coarser_clusters(fitted: Fitted, config: DeepDPMConfig, n_clusters: int) -> np.ndarray:
    """Clusters `[K]` of the components when there are `n_clusters`, at most K."""
    groups, statistics = fitted.result.groups, fitted.state.halves.total(axis=1)
    terms_of = hastings_judge(fitted, config).terms
    if groups is None:
        return merged_to(n_clusters, terms_of, statistics)
    return joined_to(n_clusters, groups, terms_of, statistics)


def finer_labels(
    fitted: Fitted, pieces: Iterable[np.ndarray], log_ratios: np.ndarray, n_clusters: int
) -> np.ndarray:
    """Labels `[N]` int64 of features, in pieces, when more than K clusters are wanted.

    The components with the largest log ratios `[K]` of their splits fall into halves.
    """
    state, found = fitted.state, []
    for features in pieces:
        labels = fitted.labels_of([features]).astype(np.int64)
        sides = fitted.networks.labels_and_sides(tf.constant(features), state)[1]
        count = n_clusters - state.num_components
        found.append(halve_clusters(labels, sides, log_ratios, count))
    return np.concatenate(found)
