from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.judges import log_split_ratio
from tests.reference.searches import search_settings
from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import Preprocessing
from tfdpm.interpret.fitted import FitResult, Fitted
from tfdpm.interpret.judges import hastings_judge, split_judge
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import m_step
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves.ledger import MoveCounts
from tfdpm.moves.proposals import propose_merges, propose_splits
from tfdpm.search.judge import SampleJudge
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.state import MixtureState, subcomponent_start

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
    return MixtureState(preprocessing, prior, parameters, *sub, soft, halves)


def split_move(state, halves, config, generator):
    fitted = Fitted(None, dataclasses.replace(state, halves=halves), FitResult())
    judge = split_judge(fitted, config, config.min_subcluster_points)
    uniforms = generator if config.stochastic_acceptance else None
    transition, proposals = propose_splits(judge, uniforms)
    return transition, MoveCounts.of(proposals)


def test_a_cluster_of_two_blobs_splits_and_one_blob_does_not():
    labels = np.array([0, 0, 1])[TRUTH]
    sides = np.where(TRUTH == 2, RNG.integers(2, size=240), TRUTH % 2)
    state = make_state(labels, sides, 2)
    move, counts = split_move(state, state.halves, GREEDY, np.random.default_rng(0))
    np.testing.assert_array_equal(move.parents[:, 0], [0, 0, 1])
    assert counts == MoveCounts(proposed_splits=2, accepted_splits=1) and counts.changed


def test_halves_of_one_blob_merge_and_blobs_do_not():
    labels = np.where(TRUTH == 2, 3, TRUTH)
    labels = np.where((TRUTH == 1) & (POINTS[:, 1] > 0), 2, labels)
    state = make_state(labels, np.zeros(240, int), 4)
    judge = hastings_judge(Fitted(None, state, FitResult()), GREEDY)
    move, proposals = propose_merges(judge)
    counts = MoveCounts.of(proposals)
    np.testing.assert_array_equal(move.parents, [[0, 0], [1, 2], [3, 3]])
    assert counts.accepted_merges == 1 and counts.proposed_merges >= 4


def test_small_halves_are_refused_where_the_configuration_says_so():
    labels, sides = np.zeros(240, int), (np.arange(240) < 4).astype(int)
    points = POINTS.copy()
    points[:4] += 1000.0
    halves = accumulate_hard(tf.constant(points), sides, 2)
    state = make_state(labels, sides, 1)
    halves = SufficientStatistics(*(part[tf.newaxis] for part in halves))
    for minimum, accepted in ((0.0, 1), (4.0, 0)):
        config = GREEDY.replace(min_subcluster_points=minimum)
        _, counts = split_move(state, halves, config, np.random.default_rng(0))
        assert counts.accepted_splits == accepted


def repeated(group, count):
    return type(group)(*(tf.repeat(part, count, axis=0) for part in group))


def test_stochastic_acceptance_follows_its_generator():
    state = make_state(np.zeros(240, int), np.arange(240) % 2, 1)
    left, right = (state.halves.select(side, axis=1) for side in (0, 1))
    log_ratio = log_split_ratio(left, right, state.prior, dp_concentration=1.0)[0]
    # Concentration enters the ratio as a factor: the split is now better with probability 0.5.
    alpha = float(np.exp(np.log(0.5) - log_ratio))
    config = GREEDY.replace(stochastic_acceptance=True, dp_concentration=alpha)
    many = dataclasses.replace(state, parameters=repeated(state.parameters, 1000))
    _, counts = split_move(many, repeated(state.halves, 1000), config, np.random.default_rng(0))
    assert abs(counts.accepted_splits / 1000 - 0.5) < 0.05
    greedy = config.replace(stochastic_acceptance=False)
    generator = np.random.default_rng(0)
    assert not split_move(state, state.halves, greedy, generator)[1].changed
    better = greedy.replace(dp_concentration=2.5 * alpha)
    assert split_move(state, state.halves, better, generator)[1].changed


@pytest.fixture(scope="module")
def search():
    settings = search_settings()
    scale = np.sqrt(POINTS.var(axis=0).mean())
    return MixtureSearch((POINTS - POINTS.mean(axis=0)) / scale, settings, 0)


def test_judged_splits_carry_out_what_gains(search):
    labels = np.array([0, 0, 1])[TRUTH]
    sides = np.where(TRUTH == 2, np.arange(240) % 2, TRUTH % 2)
    move, proposals = propose_splits(SampleJudge(search.evidence, 2, labels, sides))
    np.testing.assert_array_equal(move.parents[:, 0], [0, 0, 1])
    counts = MoveCounts.of(proposals)
    assert (counts.proposed_splits, counts.accepted_splits) == (2, 1)


def test_judged_merges_join_what_belongs_together(search):
    labels = np.where((TRUTH == 2) & (POINTS[:, 0] > 0), 3, TRUTH)
    move, proposals = propose_merges(SampleJudge(search.evidence, 4, labels))
    np.testing.assert_array_equal(np.sort(move.parents, axis=1), [[0, 0], [1, 1], [2, 3]])
    assert MoveCounts.of(proposals).accepted_merges == 1
