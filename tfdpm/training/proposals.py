"""Which moves are made after an epoch: proposals decided on a state's statistics.

Returns transitions; carrying them out on networks and state is the model's business.
"""

from __future__ import annotations

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves import transition as transitions
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.moves.merge import accepted_merges, neighbour_pairs
from tfdpm.moves.split import accepted_splits
from tfdpm.moves.transition import Transition
from tfdpm.search.judge import judged_merges, judged_splits
from tfdpm.search.mixture_search import MixtureSearch, select_disjoint_pairs
from tfdpm.search.state import ModelState


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
    ledger: list[Proposal] | None = None,
) -> tuple[Transition, MoveCounts]:
    """Proposes to split every component into the given hard halves `[K, 2]`.

    Here and below each proposal is added to `ledger`, if there is one.
    """
    uniforms = _uniforms(state.num_components, config, generator)
    is_split, log_ratios = accepted_splits(
        halves,
        state.prior,
        dp_concentration=config.dp_concentration,
        uniforms=uniforms,
        min_points=config.min_subcluster_points,
        covariance=state.covariance,
    )
    _note_splits(ledger, halves.counts.numpy(), log_ratios, is_split)
    counts = MoveCounts(proposed_splits=len(is_split), accepted_splits=int(is_split.sum()))
    return transitions.of_splits(state.num_components, is_split), counts


def merge_move(
    state: ModelState,
    config: DeepDPMConfig,
    generator: np.random.Generator,
    ledger: list[Proposal] | None = None,
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
        covariance=state.covariance,
    )
    _note_merges(ledger, state.halves.counts.numpy().sum(axis=1), pairs, log_ratios, merged)
    counts = MoveCounts(proposed_merges=len(log_ratios), accepted_merges=len(merged))
    return transitions.of_merges(state.num_components, merged), counts


def judged_split_move(
    search: MixtureSearch,
    labels: np.ndarray,
    sides: np.ndarray,
    num_components: int,
    ledger: list[Proposal] | None = None,
) -> tuple[Transition, MoveCounts]:
    """Proposes to split every component into the networks' halves, judged by the search's rule.

    Args:
        search: holds the sample.
        labels, sides: `[n]` cluster and subcluster of each point of the sample.
        num_components: K.
        ledger: see `split_move`; sizes are points of the sample.
    """
    log_ratios = judged_splits(search.evidence, labels, sides, num_components)
    is_split = log_ratios > 0
    sizes = np.bincount(2 * labels + sides, minlength=2 * num_components).reshape(-1, 2)
    _note_splits(ledger, sizes, log_ratios, is_split)
    counts = MoveCounts(proposed_splits=num_components, accepted_splits=int(is_split.sum()))
    return transitions.of_splits(num_components, is_split), counts


def judged_merge_move(
    search: MixtureSearch,
    labels: np.ndarray,
    num_components: int,
    ledger: list[Proposal] | None = None,
) -> tuple[Transition, MoveCounts]:
    """Proposes to merge neighbouring components, judged by the search's rule."""
    pairs, gains = judged_merges(search.evidence, labels, num_components)
    chosen = select_disjoint_pairs(pairs, gains)
    sizes = np.bincount(labels, minlength=num_components)
    _note_merges(ledger, sizes, pairs, gains, chosen)
    counts = MoveCounts(proposed_merges=len(pairs), accepted_merges=len(chosen))
    return transitions.of_merges(num_components, chosen), counts


def removal_move(
    state: ModelState, ledger: list[Proposal] | None = None
) -> tuple[Transition, MoveCounts]:
    """Drops components that no point is assigned to."""
    counts = state.halves.counts.numpy().sum(axis=1)
    is_kept = counts > 0
    if not is_kept.any():
        is_kept[np.argmax(state.parameters.mixture_weights.numpy())] = True
    if ledger is not None:
        removed = np.flatnonzero(~is_kept)
        ledger.extend(Proposal("removal", (int(k),), (0.0,), 0.0, True) for k in removed)
    return (
        transitions.of_removals(state.num_components, is_kept),
        MoveCounts(removed=int((~is_kept).sum())),
    )


def _uniforms(count: int, config: DeepDPMConfig, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(size=count) if config.stochastic_acceptance else np.ones(count)


def _note_splits(ledger: list[Proposal] | None, sizes, log_ratios, is_split) -> None:
    if ledger is None:
        return
    ledger.extend(
        Proposal("split", (k,), tuple(map(float, sizes[k])), float(ratio), bool(accepted))
        for k, (ratio, accepted) in enumerate(zip(log_ratios, is_split, strict=True))
    )


def _note_merges(ledger: list[Proposal] | None, sizes, pairs, log_ratios, merged) -> None:
    if ledger is None:
        return
    accepted = {tuple(pair) for pair in np.asarray(merged, int).tolist()}
    for pair, ratio in zip(np.asarray(pairs, int).tolist(), log_ratios, strict=True):
        first, second = pair
        pair_sizes = (float(sizes[first]), float(sizes[second]))
        is_accepted = (first, second) in accepted
        ledger.append(Proposal("merge", (first, second), pair_sizes, float(ratio), is_accepted))
