from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.moves.test_proposals import GivenNumbers
from tests.reference import niw as niw_reference
from tests.reference import partitions as reference
from tests.reference import samples
from tests.reference.judges import log_merge_ratio, log_split_ratio
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard, zeros
from tfdpm.moves.hastings import HastingsJudge
from tfdpm.moves.proposals import propose_splits

NUM_COMPONENTS = 4
PRIOR = niw.niw_parameters(np.zeros(2), 1e-4, 4.0, 0.2 * np.eye(2))


def statistics_of(points, labels, num_components=None):
    return accumulate_hard(points, np.asarray(labels), num_components or max(labels) + 1)


def weak_prior(points, scale=0.05):
    """The paper's prior: centred on the data, nearly without opinion."""
    dim = points.shape[1]
    spread = scale * points.std(axis=0).mean() * np.eye(dim)
    return niw.niw_parameters(points.mean(axis=0), 1e-4, dim + 2, (dim + 2) * spread)


@pytest.mark.parametrize("dp_concentration", [0.1, 3.0, 10.0])
@pytest.mark.parametrize("feature_dim", [1, 3])
def test_split_ratio_is_that_of_two_seatings(dp_concentration, feature_dim):
    # Log joints of data and partition, one customer at a time: no gamma function, no evidence.
    prior, points = samples.prior(feature_dim), samples.points(11, feature_dim, loc=0.4)
    halves = np.array([0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0])
    truth = reference.log_joint(prior, points, halves, dp_concentration)
    truth -= reference.log_joint(prior, points, np.zeros(11, int), dp_concentration)
    statistics = statistics_of(points, halves)
    actual = log_split_ratio(
        statistics.select([0]),
        statistics.select([1]),
        niw.niw_parameters(*prior),
        dp_concentration=dp_concentration,
    )
    np.testing.assert_allclose(actual, [truth], rtol=1e-9)


