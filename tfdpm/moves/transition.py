"""The one table "new component <- old component(s)" that a move leaves behind.

Mixture, network units, optimiser slots and labels are all indexed by it; nothing here decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfdpm import checks

WHOLE = -1  # in `half`: the new component is not one half of a split


class Transition(NamedTuple):
    """New components in terms of old ones.

    Attributes:
        parents: `[K_new, 2]` int. The old components that make up each new one; both entries are
            equal unless the new component is a merge.
        half: `[K_new]` int: `WHOLE`, or 0 / 1, which subcomponent of the parent it is.
    """

    parents: np.ndarray
    half: np.ndarray

    @property
    def num_components(self) -> int:
        """Number of components after the move."""
        return len(self.half)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes, if there were as many components before."""
        order = np.arange(self.num_components)
        return bool((self.half == WHOLE).all() and (self.parents == order[:, None]).all())

    @property
    def is_merged(self) -> np.ndarray:
        """`[K_new]` bool: whether the component joins two old ones."""
        return np.asarray(self.parents[:, 0] != self.parents[:, 1])

    @property
    def is_new(self) -> np.ndarray:
        """`[K_new]` bool: whether the component was born in this move, by a split or a merge."""
        return np.asarray((self.half != WHOLE) | self.is_merged)

    def best_parents(self, merits: np.ndarray) -> np.ndarray:
        """`[K_new]` int: of each new component the old one with the largest of `merits [K_old]`."""
        best = np.argmax(merits[self.parents], axis=1)
        return np.asarray(self.parents[np.arange(len(best)), best])


def of_splits(num_components: int, is_split: np.ndarray) -> Transition:
    """Every flagged component, of K before the move, is replaced in place by its two halves."""
    is_split = np.asarray(is_split, bool)
    if is_split.shape != (num_components,):
        checks.fail("is_split", f"shape {is_split.shape}", f"shape ({num_components},)")
    parents = np.repeat(np.arange(num_components), np.where(is_split, 2, 1))
    half = np.concatenate([[0, 1] if split else [WHOLE] for split in is_split]).astype(int)
    return Transition(np.stack([parents, parents], axis=1), half)


def of_merges(num_components: int, pairs: np.ndarray) -> Transition:
    """Every pair of `[M, 2]` becomes one component at the place of its first member.

    Raises:
        ValueError: if a component stands in two pairs.
    """
    pairs = np.asarray(pairs, int).reshape(-1, 2)
    if len(np.unique(pairs)) != pairs.size:
        checks.fail("pairs", pairs.tolist(), "disjoint pairs of different components")
    partner = np.arange(num_components)
    partner[pairs[:, 0]] = pairs[:, 1]
    survivors = np.setdiff1d(np.arange(num_components), pairs[:, 1])
    return _of_wholes(survivors, partner[survivors])


def of_removals(num_components: int, is_kept: np.ndarray) -> Transition:
    """Components that are not kept disappear; their points go to whoever claims them next."""
    is_kept = np.asarray(is_kept, bool)
    if is_kept.shape != (num_components,) or not is_kept.any():
        checks.fail("is_kept", is_kept.tolist(), f"{num_components} flags, at least one true")
    survivors = np.flatnonzero(is_kept)
    return of_order(survivors)


def of_order(order: np.ndarray) -> Transition:
    """Components are numbered anew: `order [K]` are the old numbers of those that stay."""
    return _of_wholes(order, order)


def _of_wholes(first: np.ndarray, second: np.ndarray) -> Transition:
    """New components, none of them one half of a split, from two old ones each or the same."""
    return Transition(np.stack([first, second], axis=1), np.full(len(first), WHOLE))
