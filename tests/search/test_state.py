from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import mixture as reference
from tests.reference import samples
from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import Preprocessing
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import TMixtureParameters, m_step
from tfdpm.mixture.statistics import SufficientStatistics, accumulate
from tfdpm.moves import transition as transitions
from tfdpm.search.state import MixtureState, apply_transition, subcomponent_start

DIM, NUM_COMPONENTS = 2, 4
POINTS = samples.points(60, DIM, seed=1)
SOFT = samples.weights(60, NUM_COMPONENTS, seed=2)
PRIOR = samples.prior(DIM)


def as_halves(statistics):
    return SufficientStatistics(
        *(tf.reshape(part, [NUM_COMPONENTS, 2, *part.shape[1:]]) for part in statistics)
    )


def make_state():
    prior = niw.niw_parameters(*PRIOR)
    soft = accumulate(POINTS, SOFT)
    labels = np.random.default_rng(3).integers(2 * NUM_COMPONENTS, size=60)
    halves = as_halves(accumulate(POINTS, np.eye(2 * NUM_COMPONENTS)[labels]))
    sub = m_step(accumulate(POINTS, samples.weights(60, 2 * NUM_COMPONENTS, seed=5)), prior)
    shares = samples.weights(NUM_COMPONENTS, 2, seed=4)
    return MixtureState(
        preprocessing=Preprocessing(
            np.ones(3),
            samples.points(3, DIM),
            True,
            "as chosen: é",
            1,
            log_scales=np.array([2.0, np.inf, 0.5]),
            log_origins=np.array([0.0, 0.0, -3.0]),
            steps=np.array([0.0, 1.0, 0.25]),
            counts_copies=True,
        ),
        prior=prior,
        parameters=m_step(soft, prior),
        sub_weights=tf.constant(shares),
        sub_means=tf.reshape(sub.means, [NUM_COMPONENTS, 2, DIM]),
        sub_covariances=tf.reshape(sub.covariances, [NUM_COMPONENTS, 2, DIM, DIM]),
        soft=soft,
        halves=halves,
        epoch=7,
        last_change_epoch=5,
        t_mixture=TMixtureParameters(*m_step(soft, prior), tf.constant([1.0, 2.0, 3.0, 4.0])),
    )


STATE = make_state()
CONFIG = DeepDPMConfig()


def assert_same(actual, expected):
    arrays, others = actual.to_arrays(), expected.to_arrays()
    assert arrays.keys() == others.keys()
    for name, value in arrays.items():
        np.testing.assert_allclose(value, others[name], rtol=1e-12, err_msg=name)


def test_a_state_survives_the_way_through_arrays():
    again = MixtureState.from_arrays(STATE.to_arrays())
    for name, value in STATE.to_arrays().items():
        np.testing.assert_array_equal(value, again.to_arrays()[name], err_msg=name)
        assert value.dtype == again.to_arrays()[name].dtype
    assert (again.epoch, again.last_change_epoch) == (7, 5)
    assert again.preprocessing.normalizes_rows is True
    assert again.preprocessing.description == "as chosen: é"
    assert again.preprocessing.num_leading == 1
    np.testing.assert_array_equal(again.preprocessing.log_scales, [2.0, np.inf, 0.5])
    np.testing.assert_array_equal(again.preprocessing.log_origins, [0.0, 0.0, -3.0])
    np.testing.assert_array_equal(again.preprocessing.steps, [0.0, 1.0, 0.25])
    assert again.preprocessing.counts_copies is True
    assert again.num_components == NUM_COMPONENTS


def test_every_field_is_among_the_arrays():
    names = " ".join(STATE.to_arrays())
    for field in dataclasses.fields(STATE):
        assert field.name in names or field.name in ("epoch", "last_change_epoch")


def test_without_t_distributions_there_are_as_many_arrays():
    plain = dataclasses.replace(STATE, t_mixture=None)
    arrays = plain.to_arrays()
    assert arrays.keys() == STATE.to_arrays().keys()
    again = MixtureState.from_arrays(arrays)
    assert again.t_mixture is None and again.targets is again.parameters
    # States that were saved before there were any.
    older = {name: value for name, value in arrays.items() if not name.startswith("t_mixture")}
    assert MixtureState.from_arrays(older).t_mixture is None
    assert STATE.targets is STATE.t_mixture


def test_without_logarithms_there_are_as_many_arrays():
    preprocessing = dataclasses.replace(STATE.preprocessing, log_scales=None, log_origins=None)
    arrays = dataclasses.replace(STATE, preprocessing=preprocessing).to_arrays()
    assert arrays.keys() == STATE.to_arrays().keys()
    assert MixtureState.from_arrays(arrays).preprocessing.log_scales is None
    # States that were saved before there were any.
    del arrays["preprocessing/log_scales"], arrays["preprocessing/log_origins"]
    older = MixtureState.from_arrays(arrays).preprocessing
    assert older.log_scales is None and older.log_origins is None


def test_the_identity_changes_nothing_but_that_t_distributions_are_to_be_found_anew():
    after = apply_transition(
        STATE, transitions.of_removals(NUM_COMPONENTS, np.ones(NUM_COMPONENTS, bool)), CONFIG
    )
    assert_same(after, dataclasses.replace(STATE, t_mixture=None))


