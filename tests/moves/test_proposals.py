from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import samples
from tests.reference.judges import log_split_ratio
from tfdpm.mixture import niw
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard, zeros
from tfdpm.moves import transition as transitions
from tfdpm.moves.hastings import HastingsJudge, neighbour_pairs
from tfdpm.moves.proposals import (
    accept,
    choose_disjoint,
    propose_merges,
    propose_removals,
    propose_splits,
)

PRIOR = niw.niw_parameters(np.zeros(2), 1e-4, 4.0, 0.2 * np.eye(2))


class GivenNumbers:
    """A generator whose uniform numbers are known."""

    def __init__(self, numbers):
        self.numbers = numbers

    def uniform(self, size):
        assert size == len(self.numbers)
        return self.numbers


class PairsJudge(HastingsJudge):
    """Judges given pairs instead of neighbours."""

    def merge_ratios(self):
        return self.pairs, self.pair_ratios(self.pairs)


def accepted_merges(statistics, prior, pairs, *, dp_concentration, uniforms, order="best_first"):
    """Accepted pairs `[M, 2]` and log ratios `[P]`, with the transition checked."""
    judge = PairsJudge(whole_first(statistics), prior, dp_concentration)
    object.__setattr__(judge, "pairs", np.asarray(pairs, int))
    transition, proposals = propose_merges(judge, GivenNumbers(uniforms), order)
    merged = np.array([p.components for p in proposals if p.is_accepted], int).reshape(-1, 2)
    expected = transitions.of_merges(len(statistics.counts), merged)
    np.testing.assert_array_equal(transition.parents, expected.parents)
    return merged, np.array([proposal.log_ratio for proposal in proposals])


def whole_first(statistics):
    return SufficientStatistics(*(tf.stack([part, 0 * part], axis=1) for part in statistics))


def statistics_at(centres, num_points=60, seed=0):
    """Statistics of one round component of `num_points` points per centre."""
    centres = np.asarray(centres, float)
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(centres)), num_points)
    points = centres[labels] + 0.5 * rng.normal(size=(len(labels), 2))
    return accumulate_hard(points, labels, len(centres))


@pytest.mark.parametrize("num_components", [2, 3, 4, 5, 12])
@pytest.mark.parametrize("num_neighbours", [1, 3])
def test_candidates_are_each_component_with_its_nearest_others(num_components, num_neighbours):
    means = samples.points(num_components, 3, seed=num_components)
    truth = set()
    for k, mean in enumerate(means):
        distances = np.linalg.norm(means - mean, axis=1)
        others = [j for j in np.argsort(distances) if j != k]
        truth.update((min(k, j), max(k, j)) for j in others[:num_neighbours])
    pairs = neighbour_pairs(means, num_neighbours)
    assert len(pairs) == len(truth)
    assert {tuple(pair) for pair in pairs.tolist()} == truth
    assert (pairs[:, 0] < pairs[:, 1]).all()
    lengths = np.linalg.norm(means[pairs[:, 0]] - means[pairs[:, 1]], axis=1)
    assert (np.diff(lengths) >= 0.0).all()


def test_three_neighbours_do_not_count_the_component_itself():
    # On a line 0, 1, 2, 3 and far away 100: the last one still reaches three others.
    pairs = neighbour_pairs(np.array([[0.0], [1.0], [2.0], [3.0], [100.0]]), 3)
    assert {k for pair in pairs.tolist() if 4 in pair for k in pair} == {1, 2, 3, 4}


def test_components_at_one_place_are_neighbours():
    pairs = neighbour_pairs(np.array([[5.0, 5.0], [0.0, 0.0], [5.0, 5.0]]), 1)
    assert pairs[0].tolist() == [0, 2]


@pytest.mark.parametrize("num_components", [0, 1])
def test_a_lone_component_has_no_neighbour(num_components):
    assert neighbour_pairs(np.zeros((num_components, 2)), 3).shape == (0, 2)


def test_neighbours_do_not_depend_on_where_the_origin_is():
    means = samples.points(12, 3)
    np.testing.assert_array_equal(neighbour_pairs(means + 1e9, 3), neighbour_pairs(means, 3))


@pytest.mark.parametrize("num_neighbours, error", [(0, ValueError), (1.5, TypeError)])
def test_bad_number_of_neighbours_is_named(num_neighbours, error):
    with pytest.raises(error, match="`num_neighbours`: got .*, wanted an integer of at least 1"):
        neighbour_pairs(np.zeros((3, 2)), num_neighbours)


