from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.moves.test_proposals import GivenNumbers
from tests.reference import samples
from tests.reference.judges import log_split_ratio
from tfdpm.mixture import niw
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves.hastings import HastingsJudge
from tfdpm.moves.proposals import propose_splits

NUM_COMPONENTS = 4
PRIOR = niw.niw_parameters(np.zeros(2), 1e-4, 4.0, 0.2 * np.eye(2))


def accepted_splits(halves, prior, *, dp_concentration, uniforms, min_points=0.0):
    """Which components split `[K]`, and log ratios `[K]`."""
    judge = HastingsJudge(halves, prior, dp_concentration, min_points=min_points)
    _, proposals = propose_splits(judge, GivenNumbers(uniforms))
    is_accepted = np.array([proposal.is_accepted for proposal in proposals])
    return is_accepted, np.array([proposal.log_ratio for proposal in proposals])


def halves_of(points, labels, subs):
    """Hard statistics `[K, 2]` of subcomponents."""
    flat = accumulate_hard(points, 2 * labels + subs, 2 * NUM_COMPONENTS)
    return SufficientStatistics(
        *(tf.reshape(part, [NUM_COMPONENTS, 2, *part.shape[1:]]) for part in flat)
    )


@pytest.fixture
def halves():
    """Components 0 and 2 hold two clusters each, 1 holds one, 3 has an empty half."""
    labels = np.repeat(np.arange(NUM_COMPONENTS), 60)
    subs = np.arange(240) % 2
    points = samples.points(240, 2, scale=0.5) + 10.0 * labels[:, None]
    points[:, 0] += 20.0 * subs * np.isin(labels, [0, 2])
    return halves_of(points, labels, np.where(labels == 3, 0, subs))


def test_components_that_hold_two_clusters_split_and_others_do_not(halves):
    for uniforms in (np.zeros(4) + 1e-9, np.full(4, 0.5), np.ones(4)):
        is_accepted, log_ratios = accepted_splits(
            halves, PRIOR, dp_concentration=10.0, uniforms=uniforms
        )
        np.testing.assert_array_equal(is_accepted, [True, False, True, False])
        assert log_ratios[0] > 50.0 and log_ratios[2] > 50.0 and log_ratios[1] < -20.0
        assert log_ratios[3] == -np.inf


def test_ratios_are_those_of_left_and_right_halves(halves):
    _, log_ratios = accepted_splits(halves, PRIOR, dp_concentration=10.0, uniforms=np.ones(4))
    left, right = (halves.select(side, axis=1) for side in (0, 1))
    truth = log_split_ratio(left, right, PRIOR, dp_concentration=10.0)
    np.testing.assert_array_equal(log_ratios, truth)


def test_each_component_is_decided_on_its_own(halves):
    uniforms = np.array([0.9, 0.1, 0.3, 0.7])
    together, ratios = accepted_splits(halves, PRIOR, dp_concentration=3.0, uniforms=uniforms)
    for k in range(4):
        alone, ratio = accepted_splits(
            halves.select([k]), PRIOR, dp_concentration=3.0, uniforms=uniforms[[k]]
        )
        assert alone[0] == together[k]
        np.testing.assert_allclose(ratio[0], ratios[k], rtol=1e-12)


def test_relabelled_components_and_halves_split_alike(halves):
    order = [3, 1, 0, 2]
    swapped = SufficientStatistics(*(part[:, ::-1] for part in halves.select(order)))
    before, ratios = accepted_splits(halves, PRIOR, dp_concentration=3.0, uniforms=np.ones(4))
    after, reordered = accepted_splits(swapped, PRIOR, dp_concentration=3.0, uniforms=np.ones(4))
    np.testing.assert_array_equal(after, before[order])
    np.testing.assert_allclose(reordered, ratios[order], rtol=1e-12)


def test_doubtful_splits_are_accepted_as_often_as_their_ratio_says():
    rng = np.random.default_rng(0)
    points, subs = 0.3 * rng.normal(size=(60, 2)), np.arange(60) % 2
    many = halves_of(points, np.zeros(60, int), subs).select([0] * 2000)
    uniforms = rng.uniform(size=2000)
    _, start = accepted_splits(many, PRIOR, dp_concentration=1.0, uniforms=uniforms)
    # The concentration multiplies the ratio; this one makes it 0.4.
    is_accepted, _ = accepted_splits(
        many, PRIOR, dp_concentration=0.4 / np.exp(start[0]), uniforms=uniforms
    )
    assert abs(is_accepted.mean() - 0.4) < 4 * np.sqrt(0.24 / 2000)


@pytest.mark.parametrize("min_points, splits", [(0.0, True), (4.0, True), (5.0, False)])
def test_halves_of_min_points_or_fewer_are_refused(min_points, splits):
    # Five points far from fifty-five others: clearly two clusters.
    points = samples.points(60, 2, scale=0.5)
    subs = (np.arange(60) < 5).astype(int)
    points[:5] += 100.0
    for sides in (subs, 1 - subs):
        is_accepted, log_ratios = accepted_splits(
            halves_of(points, np.zeros(60, int), sides),
            PRIOR,
            dp_concentration=10.0,
            uniforms=np.ones(4),
            min_points=min_points,
        )
        assert is_accepted[0] == splits
        assert (log_ratios[0] > 10.0) if splits else (log_ratios[0] == -np.inf)
        assert not is_accepted[1:].any()  # components without any points


def test_a_component_without_points_merges_only_where_it_may(halves):
    keeps = tf.constant([1.0, 0.0, 1.0, 1.0], tf.float64)
    emptied = halves.map(lambda part: part * tf.reshape(keeps, [4, *[1] * (len(part.shape) - 1)]))
    pairs = np.array([[0, 1], [1, 2], [0, 2]])
    joining, waiting = (
        HastingsJudge(emptied, PRIOR, 10.0, joins_empty=joins).pair_ratios(pairs)
        for joins in (True, False)
    )
    np.testing.assert_array_equal(joining[:2], [np.inf] * 2)
    np.testing.assert_array_equal(waiting[:2], [-np.inf] * 2)
    assert joining[2] == waiting[2] and np.isfinite(waiting[2])
