from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.searches import search_settings
from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import Preprocessing
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import m_step
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves.hastings import log_split_ratio
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.state import ModelState, subcomponent_start
from tfdpm.training import proposals as moves

GREEDY = DeepDPMConfig()
CENTRES = np.array([[-6.0, 0.0], [6.0, 0.0], [0.0, 9.0]])
RNG = np.random.default_rng(0)
POINTS = np.concatenate([centre + RNG.normal(size=(80, 2)) for centre in CENTRES])
TRUTH = np.repeat([0, 1, 2], 80)


def make_state(labels, sides, num_components):
    """The state behind hard clusters and subclusters."""
    prior = niw.niw_parameters(np.zeros(2), 1e-2, 4.0, np.eye(2))
    halves = accumulate_hard(tf.constant(POINTS), 2 * labels + sides, 2 * num_components)
    halves = SufficientStatistics(
        *(tf.reshape(part, [num_components, 2, *part.shape[1:]]) for part in halves)
    )
    soft = halves.total(axis=1)
    parameters = m_step(soft, prior)
    sub = subcomponent_start(parameters.means, parameters.covariances)
    preprocessing = Preprocessing(np.zeros(2), np.eye(2))
    return ModelState(preprocessing, prior, parameters, *sub, soft, halves)


def test_a_cluster_of_two_blobs_splits_and_one_blob_does_not():
    labels = np.array([0, 0, 1])[TRUTH]
    sides = np.where(TRUTH == 2, RNG.integers(2, size=240), TRUTH % 2)
    state = make_state(labels, sides, 2)
    move, counts = moves.split_move(state, state.halves, GREEDY, np.random.default_rng(0))
    np.testing.assert_array_equal(move.parents[:, 0], [0, 0, 1])
    assert counts == moves.MoveCounts(proposed_splits=2, accepted_splits=1) and counts.changed


def test_halves_of_one_blob_merge_and_blobs_do_not():
    labels = np.where(TRUTH == 2, 3, TRUTH)
    labels = np.where((TRUTH == 1) & (POINTS[:, 1] > 0), 2, labels)
    state = make_state(labels, np.zeros(240, int), 4)
    move, counts = moves.merge_move(state, GREEDY, np.random.default_rng(0))
    np.testing.assert_array_equal(move.parents, [[0, 0], [1, 2], [3, 3]])
    assert counts.accepted_merges == 1 and counts.proposed_merges >= 4


def test_components_without_points_are_removed_but_never_the_last():
    state = make_state(np.array([0, 2, 3])[TRUTH], np.zeros(240, int), 5)
    move, counts = moves.removal_move(state)
    np.testing.assert_array_equal(move.parents[:, 0], [0, 2, 3])
    assert counts.removed == 2 and counts.changed
    nothing = SufficientStatistics(*(0 * part for part in state.halves))
    move, counts = moves.removal_move(dataclasses.replace(state, halves=nothing))
    assert move.num_components == 1 and counts.removed == 4


def test_small_halves_are_refused_where_the_configuration_says_so():
    labels, sides = np.zeros(240, int), (np.arange(240) < 4).astype(int)
    points = POINTS.copy()
    points[:4] += 1000.0
    halves = accumulate_hard(tf.constant(points), sides, 2)
    state = make_state(labels, sides, 1)
    halves = SufficientStatistics(*(part[tf.newaxis] for part in halves))
    for minimum, accepted in ((0.0, 1), (4.0, 0)):
        config = GREEDY.replace(min_subcluster_points=minimum)
        _, counts = moves.split_move(state, halves, config, np.random.default_rng(0))
        assert counts.accepted_splits == accepted


def repeated(group, count):
    return type(group)(*(tf.repeat(part, count, axis=0) for part in group))


def test_stochastic_acceptance_follows_its_generator():
    state = make_state(np.zeros(240, int), np.arange(240) % 2, 1)
    left, right = (state.halves.select(side, axis=1) for side in (0, 1))
    log_ratio = log_split_ratio(left, right, state.prior, dp_concentration=1.0).numpy()[0]
    # Concentration enters the ratio as a factor: the split is now better with probability 0.5.
    alpha = float(np.exp(np.log(0.5) - log_ratio))
    config = GREEDY.replace(stochastic_acceptance=True, dp_concentration=alpha)
    many = dataclasses.replace(state, parameters=repeated(state.parameters, 1000))
    _, counts = moves.split_move(
        many, repeated(state.halves, 1000), config, np.random.default_rng(0)
    )
    assert abs(counts.accepted_splits / 1000 - 0.5) < 0.05
    greedy = config.replace(stochastic_acceptance=False)
    generator = np.random.default_rng(0)
    assert not moves.split_move(state, state.halves, greedy, generator)[1].changed
    better = greedy.replace(dp_concentration=2.5 * alpha)
    assert moves.split_move(state, state.halves, better, generator)[1].changed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {4: (True, True), 6: (True, True)}),
        ({"alternate_moves": True}, {4: (True, False), 6: (False, True), 8: (True, False)}),
        ({"splits": False}, {4: (False, True), 6: (False, True)}),
        ({"merges": False}, {4: (True, False), 6: (True, False)}),
        ({"fixed_k": 3}, {4: (False, False), 6: (False, False)}),
    ],
)
def test_proposals_are_due_when_the_schedule_says(changes, expected):
    config = DeepDPMConfig(first_move_epoch=4, move_interval_epochs=2, **changes)
    for epoch in (0, 3, 5, 7):
        assert moves.kinds_due(config, epoch) == (False, False)
    for epoch, kinds in expected.items():
        assert moves.kinds_due(config, epoch) == kinds


def test_counts_of_moves_add():
    one = moves.MoveCounts(1, 2, 3, 4, 5)
    assert one + moves.MoveCounts(10, 20, 30, 40, 50) == moves.MoveCounts(11, 22, 33, 44, 55)
    assert not moves.MoveCounts(proposed_splits=3, proposed_merges=2).changed


@pytest.fixture(scope="module")
def search():
    settings = search_settings()
    scale = np.sqrt(POINTS.var(axis=0).mean())
    return MixtureSearch((POINTS - POINTS.mean(axis=0)) / scale, settings, 0)


def test_judged_splits_carry_out_what_gains(search):
    labels = np.array([0, 0, 1])[TRUTH]
    sides = np.where(TRUTH == 2, np.arange(240) % 2, TRUTH % 2)
    move, counts = moves.judged_split_move(search, labels, sides, 2)
    np.testing.assert_array_equal(move.parents[:, 0], [0, 0, 1])
    assert (counts.proposed_splits, counts.accepted_splits) == (2, 1)


def test_judged_merges_join_what_belongs_together(search):
    labels = np.where((TRUTH == 2) & (POINTS[:, 0] > 0), 3, TRUTH)
    move, counts = moves.judged_merge_move(search, labels, 4)
    np.testing.assert_array_equal(np.sort(move.parents, axis=1), [[0, 0], [1, 1], [2, 3]])
    assert counts.accepted_merges == 1
