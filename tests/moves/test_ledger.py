from __future__ import annotations

from tfdpm.moves.ledger import MoveCounts, Proposal


def test_counts_add_field_by_field():
    total = MoveCounts(4, 1, 6, 2, 0) + MoveCounts(3, 2, 1, 1, 5)
    assert total == MoveCounts(7, 3, 7, 3, 5)


def test_any_accepted_move_is_a_change():
    assert not MoveCounts(proposed_splits=3, proposed_merges=2).changed
    assert MoveCounts(accepted_splits=1).changed
    assert MoveCounts(accepted_merges=1).changed
    assert MoveCounts(removed=1).changed


def test_counts_of_proposals_tell_kinds_apart():
    made = [
        ("split", True),
        ("split", False),
        ("merge", False),
        ("merge", False),
        ("removal", True),
    ]
    proposals = [Proposal(kind, (0,), (1.0,), 0.0, accepted) for kind, accepted in made]
    assert MoveCounts.of(proposals) == MoveCounts(2, 1, 2, 0, 1)
    assert MoveCounts.of([]) == MoveCounts()