@pytest.mark.parametrize("order", ["best_first", "sequential"])
def test_halves_of_one_cluster_merge_and_separate_clusters_do_not(order):
    statistics = statistics_at([[0, 0], [30, 0], [0, 0], [60, 60]])
    pairs = neighbour_pairs([[0, 0], [30, 0], [0, 0], [60, 60]], 3)
    merged, log_ratios = accepted_merges(
        statistics, PRIOR, pairs, dp_concentration=10.0, uniforms=np.ones(len(pairs)), order=order
    )
    np.testing.assert_array_equal(merged, [[0, 2]])
    for (first, second), log_ratio in zip(pairs, log_ratios, strict=True):
        truth = -log_split_ratio(
            statistics.select(first), statistics.select(second), PRIOR, dp_concentration=10.0
        )
        np.testing.assert_allclose(log_ratio, truth, rtol=1e-9)
        assert (log_ratio > 3.0) == ({first, second} == {0, 2})


@pytest.mark.parametrize("order", ["best_first", "sequential"])
@pytest.mark.parametrize("seed", range(4))
def test_no_component_merges_twice_and_none_that_could_is_left(order, seed):
    centres = 0.3 * np.random.default_rng(seed).normal(size=(9, 2))
    statistics = statistics_at(centres, seed=seed)
    pairs = neighbour_pairs(centres, 3)
    merged, log_ratios = accepted_merges(
        statistics, PRIOR, pairs, dp_concentration=1.0, uniforms=np.ones(len(pairs)), order=order
    )
    assert len(merged) >= 2
    assert len(np.unique(merged)) == merged.size
    candidates = {tuple(pair) for pair in pairs[log_ratios > 0].tolist()}
    assert {tuple(pair) for pair in merged.tolist()} <= candidates
    taken = set(merged.ravel().tolist())
    assert all(set(pair) & taken for pair in candidates)


def test_best_first_beats_the_order_of_pairs_where_merges_overlap():
    # 1 could join 0 or 2; 2 is the same cluster, 0 merely a near one.
    statistics = statistics_at([[-0.7, 0.0], [0.0, 0.0], [0.0, 0.0]])
    pairs = np.array([[0, 1], [1, 2]])

    def decide(order):
        return accepted_merges(
            statistics, PRIOR, pairs, dp_concentration=1e-8, uniforms=np.ones(2), order=order
        )

    best, log_ratios = decide("best_first")
    sequential, _ = decide("sequential")
    assert log_ratios[1] > log_ratios[0] > 0.0
    np.testing.assert_array_equal(best, [[1, 2]])
    np.testing.assert_array_equal(sequential, [[0, 1]])


def test_empty_components_always_merge():
    statistics = statistics_at([[0.0, 0.0], [50.0, 0.0]])
    statistics = SufficientStatistics(
        *(tf.concat(parts, axis=0) for parts in zip(statistics, zeros(1, 2), strict=True))
    )
    merged, log_ratios = accepted_merges(
        statistics, PRIOR, [[0, 1], [1, 2]], dp_concentration=1.0, uniforms=np.ones(2)
    )
    np.testing.assert_array_equal(merged, [[1, 2]])
    assert log_ratios[1] == np.inf


def test_doubtful_merges_are_accepted_as_often_as_their_ratio_says():
    many = statistics_at([[0.0, 0.0], [1.0, 0.0]]).select([0, 1] * 2000)
    pairs = np.arange(4000).reshape(2000, 2)
    uniforms = np.random.default_rng(0).uniform(size=2000)
    _, start = accepted_merges(many, PRIOR, pairs, dp_concentration=1.0, uniforms=uniforms)
    # The concentration divides the ratio; this one makes it 0.4.
    merged, _ = accepted_merges(
        many, PRIOR, pairs, dp_concentration=np.exp(start[0]) / 0.4, uniforms=uniforms
    )
    assert abs(len(merged) / 2000 - 0.4) < 4 * np.sqrt(0.24 / 2000)


def test_relabelled_components_merge_alike():
    centres = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 0.0], [20.0, 0.0]])
    statistics, order = statistics_at(centres), np.array([2, 3, 1, 0])
    place = np.argsort(order)  # where each old component now stands
    pairs = np.array([[0, 1], [0, 2], [1, 3], [2, 3]])
    uniforms = np.full(4, 0.5)
    merged, ratios = accepted_merges(
        statistics, PRIOR, pairs, dp_concentration=1.0, uniforms=uniforms
    )
    again, reordered = accepted_merges(
        statistics.select(order), PRIOR, place[pairs], dp_concentration=1.0, uniforms=uniforms
    )
    assert sorted(merged.tolist()) == [[0, 2], [1, 3]]
    np.testing.assert_array_equal(again, place[merged])
    np.testing.assert_allclose(reordered, ratios, rtol=1e-9)


