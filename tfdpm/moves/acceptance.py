"""Metropolis acceptance of proposals, each on its own or none sharing a component."""

from __future__ import annotations

import numpy as np

from tfdpm import checks


def accept(log_ratios: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
    """Accepts each proposal with probability `min(1, ratio)`: where `log u < log ratio`.

    Args:
        log_ratios: `[P]` nats; `-inf` never, `+inf` always.
        generator: source of the uniform numbers u; `None` accepts what is better than no move.

    Returns:
        `[P]` bool.
    """
    count = len(log_ratios)
    uniforms = np.ones(count) if generator is None else generator.uniform(size=count)
    with np.errstate(divide="ignore"):
        is_accepted: np.ndarray = np.log(uniforms) < log_ratios
    return is_accepted


def choose_disjoint(
    pairs: np.ndarray, log_ratios: np.ndarray, is_accepted: np.ndarray, order: str = "best_first"
) -> np.ndarray:
    """Accepted pairs of which no two share a component.

    Args:
        pairs: `[P, 2]` candidates.
        log_ratios: `[P]` nats.
        is_accepted: `[P]` bool.
        order: `"best_first"` goes through candidates by falling log ratio, so that the best of
            several overlapping merges wins; `"sequential"` in the order of `pairs`.

    Returns:
        `[M, 2]` int, in the order of the visits.
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
