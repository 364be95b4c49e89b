"""Metropolis acceptance with the uniform numbers given by the caller."""

from __future__ import annotations

import numpy as np

from tfdpm import checks


def accept(log_ratios: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Accepts each proposal with probability `min(1, ratio)`: where `log u < log ratio`.

    Args:
        log_ratios: any shape, nats; `-inf` never, `+inf` always.
        uniforms: same shape, in `[0, 1]`. Ones give the greedy rule "only if it is better".

    Returns:
        Boolean array of the same shape.

    Raises:
        ValueError: if shapes differ or a uniform lies outside `[0, 1]`.
    """
    log_ratios, uniforms = np.asarray(log_ratios, float), np.asarray(uniforms, float)
    if log_ratios.shape != uniforms.shape:
        checks.fail("uniforms", f"shape {uniforms.shape}", f"shape {log_ratios.shape}")
    if uniforms.size and not (uniforms.min() >= 0.0 and uniforms.max() <= 1.0):
        checks.fail("uniforms", "values outside [0, 1]", "numbers from 0 to 1")
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