def test_no_candidates_are_no_merges():
    merged, log_ratios = accepted_merges(
        statistics_at([[0, 0]]),
        PRIOR,
        np.zeros((0, 2), int),
        dp_concentration=1.0,
        uniforms=np.zeros(0),
    )
    assert merged.shape == (0, 2) and log_ratios.shape == (0,)


def test_unknown_order_is_named():
    with pytest.raises(ValueError, match="`order`: got 'random', wanted one of 'best_first'"):
        accepted_merges(
            statistics_at([[0, 0], [1, 1]]),
            PRIOR,
            [[0, 1]],
            dp_concentration=1.0,
            uniforms=np.ones(1),
            order="random",
        )


def test_records_of_merges_say_what_was_proposed_of_what_size():
    statistics = statistics_at([[0, 0], [30, 0], [0, 0]])
    judge = HastingsJudge(whole_first(statistics), PRIOR, 10.0, means=[[0, 0], [30, 0], [0, 0]])
    _, proposals = propose_merges(judge)
    assert {p.components: p.is_accepted for p in proposals} == {
        (0, 1): False,
        (0, 2): True,
        (1, 2): False,
    }
    assert all(p.kind == "merge" and p.sizes == (60.0, 60.0) for p in proposals)


def test_records_of_splits_say_what_was_proposed_of_what_size():
    halves = statistics_at([[0, 0], [30, 0], [0, 0], [0, 0]])
    halves = SufficientStatistics(*(tf.reshape(x, [2, 2, *x.shape[1:]]) for x in halves))
    transition, proposals = propose_splits(HastingsJudge(halves, PRIOR, 10.0))
    assert [(p.components, p.is_accepted, p.sizes) for p in proposals] == [
        ((0,), True, (60.0, 60.0)),
        ((1,), False, (60.0, 60.0)),
    ]
    np.testing.assert_array_equal(transition.half, [0, 1, transitions.WHOLE])


def test_components_without_points_are_removed_but_never_the_last():
    transition, removed = propose_removals(np.array([3.0, 0.0, 2.0]), np.full(3, 1 / 3))
    np.testing.assert_array_equal(transition.parents[:, 0], [0, 2])
    assert [proposal.components for proposal in removed] == [(1,)]
    transition, removed = propose_removals(np.zeros(3), np.array([0.2, 0.5, 0.3]))
    np.testing.assert_array_equal(transition.parents[:, 0], [1])
    assert len(removed) == 2


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9])
def test_a_proposal_is_accepted_with_probability_of_its_ratio(ratio):
    frequency = accept(np.full(40_000, np.log(ratio)), np.random.default_rng(0)).mean()
    assert abs(frequency - ratio) < 4 * np.sqrt(ratio * (1 - ratio) / 40_000)


def test_each_proposal_meets_its_own_uniform():
    log_ratios = np.log([0.3, 0.3, 0.6, 0.6])
    accepted = accept(log_ratios, GivenNumbers([0.29, 0.31, 0.59, 0.61]))
    np.testing.assert_array_equal(accepted, [True, False, True, False])


def test_ratios_above_one_always_win():
    generator = np.random.default_rng(0)
    assert accept(np.full(100, 1e-9), generator).all()
    assert accept(np.full(100, np.inf), generator).all()


@pytest.mark.parametrize("generator", [None, GivenNumbers(np.ones(5))])
def test_without_chance_only_what_is_better_is_accepted(generator):
    log_ratios = np.array([-np.inf, -1.0, 0.0, 1e-9, np.inf])
    np.testing.assert_array_equal(accept(log_ratios, generator), [False, False, False, True, True])


def test_uniforms_of_zero_accept_everything_possible():
    log_ratios = np.array([-np.inf, -1e6, 0.0])
    np.testing.assert_array_equal(
        accept(log_ratios, GivenNumbers(np.zeros(3))), [False, True, True]
    )


def test_undefined_ratios_are_refused():
    assert not accept([np.nan], GivenNumbers([0.5])).any()
    assert not accept([np.nan]).any()


def test_nothing_proposed_is_nothing_accepted():
    assert accept([], GivenNumbers([])).shape == accept([]).shape == (0,)


def test_disjoint_pairs_are_taken_best_first():
    pairs = np.array([[0, 1], [1, 2], [3, 4], [2, 3]])
    gains = np.array([1.0, 5.0, 2.0, -1.0])
    np.testing.assert_array_equal(choose_disjoint(pairs, gains, gains > 0), [[1, 2], [3, 4]])
    assert choose_disjoint(pairs, gains, np.zeros(len(pairs), bool)).shape == (0, 2)
