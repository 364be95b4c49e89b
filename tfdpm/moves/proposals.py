"""Proposals of moves: what a judge says, which are accepted, and the transition that follows."""

from __future__ import annotations

import numpy as np

from tfdpm import checks
from tfdpm.moves import transition as transitions
from tfdpm.moves.hastings import Judge
from tfdpm.moves.ledger import Proposal
from tfdpm.moves.transition import Transition


def accept(log_ratios: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
    """Whether each proposal `[P]` is accepted, with probability `min(1, ratio)`.

    Args:
        log_ratios: `[P]` nats; `-inf` never, `+inf` always.
        generator: source of uniform numbers u, to accept where `log u < log ratio`; `None` accepts
            what is better than no move.
    """
    count = len(log_ratios)
    uniforms = np.ones(count) if generator is None else generator.uniform(size=count)
    with np.errstate(divide="ignore"):
        is_accepted: np.ndarray = np.log(uniforms) < log_ratios
    return is_accepted


def choose_disjoint(
    pairs: np.ndarray, log_ratios: np.ndarray, is_accepted: np.ndarray, order: str = "best_first"
) -> np.ndarray:
    """Accepted ones of `pairs [P, 2]` of which no two share a component, in the order of visits.

    The order `"best_first"` goes through candidates by falling log ratio, so that the best of
    several overlapping merges wins; `"sequential"` in the order of `pairs`.
    """
    checks.one_of(order, "order", ("best_first", "sequential"))
    visits = np.arange(len(pairs))
    if order == "best_first":
        visits = np.argsort(-np.asarray(log_ratios), kind="stable")
    taken: set[int] = set()
    chosen = []
    for first, second in (pairs[visit] for visit in visits if is_accepted[visit]):
        if first not in taken and second not in taken:
            taken.update((first, second))
            chosen.append((first, second))
    return np.asarray(chosen, int).reshape(-1, 2)


def propose_splits(
    judge: Judge, generator: np.random.Generator | None = None
) -> tuple[Transition, tuple[Proposal, ...]]:
    """Proposes to split every component into its halves, [DeepDPM] section 4.2.

    Each component is decided on its own; `generator` is as for `accept`. Returns the transition,
    and a record of each proposal.
    """
    ratios = judge.split_ratios()
    is_split = accept(ratios, generator)
    proposals = tuple(
        Proposal("split", (k,), tuple(map(float, judge.sizes[k])), float(ratio), bool(accepted))
        for k, (ratio, accepted) in enumerate(zip(ratios, is_split, strict=True))
    )
    return transitions.of_splits(len(ratios), is_split), proposals


def propose_merges(
    judge: Judge, generator: np.random.Generator | None = None, order: str = "best_first"
) -> tuple[Transition, tuple[Proposal, ...]]:
    """Proposes to merge neighbouring components; none merges twice, [DeepDPM] supplement 5.

    `generator` is as for `accept`, `order` as for `choose_disjoint`. Returns the transition, and a
    record of each proposal.
    """
    pairs, ratios = judge.merge_ratios()
    is_accepted = accept(ratios, generator)
    merged = choose_disjoint(pairs, ratios, is_accepted, order)
    made = merged.tolist()
    sizes = judge.sizes.sum(axis=1).astype(float)
    proposals = tuple(
        Proposal("merge", tuple(pair), tuple(sizes[pair].tolist()), float(ratio), pair in made)
        for pair, ratio in zip(np.asarray(pairs, int).tolist(), ratios, strict=True)
    )
    return transitions.of_merges(len(sizes), merged), proposals


def propose_removals(
    counts: np.ndarray, mixture_weights: np.ndarray
) -> tuple[Transition, tuple[Proposal, ...]]:
    """Removes components whose `counts [K]` are zero; of none with points, the heaviest stays.

    Returns the transition, and a record of each removal.
    """
    is_kept = np.asarray(counts) > 0
    if not is_kept.any():
        is_kept[np.argmax(mixture_weights)] = True
    proposals = tuple(
        Proposal("removal", (int(k),), (0.0,), 0.0, True) for k in np.flatnonzero(~is_kept)
    )
    return transitions.of_removals(len(is_kept), is_kept), proposals
