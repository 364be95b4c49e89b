from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import samples
from tests.reference.judges import log_merge_ratio, log_split_ratio
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves.transition import WHOLE, Transition, of_merges, of_removals, of_splits


def test_identity_changes_nothing():
    move = of_removals(3, [True] * 3)
    np.testing.assert_array_equal(move.parents, [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(move.half, [WHOLE] * 3)
    assert move.is_identity and move.num_components == 3
    assert not move.is_new.any() and not move.is_merged.any()


@pytest.mark.parametrize(
    "move",
    [
        of_splits(3, [False, False, False]),
        of_merges(3, np.zeros((0, 2), int)),
        of_removals(3, [True, True, True]),
    ],
    ids=["splits", "merges", "removals"],
)
def test_moves_of_nothing_are_the_identity(move):
    assert move.is_identity
    np.testing.assert_array_equal(move.parents, of_removals(3, [True] * 3).parents)


def test_split_components_are_replaced_in_place_by_their_halves():
    move = of_splits(4, [False, True, False, True])
    np.testing.assert_array_equal(move.parents[:, 0], [0, 1, 1, 2, 3, 3])
    np.testing.assert_array_equal(move.parents[:, 1], move.parents[:, 0])
    np.testing.assert_array_equal(move.half, [WHOLE, 0, 1, WHOLE, 0, 1])
    np.testing.assert_array_equal(move.is_new, [False, True, True, False, True, True])
    assert move.num_components == 6 and not move.is_merged.any() and not move.is_identity


def test_a_merge_stands_where_its_first_member_stood():
    move = of_merges(5, [[1, 3], [4, 0]])
    np.testing.assert_array_equal(move.parents, [[1, 3], [2, 2], [4, 0]])
    np.testing.assert_array_equal(move.half, [WHOLE] * 3)
    np.testing.assert_array_equal(move.is_merged, [True, False, True])
    np.testing.assert_array_equal(move.is_new, [True, False, True])
    assert move.num_components == 3 and not move.is_identity


def test_removed_components_leave_the_others_as_they_were():
    move = of_removals(4, [True, False, True, True])
    np.testing.assert_array_equal(move.parents, [[0, 0], [2, 2], [3, 3]])
    assert not move.is_new.any() and not move.is_identity


def test_a_reordering_is_not_the_identity():
    assert not Transition(np.array([[1, 1], [0, 0]]), np.full(2, WHOLE)).is_identity
    assert not Transition(np.array([[0, 0], [0, 0]]), np.array([0, 1])).is_identity


@pytest.mark.parametrize("seed", range(5))
def test_every_old_component_is_accounted_for_once(seed):
    rng = np.random.default_rng(seed)
    is_split = rng.uniform(size=8) < 0.4
    split = of_splits(8, is_split)
    for k in range(8):
        halves = split.half[split.parents[:, 0] == k].tolist()
        assert halves == ([0, 1] if is_split[k] else [WHOLE])
    merge = of_merges(8, rng.permutation(8)[:6].reshape(3, 2))
    old = [set(pair) for pair in merge.parents.tolist()]
    assert sorted(k for members in old for k in members) == list(range(8))


def apply(move, whole, halves):
    """Statistics after a move, row by row as the table's words say."""
    rows = []
    for (first, second), half in zip(move.parents, move.half, strict=True):
        if half != WHOLE:
            rows.append(SufficientStatistics(*(part[first, half] for part in halves)))
        elif first == second:
            rows.append(whole.select(first))
        else:
            rows.append(whole.select(first).plus(whole.select(second)))
    return SufficientStatistics(*(tf.stack(parts) for parts in zip(*rows, strict=True)))


def test_ratios_of_accepted_moves_add_up_to_the_change_of_the_log_joint():
    points, prior = samples.points(120, 2), niw.niw_parameters(*samples.prior(2))
    flat = accumulate_hard(points, np.arange(120) % 8, 8)
    halves = SufficientStatistics(*(tf.reshape(part, [4, 2, *part.shape[1:]]) for part in flat))
    whole = halves.total(axis=1)

    def log_joint(statistics):
        return evidence.log_partition_terms(prior, statistics, 2.0).sum()

    split_ratios = log_split_ratio(
        halves.select(0, axis=1), halves.select(1, axis=1), prior, dp_concentration=2.0
    )
    after_split = apply(of_splits(4, [True, False, True, False]), whole, halves)
    np.testing.assert_allclose(
        log_joint(after_split) - log_joint(whole), split_ratios[0] + split_ratios[2], rtol=1e-9
    )
    merge_ratio = log_merge_ratio(whole.select(3), whole.select(1), prior, dp_concentration=2.0)
    after_merge = apply(of_merges(4, [[3, 1]]), whole, halves)
    np.testing.assert_allclose(log_joint(after_merge) - log_joint(whole), merge_ratio, rtol=1e-9)


def test_merging_the_halves_of_a_split_restores_the_components():
    points = samples.points(60, 2)
    flat = accumulate_hard(points, np.arange(60) % 6, 6)
    halves = SufficientStatistics(*(tf.reshape(part, [3, 2, *part.shape[1:]]) for part in flat))
    whole = halves.total(axis=1)
    split = of_splits(3, [False, True, True])
    after = apply(split, whole, halves)
    merge = of_merges(5, [[1, 2], [3, 4]])
    back = apply(merge, after, halves)
    for part, truth in zip(back, whole, strict=True):
        np.testing.assert_allclose(part, truth, rtol=1e-12, atol=1e-12)
    assert split.parents[merge.parents[:, 0], 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("pairs", [[[0, 1], [1, 2]], [[1, 1]], [[0, 1], [1, 0]]])
def test_overlapping_pairs_are_named(pairs):
    with pytest.raises(ValueError, match="`pairs`: got .*, wanted disjoint pairs"):
        of_merges(3, pairs)


def test_flags_of_another_length_are_named():
    with pytest.raises(ValueError, match=r"`is_split`: got shape \(2,\), wanted shape \(3,\)"):
        of_splits(3, [True, False])
    with pytest.raises(ValueError, match="`is_kept`: got .*, wanted 3 flags, at least one true"):
        of_removals(3, [True, False])


def test_removing_every_component_is_refused():
    with pytest.raises(ValueError, match="`is_kept`: got .*, wanted 2 flags, at least one true"):
        of_removals(2, [False, False])


def test_the_best_parent_is_the_one_with_the_larger_merit():
    merits = np.array([-1.0, -5.0, -2.0, -9.0])
    np.testing.assert_array_equal(of_merges(4, [[3, 1]]).best_parents(merits), [0, 2, 1])
    split = of_splits(4, [False, True, False, False])
    np.testing.assert_array_equal(split.best_parents(merits), [0, 1, 1, 2, 3])
