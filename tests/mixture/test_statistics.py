from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import mixture as reference
from tests.reference import samples
from tfdpm.mixture import statistics
from tfdpm.mixture.statistics import SufficientStatistics, accumulate, accumulate_hard


@pytest.fixture
def small_slices(monkeypatch):
    """Slices of 256 points, the smallest there are."""
    monkeypatch.setattr(statistics, "_SLICE_ELEMENTS", 1)
    monkeypatch.setattr(statistics, "_WIDE_SLICE_ELEMENTS", 1)


def assert_same(actual, expected, rtol=1e-12, atol=1e-12):
    for part, truth in zip(actual, expected, strict=True):
        assert part.dtype == tf.float64
        np.testing.assert_allclose(part, truth, rtol=rtol, atol=atol)


# Above 12 features there is one product per component, of float32 points in float32.
@pytest.mark.parametrize(
    ("feature_dim", "dtype", "precision"),
    [(d, np.float64, 1e-12) for d in (1, 3, 12, 13)]
    + [(d, np.float32, 1e-12) for d in (1, 3, 12)]
    + [(13, np.float32, 3e-6)],
)
def test_soft_statistics_equal_a_loop(feature_dim, dtype, precision):
    points = samples.points(40, feature_dim, loc=0.3).astype(dtype)
    weights = samples.weights(40, 4).astype(dtype)
    actual = accumulate(tf.constant(points), tf.constant(weights))
    assert_same(actual, reference.moments(points, weights), precision, precision)


