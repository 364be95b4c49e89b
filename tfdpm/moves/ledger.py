"""Records of proposed moves: each one, and how many of each kind were accepted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class MoveCounts:
    """How many moves of each kind were proposed and accepted."""

    proposed_splits: int = 0
    accepted_splits: int = 0
    proposed_merges: int = 0
    accepted_merges: int = 0
    removed: int = 0

    def __add__(self, other: MoveCounts) -> MoveCounts:
        """Counts of both together."""
        return MoveCounts(*map(sum, zip(*map(dataclasses.astuple, (self, other)), strict=True)))

    @classmethod
    def of(cls, proposals: Iterable[Proposal]) -> MoveCounts:
        """Counts of single proposals; every removal counts as made."""
        kinds = Counter((each.kind, each.is_accepted) for each in proposals)
        splits, merges = (kinds["split", True], kinds["merge", True])
        refused = (kinds["split", False], kinds["merge", False])
        removed = kinds["removal", True]
        return cls(splits + refused[0], splits, merges + refused[1], merges, removed)

    @property
    def num_made(self) -> int:
        """Number of accepted moves of all kinds."""
        return self.accepted_splits + self.accepted_merges + self.removed

    @property
    def changed(self) -> bool:
        """Whether K's components are no longer the same."""
        return self.num_made > 0


class Proposal(NamedTuple):
    """One proposed move, as a ledger keeps it.

    Attributes:
        kind: `"split"`, `"merge"`, or `"removal"` of a component without points.
        components: the component, or the two of a merge, numbered as before the move.
        sizes: points of the two halves, or of the two components; weighted where points are.
        log_ratio: nats; the move is better than none where it is positive. Of a removal: 0.
        is_accepted: whether the move was made.
    """

    kind: str
    components: tuple[int, ...]
    sizes: tuple[float, ...]
    log_ratio: float
    is_accepted: bool
