"""How many moves were proposed and accepted, and what that says about the prior."""

from __future__ import annotations

import dataclasses


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
        return MoveCounts(
            *(
                a + b
                for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
            )
        )

    @property
    def changed(self) -> bool:
        """Whether K's components are no longer the same."""
        return bool(self.accepted_splits or self.accepted_merges or self.removed)

    def advice(self) -> str:
        """Which way the prior's scale would have to move, in words; empty if both kinds occur.

        [DeepDPM] supplement 7.4: a scale too small lets only splits happen, one too large none.
        """
        if not self.proposed_splits or not self.proposed_merges:
            return ""
        if self.accepted_splits == 0:
            return "no split was accepted: a smaller prior_scale would allow more clusters"
        if self.accepted_splits == self.proposed_splits and self.accepted_merges == 0:
            return "every split was accepted and no merge: a larger prior_scale would allow fewer"
        return ""