@pytest.fixture
def accelerator(monkeypatch):
    """A device whose sums of many features are made by one stack of products."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["/GPU:0"])


@pytest.mark.parametrize("feature_dim", [1, 12, 13, 40])
def test_an_accelerator_finds_the_same_statistics(accelerator, feature_dim):
    points, weights = samples.points(300, feature_dim, loc=0.3), samples.weights(300, 4)
    assert_same(accumulate(points, weights), reference.moments(points, weights), 1e-11, 1e-11)
    assignments = np.arange(300) % 5 - 1  # of some points to nobody
    kept = assignments >= 0
    truth = reference.moments(points[kept], np.eye(6)[assignments[kept]] * weights[kept, :1])
    actual = accumulate_hard(points, assignments, 6, weights=tf.constant(weights[:, 0]))
    assert_same(actual, truth, 1e-11, 1e-11)


def test_an_accelerator_makes_one_product_for_all_components(accelerator):
    sums = {}
    for num_components in (3, 30):
        arguments = samples.points(50, 20), samples.weights(50, num_components)
        graph = tf.function(accumulate, autograph=False).get_concrete_function(*arguments).graph
        kinds = [operation.type for operation in graph.get_operations()]
        assert not {"While", "StatelessWhile", "Where"} & set(kinds)
        sums[num_components] = len(kinds), sum("MatMul" in kind for kind in kinds)
    assert sums[3] == sums[30] and sums[3][1] == 2  # for the means, and about them


@pytest.mark.parametrize("device", [[], ["/GPU:0"]])
def test_many_features_far_from_the_origin_keep_their_covariance_in_float32(monkeypatch, device):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: device)
    points = (samples.points(500, 40) + 300.0).astype(np.float32)
    weights = samples.weights(500, 2)
    counts, sums, products = accumulate(points, weights.astype(np.float32))
    for k in range(2):
        mean = sums[k] / counts[k]
        covariance = products[k] / counts[k] - np.outer(mean, mean)
        truth = np.cov(points.astype(np.float64).T, aweights=weights[:, k], ddof=0)
        # About the origin, float32 would leave an error of 300^2 * 1e-7 = 0.01.
        np.testing.assert_allclose(covariance, truth, rtol=0, atol=2e-5)


def test_negligible_weights_of_many_features_are_left_out():
    points, weights = samples.points(20, 13), samples.weights(20, 2)
    weights[:10, 1] = 1e-30
    actual = accumulate(points, weights)
    weights[:10, 1] = 0.0
    assert_same(actual, reference.moments(points, weights))


@pytest.mark.parametrize("feature_dim", [1, 3, 13])
def test_hard_statistics_equal_a_loop_over_one_hot_weights(feature_dim):
    points = samples.points(50, feature_dim, loc=-0.2)
    assignments = np.random.default_rng(1).integers(0, 4, 50)
    actual = accumulate_hard(tf.constant(points), tf.constant(assignments), 5)
    assert_same(actual, reference.moments(points, np.eye(5)[assignments]))
    assert actual.counts[4] == 0.0


def test_hard_statistics_multiply_by_sample_weights():
    points = samples.points(50, 3)
    assignments = np.random.default_rng(1).integers(0, 3, 50)
    sample_weights = np.random.default_rng(2).uniform(0.1, 3.0, 50)
    actual = accumulate_hard(points, assignments, 3, weights=tf.constant(sample_weights))
    assert_same(actual, reference.moments(points, np.eye(3)[assignments] * sample_weights[:, None]))


def test_points_assigned_to_nobody_are_left_out():
    points = samples.points(30, 2)
    assignments = np.arange(30) % 3 - 1
    actual = accumulate_hard(points, assignments, 2)
    kept = assignments >= 0
    assert_same(actual, reference.moments(points[kept], np.eye(2)[assignments[kept]]))


@pytest.mark.parametrize("num_points", [0, 1, 255, 256, 257, 512, 700])
@pytest.mark.parametrize("feature_dim", [3, 33])
def test_slices_change_nothing(small_slices, num_points, feature_dim):
    points, weights = samples.points(num_points, feature_dim), samples.weights(num_points, 2)
    assert_same(accumulate(points, weights), reference.moments(points, weights), atol=1e-11)
    assignments = np.arange(num_points) % 2
    actual = accumulate_hard(points, assignments, 2)
    assert_same(actual, reference.moments(points, np.eye(2)[assignments]), atol=1e-11)


@pytest.mark.parametrize("num_points", [0, 256, 600])
def test_graphs_take_batches_of_unknown_size(small_slices, num_points):
    floats, integers = tf.TensorSpec([None, 3], tf.float64), tf.TensorSpec([None], tf.int64)

    @tf.function(input_signature=[floats, tf.TensorSpec([None, 2], tf.float64), integers])
    def both(points, weights, assignments):
        return accumulate(points, weights), accumulate_hard(points, assignments, 2)

    points, weights = samples.points(num_points, 3), samples.weights(num_points, 2)
    assignments = np.arange(num_points) % 2
    soft, hard = both(points, weights, assignments)
    assert_same(soft, reference.moments(points, weights), atol=1e-11)
    assert_same(hard, reference.moments(points, np.eye(2)[assignments]), atol=1e-11)


@pytest.mark.parametrize("cut", [1, 17, 59])
def test_statistics_of_batches_add_and_order_does_not_matter(cut):
    points, weights = samples.points(60, 3), samples.weights(60, 4)
    whole = accumulate(points, weights)
    order = np.random.default_rng(cut).permutation(60)
    first, second = order[:cut], order[cut:]
    added = accumulate(points[first], weights[first]).plus(
        accumulate(points[second], weights[second])
    )
    assert_same(added, whole)
    assert_same(statistics.zeros(4, 3).plus(whole), whole, rtol=0, atol=0)


def test_float32_points_are_summed_in_float64():
    # A float32 running sum of 0.1 a hundred thousand times is off by more than 1e-5.
    points = np.full((100_000, 1), 0.1, np.float32)
    actual = accumulate(points, np.ones((100_000, 1), np.float32))
    value = float(np.float32(0.1))
    np.testing.assert_allclose(actual.sums[0, 0], 1e5 * value, rtol=1e-12)
    np.testing.assert_allclose(actual.outer_products[0, 0, 0], 1e5 * value**2, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_scatter_loses_only_what_the_distance_to_the_origin_takes(offset):
    # The scatter is a difference of terms (offset / deviation)^2 as large: that many units in the
    # last place are lost. About the mean nothing is, which is why callers centre their points.
    points = samples.points(500, 3) + offset
    truth = np.cov(points.T, ddof=0)

    def scatter(values):
        counts, sums, outer_products = accumulate(values, np.ones((500, 1)))
        return (outer_products[0] - np.outer(sums[0], sums[0]) / counts[0]) / counts[0]

    lost = 50 * np.finfo(float).eps * (1.0 + offset**2)
    np.testing.assert_allclose(scatter(points), truth, rtol=0, atol=lost)
    np.testing.assert_allclose(scatter(points - points.mean(axis=0)), truth, rtol=0, atol=1e-13)


def test_select_total_and_scaled_act_on_every_part():
    points, weights = samples.points(30, 3), samples.weights(30, 4)
    whole = accumulate(points, weights)
    assert_same(whole.select([2, 0]), reference.moments(points, weights[:, [2, 0]]))
    assert_same(
        SufficientStatistics(*(part[tf.newaxis] for part in whole.total())),
        reference.moments(points, weights.sum(axis=1, keepdims=True)),
    )
    assert_same(whole.scaled(0.25), reference.moments(points, 0.25 * weights))
    assert whole.feature_dim == 3


def test_select_and_total_act_along_the_axis_asked_for():
    whole = accumulate(samples.points(30, 3), samples.weights(30, 6))
    paired = SufficientStatistics(
        tf.reshape(whole.counts, [3, 2]),
        tf.reshape(whole.sums, [3, 2, 3]),
        tf.reshape(whole.outer_products, [3, 2, 3, 3]),
    )
    assert_same(paired.select(1, axis=1), whole.select([1, 3, 5]))
    assert_same(paired.total(axis=1), whole.select([0, 2, 4]).plus(whole.select([1, 3, 5])))


def test_zeros_are_the_statistics_of_no_points():
    empty = statistics.zeros(2, 3)
    assert [tuple(part.shape) for part in empty] == [(2,), (2, 3), (2, 3, 3)]
    assert_same(empty, accumulate(np.zeros((0, 3)), np.zeros((0, 2))), rtol=0, atol=0)


def test_moment_features_are_one_the_point_and_its_products():
    features = statistics.moment_features(tf.constant([[2.0, 3.0, 5.0]], tf.float32))
    assert features.dtype == tf.float64
    np.testing.assert_array_equal(features[:, 0], [1, 2, 3, 5, 4, 6, 10, 9, 15, 25])
