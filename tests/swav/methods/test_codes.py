"""Codes against a slow float64 loop and the optimal transport plan; the queue against a list."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linprog

from tfdpm.swav.methods.codes import FeatureQueue, sinkhorn


def reference_codes(scores, epsilon, iterations):
    """The published loop: prototypes as rows, one normalisation after the other, in float64."""
    plan = np.exp(np.asarray(scores, np.float64).T / epsilon)
    num_prototypes, batch = plan.shape
    plan /= plan.sum()
    for _ in range(iterations):
        for k in range(num_prototypes):
            plan[k] /= plan[k].sum() * num_prototypes
        for n in range(batch):
            plan[:, n] /= plan[:, n].sum() * batch
    return (plan * batch).T


def random_scores(batch, num_prototypes, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(batch, 6))
    prototypes = rng.normal(size=(num_prototypes, 6))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    return embeddings @ prototypes.T


@pytest.mark.parametrize("shape", [(7, 5), (5, 11), (32, 32)])
@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_codes_equal_the_slow_loop(shape, iterations, epsilon):
    scores = random_scores(*shape)
    expected = reference_codes(scores, epsilon, iterations)
    np.testing.assert_allclose(sinkhorn(scores, epsilon, iterations), expected, atol=1e-12)
    single = sinkhorn(scores.astype(np.float32), epsilon, iterations)
    assert single.dtype == tf.float32
    np.testing.assert_allclose(single, expected, atol=2e-5)


def test_many_iterations_reach_the_optimal_transport_plan():
    batch, num_prototypes, epsilon = 6, 4, 0.02
    scores = random_scores(batch, num_prototypes, seed=3)
    codes = sinkhorn(scores, epsilon, 500).numpy()
    np.testing.assert_allclose(codes.sum(0), batch / num_prototypes, atol=1e-4)
    rows = np.kron(np.eye(batch), np.ones(num_prototypes))
    columns = np.kron(np.ones(batch), np.eye(num_prototypes))
    best = linprog(
        -scores.ravel(),
        A_eq=np.vstack([rows, columns]),
        b_eq=np.r_[np.ones(batch), np.full(num_prototypes, batch / num_prototypes)],
    )
    # The entropic plan gives away at most epsilon times the entropy, epsilon * B * ln P.
    gap = -best.fun - (codes * scores).sum()
    assert -1e-4 <= gap <= epsilon * batch * np.log(num_prototypes)
    np.testing.assert_allclose(codes, best.x.reshape(codes.shape), atol=0.05)


def test_rows_sum_to_one_and_prototypes_share_alike():
    codes = sinkhorn(random_scores(64, 10), 0.05, 200).numpy()
    np.testing.assert_allclose(codes.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(codes.sum(0), 6.4, atol=1e-4)


def test_a_constant_added_to_the_scores_changes_nothing():
    scores = random_scores(16, 8)
    np.testing.assert_allclose(sinkhorn(scores + 1e3), sinkhorn(scores), atol=1e-9)


def test_permuting_samples_and_prototypes_permutes_codes():
    scores = random_scores(9, 7)
    rows, columns = np.random.default_rng(1).permutation(9), np.random.default_rng(2).permutation(7)
    permuted = sinkhorn(scores[rows][:, columns]).numpy()
    np.testing.assert_allclose(permuted, sinkhorn(scores).numpy()[rows][:, columns], atol=1e-12)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-3, 100.0])
def test_extreme_epsilons_stay_finite(epsilon):
    codes = sinkhorn(random_scores(16, 8).astype(np.float32), epsilon).numpy()
    assert np.isfinite(codes).all()
    np.testing.assert_allclose(codes.sum(1), 1.0, atol=1e-5)


def test_half_precision_scores_are_computed_in_float32():
    scores = tf.cast(random_scores(16, 8), tf.float16)
    codes = sinkhorn(scores)
    assert codes.dtype == tf.float32
    expected = reference_codes(scores.numpy(), 0.05, 3)
    np.testing.assert_allclose(codes, expected, atol=1e-4)


def test_identical_samples_get_uniform_codes():
    scores = np.repeat(random_scores(1, 8), 5, axis=0)
    np.testing.assert_allclose(sinkhorn(scores, iterations=1), 1 / 8, atol=1e-12)


def test_no_gradient_flows_through_codes():
    scores = tf.Variable(random_scores(4, 3))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(sinkhorn(scores) * [1.0, 2.0, 3.0])
    assert tape.gradient(total, scores) is None


def test_rows_of_weight_zero_influence_nobody():
    scores = random_scores(12, 5)
    weights = tf.constant([1.0] * 8 + [0.0] * 4)
    np.testing.assert_allclose(
        sinkhorn(scores, row_weights=weights)[:8], sinkhorn(scores[:8]), atol=1e-9
    )


def test_split_batch_with_gathered_sums_equals_whole_batch():
    scores = random_scores(10, 6)
    other_sums, row = [], np.zeros((10, 1))
    for _ in range(2):
        masses = scores / 0.05 + row
        other_sums.append(tf.reduce_logsumexp(masses[:5], axis=0))
        column = -tf.reduce_logsumexp(masses, axis=0)
        row = -tf.reduce_logsumexp(scores / 0.05 + column, axis=1, keepdims=True).numpy()

    half = sinkhorn(
        scores[5:],
        iterations=2,
        gather_replicas=lambda log_sums: tf.stack([other_sums.pop(0), log_sums]),
    )
    np.testing.assert_allclose(half, sinkhorn(scores, iterations=2)[5:], atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"scores": np.zeros(3)}, ValueError),
        ({"scores": np.zeros((2, 2), int)}, TypeError),
        ({"scores": np.zeros((2, 2)), "epsilon": 0.0}, ValueError),
        ({"scores": np.zeros((2, 2)), "iterations": 0}, ValueError),
    ],
)
def test_bad_arguments_are_named(arguments, error):
    with pytest.raises(error, match="wanted"):
        sinkhorn(**arguments)


def test_columns_carry_the_wanted_shares() -> None:
    scores = np.random.default_rng(0).normal(size=(40, 5))
    shares = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    codes = sinkhorn(scores, 0.3, 500, column_weights=7.0 * shares).numpy()
    np.testing.assert_allclose(codes.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(codes.mean(axis=0), shares, atol=1e-9)


def test_equal_shares_are_the_default() -> None:
    scores = np.random.default_rng(1).normal(size=(12, 4))
    equal = sinkhorn(scores, column_weights=np.full(4, 0.25))
    np.testing.assert_allclose(equal, sinkhorn(scores), atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 3])
def test_shares_against_scaling_by_hand(iterations) -> None:
    scores = np.random.default_rng(2).normal(size=(9, 3))
    shares = np.array([0.6, 0.3, 0.1])
    plan = np.exp(scores / 0.5)
    for _ in range(iterations):
        for column in range(3):
            plan[:, column] *= shares[column] / plan[:, column].sum()
        for row in range(9):
            plan[row] /= plan[row].sum()
    codes = sinkhorn(scores, 0.5, iterations, column_weights=shares)
    np.testing.assert_allclose(codes, plan, atol=1e-12)


def test_hard_codes_with_shares_solve_the_transport_problem() -> None:
    rng = np.random.default_rng(3)
    scores, shares = rng.normal(size=(10, 3)), np.array([0.5, 0.3, 0.2])
    codes = sinkhorn(scores, 0.005, 5000, column_weights=shares).numpy()
    rows = np.kron(np.eye(10), np.ones(3))
    columns = np.kron(np.ones(10), np.eye(3))
    best = linprog(
        -scores.ravel(),
        A_eq=np.concatenate([rows, columns]),
        b_eq=np.concatenate([np.ones(10), 10 * shares]),
    )
    assert abs((codes * scores).sum() + best.fun) < 0.02


def test_queue_keeps_the_newest_in_order():
    queue, kept = FeatureQueue(2, 5, 3), [[], []]
    rng = np.random.default_rng(0)
    for pushed, size in enumerate([2, 2, 2, 3, 7]):
        batch = rng.normal(size=(2, size, 3)).astype(np.float32)
        queue.push(tf.constant(batch))
        kept = [(lane + list(new))[-5:] for lane, new in zip(kept, batch, strict=True)]
        if pushed >= 2:
            np.testing.assert_array_equal(queue.storage.numpy(), kept)


def test_queue_is_full_only_when_every_slot_was_pushed():
    queue = FeatureQueue(1, 4, 2)
    fullness = []
    for _ in range(3):
        queue.push(tf.zeros([1, 2, 2]))  # zeros count: fullness is counted, not guessed
        fullness.append(bool(queue.is_full()))
    assert fullness == [False, True, True]
    assert not bool(FeatureQueue(1, 0, 2).is_full())


def test_replicas_push_everything_and_share_without_overlap(two_replicas):
    strategy = two_replicas
    with strategy.scope():
        queue = FeatureQueue(1, 5, 1)

    @tf.function
    def step():
        def run():
            rank = tf.distribute.get_replica_context().replica_id_in_sync_group
            batch = tf.reshape(tf.range(4.0), [1, 4, 1])
            queue.push(tf.cast(rank, tf.float32) * 10 + batch)
            return queue.share()

        return strategy.run(run)

    shares = strategy.experimental_local_results(step())
    joined = np.concatenate([share.numpy() for share in shares], axis=1).ravel()
    np.testing.assert_array_equal(joined, [3.0, 10.0, 11.0, 12.0, 13.0])
    np.testing.assert_array_equal(queue.storage.numpy().ravel(), joined)


def test_queue_survives_saving(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.queue = FeatureQueue(1, 4, 3)
    model.queue.push(tf.ones([1, 3, 3]))
    model.save_weights(tmp_path / "q.weights.h5")
    other = keras.models.clone_model(model)
    other.queue = FeatureQueue(1, 4, 3)
    other.load_weights(tmp_path / "q.weights.h5")
    np.testing.assert_array_equal(other.queue.storage.numpy(), model.queue.storage.numpy())
    assert int(other.queue.filled.numpy()) == 3
