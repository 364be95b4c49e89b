"""Which moves are made after an epoch: proposals decided on a state's statistics.

Returns transitions; carrying them out on networks and state is the model's business.
"""

from __future__ import annotations

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.model.search import MixtureSearch, disjoint_best
from tfdpm.model.state import ModelState
from tfdpm.proposals import transition as transitions
from tfdpm.proposals.merge import accepted_merges, neighbour_pairs
from tfdpm.proposals.split import accepted_splits
from tfdpm.proposals.tally import MoveCounts
from tfdpm.proposals.transition import Transition


def kinds_due(config: DeepDPMConfig, epoch: int) -> tuple[bool, bool]:
    """Whether splits and whether merges are proposed after `epoch` (0-based)."""
    since_first = epoch - config.first_move_epoch
    if since_first < 0 or since_first % config.move_interval_epochs:
        return False, False
    turn = since_first // config.move_interval_epochs
    if not config.alternate_moves:
        return config.proposes_splits, config.proposes_merges
    return config.proposes_splits and turn % 2 == 0, config.proposes_merges and turn % 2 == 1


def split_move(
    state: ModelState,
    halves: SufficientStatistics,
    config: DeepDPMConfig,
    generator: np.random.Generator,
) -> tuple[Transition, MoveCounts]:
    """Proposes to split every component into the given hard halves `[K, 2]`."""
    uniforms = _uniforms(state.num_components, config, generator)
    is_split, _ = accepted_splits(
        halves,
        state.prior,
        dp_concentration=config.dp_concentration,
        uniforms=uniforms,
        min_points=config.min_subcluster_points,
    )
    counts = MoveCounts(proposed_splits=len(is_split), accepted_splits=int(is_split.sum()))
    return transitions.of_splits(state.num_components, is_split), counts


def merge_move(
    state: ModelState, config: DeepDPMConfig, generator: np.random.Generator
) -> tuple[Transition, MoveCounts]:
    """Proposes to merge every component with its nearest neighbours."""
    pairs = neighbour_pairs(state.parameters.means.numpy(), config.num_neighbours)
    merged, log_ratios = accepted_merges(
        state.halves.total(axis=1),
        state.prior,
        pairs,
        dp_concentration=config.dp_concentration,
        uniforms=_uniforms(len(pairs), config, generator),
        order=config.merge_order,
    )
    counts = MoveCounts(proposed_merges=len(log_ratios), accepted_merges=len(merged))
    return transitions.of_merges(state.num_components, merged), counts


def judged_split_move(
    search: MixtureSearch, labels: np.ndarray, sides: np.ndarray, num_components: int
) -> tuple[Transition, MoveCounts]:
    """Proposes to split every component into the networks' halves, judged by the search's rule.

    Args:
        search: holds the sample.
        labels, sides: `[n]` cluster and subcluster of each point of the sample.
        num_components: K.
    """
    is_split = search.judge_splits(labels, sides, num_components) > 0
    counts = MoveCounts(proposed_splits=num_components, accepted_splits=int(is_split.sum()))
    return transitions.of_splits(num_components, is_split), counts


def judged_merge_move(
    search: MixtureSearch, labels: np.ndarray, num_components: int
) -> tuple[Transition, MoveCounts]:
    """Proposes to merge neighbouring components, judged by the search's rule."""
    pairs, gains = search.judge_merges(labels, num_components)
    chosen = disjoint_best(pairs, gains)
    counts = MoveCounts(proposed_merges=len(pairs), accepted_merges=len(chosen))
    return transitions.of_merges(num_components, chosen), counts


def removal_move(state: ModelState) -> tuple[Transition, MoveCounts]:
    """Drops components that no point is assigned to."""
    counts = state.halves.counts.numpy().sum(axis=1)
    is_kept = counts > 0
    if not is_kept.any():
        is_kept[np.argmax(state.parameters.mixture_weights.numpy())] = True
    return (
        transitions.of_removals(state.num_components, is_kept),
        MoveCounts(removed=int((~is_kept).sum())),
    )


def _uniforms(count: int, config: DeepDPMConfig, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(size=count) if config.stochastic_acceptance else np.ones(count)