def test_ratio_is_the_papers_formula_term_by_term():
    prior, points = samples.prior(2), samples.points(5, 2)
    left, right = points[:2], points[2:]
    # log alpha + log Gamma(2) f(X1) + log Gamma(3) f(X2) - log Gamma(5) f(X); Gamma(n) = (n - 1)!
    by_hand = np.log(7.0) + np.log(1.0) + np.log(2.0) - np.log(24.0)
    by_hand += niw_reference.log_evidence(prior, left) + niw_reference.log_evidence(prior, right)
    by_hand -= niw_reference.log_evidence(prior, points)
    statistics, parameters = statistics_of(points, [0, 0, 1, 1, 1]), niw.niw_parameters(*prior)
    left, right = statistics.select(0), statistics.select(1)
    split = log_split_ratio(left, right, parameters, dp_concentration=7.0)
    merge = log_merge_ratio(left, right, parameters, dp_concentration=7.0)
    np.testing.assert_allclose(split, by_hand, rtol=1e-10)
    np.testing.assert_allclose(merge, -by_hand, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_split_and_merge_ratios_of_one_partition_cancel(seed):
    points = samples.points(60, 3, seed)
    statistics = statistics_of(points, np.arange(60) % 6)
    left, right = statistics.select([0, 1, 2]), statistics.select([3, 4, 5])
    prior = weak_prior(points)
    total = log_split_ratio(left, right, prior, dp_concentration=3.0)
    total += log_merge_ratio(left, right, prior, dp_concentration=3.0)
    np.testing.assert_allclose(total, 0.0, atol=1e-9)


def test_halves_and_components_can_be_relabelled():
    points = samples.points(60, 3)
    statistics, prior = statistics_of(points, np.arange(60) % 6), weak_prior(points)
    left, right = statistics.select([0, 1, 2]), statistics.select([3, 4, 5])
    ratios = log_split_ratio(left, right, prior, dp_concentration=3.0)
    swapped = log_split_ratio(right, left, prior, dp_concentration=3.0)
    np.testing.assert_allclose(swapped, ratios, rtol=1e-12)
    reordered = log_split_ratio(
        left.select([2, 0, 1]), right.select([2, 0, 1]), prior, dp_concentration=3.0
    )
    np.testing.assert_allclose(reordered, tf.gather(ratios, [2, 0, 1]), rtol=1e-12)


def test_ratios_do_not_depend_on_units():
    points, labels = samples.points(80, 3), np.arange(80) % 2
    loc, mean_precision, df, scale = samples.prior(3)

    def ratio(unit, shift):
        statistics = statistics_of(unit * points + shift, labels)
        prior = niw.niw_parameters(unit * loc + shift, mean_precision, df, unit**2 * scale)
        return log_split_ratio(
            statistics.select(0), statistics.select(1), prior, dp_concentration=3.0
        )

    np.testing.assert_allclose(ratio(1e3, 5.0), ratio(1.0, 0.0), rtol=1e-8)
    np.testing.assert_allclose(ratio(1e-3, 0.0), ratio(1.0, 0.0), rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("feature_dim", [2, 8])
def test_separated_clusters_split_and_do_not_merge(seed, feature_dim):
    labels = np.arange(200) % 2
    points = samples.points(200, feature_dim, seed)
    points[:, 0] += 20.0 * labels
    statistics, prior = statistics_of(points, labels), weak_prior(points)
    left, right = statistics.select(0), statistics.select(1)
    assert log_split_ratio(left, right, prior, dp_concentration=10.0) > 100.0
    assert log_merge_ratio(left, right, prior, dp_concentration=10.0) < -100.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("feature_dim", [2, 8])
@pytest.mark.parametrize("cut", ["at random", "along an axis"])
def test_a_single_cluster_does_not_split_and_its_halves_merge(seed, feature_dim, cut):
    points = samples.points(400, feature_dim, seed)
    labels = np.arange(400) % 2 if cut == "at random" else (points[:, 0] > 0).astype(int)
    statistics, prior = statistics_of(points, labels), weak_prior(points)
    left, right = statistics.select(0), statistics.select(1)
    assert log_split_ratio(left, right, prior, dp_concentration=10.0) < -10.0
    assert log_merge_ratio(left, right, prior, dp_concentration=10.0) > 10.0


def test_an_empty_half_forbids_the_split_and_forces_the_merge():
    points = samples.points(20, 2)
    statistics, prior = statistics_of(points, np.arange(20) % 2, 3), weak_prior(points)
    left, right = statistics.select([0, 2, 2]), statistics.select([2, 1, 2])
    np.testing.assert_array_equal(
        log_split_ratio(left, right, prior, dp_concentration=1.0), [-np.inf] * 3
    )
    np.testing.assert_array_equal(
        log_merge_ratio(left, right, prior, dp_concentration=1.0), [np.inf] * 3
    )


@pytest.mark.parametrize("dp_concentration", [0.5, 20.0])
def test_partition_terms_sum_to_the_log_joint_up_to_a_constant(dp_concentration):
    prior, points = samples.prior(2), samples.points(10, 2)
    partitions = [[0] * 10, [0, 1] * 5, [0, 0, 2, 2, 1, 1, 1, 0, 3, 3], list(range(10))]

    def total(labels):
        statistics = statistics_of(points, labels)
        parameters = niw.niw_parameters(*prior)
        return evidence.log_partition_terms(parameters, statistics, dp_concentration).sum()

    gaps = [
        total(labels) - reference.log_joint(prior, points, np.array(labels), dp_concentration)
        for labels in partitions
    ]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9)


def test_a_component_without_points_is_no_component():
    prior = niw.niw_parameters(*samples.prior(2))
    terms = evidence.log_partition_terms(prior, zeros(2, 2), 5.0)
    np.testing.assert_array_equal(terms, [0.0, 0.0])


def test_a_larger_concentration_favours_splits_by_its_logarithm():
    points = samples.points(40, 2)
    statistics, prior = statistics_of(points, np.arange(40) % 2), weak_prior(points)
    left, right = statistics.select(0), statistics.select(1)
    low, high = (
        log_split_ratio(left, right, prior, dp_concentration=value) for value in (2.0, 20.0)
    )
    np.testing.assert_allclose(high - low, np.log(10.0), rtol=1e-9)


@pytest.mark.parametrize("dp_concentration", [0.0, -1.0, np.nan, np.inf])
def test_bad_concentration_is_named(dp_concentration):
    statistics, prior = zeros(1, 2), niw.niw_parameters(*samples.prior(2))
    for ratio in (log_split_ratio, log_merge_ratio):
        with pytest.raises(ValueError, match="`dp_concentration`: got .*, wanted a finite number"):
            ratio(statistics, statistics, prior, dp_concentration=dp_concentration)


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
