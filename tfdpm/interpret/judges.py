"""Who judges the moves of a fit: the search on its sample, or the statistics of all points."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.fitted import Fitted
from tfdpm.moves.hastings import HastingsJudge, Judge
from tfdpm.search.judge import SampleJudge
from tfdpm.search.t_refinement import label_by_leading_axes


def hastings_judge(
    fitted: Fitted, config: DeepDPMConfig, min_points: float = 0.0, joins_empty: bool = True
) -> HastingsJudge:
    """The judge by statistics of all points, which refuses halves of `min_points` or fewer.

    Components without points merge with any other if it `joins_empty` ones, else with none.
    """
    state = fitted.state
    return HastingsJudge(
        state.halves,
        state.prior,
        config.dp_concentration,
        state.parameters.means.numpy(),
        state.covariance,
        config.num_neighbours,
        min_points,
        joins_empty,
        state.categories,
    )


def split_judge(fitted: Fitted, config: DeepDPMConfig, min_points: float = 0.0) -> Judge:
    """The judge of splits into the networks' halves."""
    search = fitted.result.search
    if search is None:
        return hastings_judge(fitted, config, min_points)
    features = tf.constant(search.features, tf.float32)
    labels, sides = fitted.networks.labels_and_sides(features, fitted.state)
    return SampleJudge(search.evidence, fitted.state.num_components, labels, sides)


def merge_judge(
    fitted: Fitted,
    config: DeepDPMConfig,
    labels: np.ndarray | None = None,
    joins_empty: bool = True,
) -> Judge:
    """The judge of merges; `labels [n]` are those of the search's sample, where they are known."""
    search, state = fitted.result.search, fitted.state
    if search is None:
        return hastings_judge(fitted, config, joins_empty=joins_empty)
    if search.features.shape != search.points.shape:
        labels = label_by_leading_axes(search, state.parameters)
    elif labels is None:
        features = tf.constant(search.features, tf.float32)
        labels, _ = fitted.networks.labels_and_sides(features, state)
    return SampleJudge(search.evidence, state.num_components, labels)