def test_children_of_a_split_take_their_subcomponents_parameters():
    after = apply_transition(STATE, transitions.of_splits(4, [False, True, False, False]), CONFIG)
    assert after.num_components == 5
    np.testing.assert_allclose(after.parameters.means[1:3], STATE.sub_means[1])
    np.testing.assert_allclose(after.parameters.covariances[1:3], STATE.sub_covariances[1])
    shares = STATE.parameters.mixture_weights[1] * STATE.sub_weights[1]
    np.testing.assert_allclose(after.parameters.mixture_weights[1:3], shares)
    np.testing.assert_allclose(
        after.parameters.means.numpy()[[0, 3, 4]], STATE.parameters.means.numpy()[[0, 2, 3]]
    )
    np.testing.assert_allclose(after.halves.total(axis=1).counts[1:3], STATE.halves.counts[1])
    np.testing.assert_allclose(after.soft.counts[1:3], STATE.soft.counts[1] * STATE.sub_weights[1])


def test_newborns_have_fresh_subcomponents_and_survivors_keep_theirs():
    after = apply_transition(STATE, transitions.of_splits(4, [False, True, False, False]), CONFIG)
    for name in ("sub_weights", "sub_means", "sub_covariances"):
        old, new = getattr(STATE, name).numpy(), getattr(after, name).numpy()
        np.testing.assert_array_equal(new[[0, 3, 4]], old[[0, 2, 3]])
    fresh = subcomponent_start(after.parameters.means, after.parameters.covariances)
    np.testing.assert_allclose(after.sub_means[1:3], fresh[1][1:3])


def test_a_merge_is_estimated_from_the_summed_statistics():
    after = apply_transition(STATE, transitions.of_merges(4, [[1, 3]]), CONFIG)
    weights = SOFT[:, [1]] + SOFT[:, [3]]
    means, covariances = reference.map_components(PRIOR, POINTS, weights, "joint_mode")
    np.testing.assert_allclose(after.parameters.means[1], means[0], rtol=1e-9)
    np.testing.assert_allclose(after.parameters.covariances[1], covariances[0], rtol=1e-9)
    old = STATE.parameters.mixture_weights.numpy()
    np.testing.assert_allclose(after.parameters.mixture_weights, [old[0], old[1] + old[3], old[2]])
    counts = STATE.halves.counts.numpy().sum(axis=1)
    np.testing.assert_allclose(
        after.halves.counts.numpy().sum(axis=1), [counts[0], counts[1] + counts[3], counts[2]]
    )


def test_a_merge_without_prior_is_the_sample_covariance():
    config = CONFIG.replace(prior_in_m_step=False)
    after = apply_transition(STATE, transitions.of_merges(4, [[1, 3]]), config)
    weights = SOFT[:, 1] + SOFT[:, 3]
    expected = np.cov(POINTS.T, aweights=weights, bias=True)
    np.testing.assert_allclose(after.parameters.covariances[1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "move",
    [
        transitions.of_splits(4, [True, False, True, True]),
        transitions.of_merges(4, [[0, 2], [3, 1]]),
        transitions.of_removals(4, [True, False, False, True]),
    ],
    ids=["split", "merge", "removal"],
)
def test_a_move_leaves_a_proper_mixture(move):
    after = apply_transition(STATE, move, CONFIG)
    weights, _, covariances = after.parameters
    np.testing.assert_allclose(tf.reduce_sum(weights), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(covariances).min() > 0
    assert np.linalg.eigvalsh(after.sub_covariances).min() > 0
    assert after.num_components == move.num_components == after.sub_means.shape[0]
    assert after.halves.counts.shape == (move.num_components, 2)
    assert after.soft.counts.shape == (move.num_components,)


def test_splits_and_merges_lose_no_point():
    for move in (transitions.of_splits(4, [True] * 4), transitions.of_merges(4, [[0, 1]])):
        after = apply_transition(STATE, move, CONFIG)
        np.testing.assert_allclose(tf.reduce_sum(after.soft.counts), 60.0)
        np.testing.assert_allclose(tf.reduce_sum(after.halves.counts), 60.0)
        total, wanted = after.halves.total(axis=1).total(), STATE.halves.total(axis=1).total()
        np.testing.assert_allclose(total.outer_products, wanted.outer_products)


def test_the_first_subcomponents_are_the_halves_of_a_gaussian():
    mean, covariance = np.array([1.0, -2.0]), samples.positive_definite(2, 3)
    weights, means, covariances = subcomponent_start(
        tf.constant(mean[None]), tf.constant(covariance[None])
    )
    x = np.random.default_rng(0).multivariate_normal(mean, covariance, 200_000)
    axis = np.linalg.eigh(covariance)[1][:, -1]
    is_first = (x - mean) @ axis * np.sign((means.numpy()[0, 0] - mean) @ axis) > 0
    np.testing.assert_allclose(weights, [[0.5, 0.5]])
    for side, rows in enumerate((x[is_first], x[~is_first])):
        np.testing.assert_allclose(means[0, side], rows.mean(axis=0), atol=0.02)
        np.testing.assert_allclose(covariances[0, side], np.cov(rows.T), atol=0.03)
