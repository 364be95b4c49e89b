from __future__ import annotations

import collections
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from tests.reference import mixture as reference
from tfdpm.config import DeepDPMConfig
from tfdpm.fused_adam import FusedAdam
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.networks import passes as passes_module
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.passes import Passes, epoch_order, log_targets
from tfdpm.networks.reduction import pass_statistics
from tfdpm.networks.slots import padded_density
from tfdpm.training.sources import default_batch_size

DIM, CAPACITY, NUM_COMPONENTS = 2, 16, 3
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(96, DIM)).astype(np.float32) * 2
WEIGHTS = RNG.integers(0, 4, size=96).astype(np.float32)
SUB_MEANS = RNG.normal(size=(CAPACITY, 2, DIM)).astype(np.float32)
MEANS = RNG.normal(size=(CAPACITY, DIM)).astype(np.float32)
PARAMETERS = MixtureParameters(
    tf.constant([0.5, 0.3, 0.2], tf.float64),
    tf.constant(MEANS[:NUM_COMPONENTS], tf.float64),
    tf.eye(DIM, batch_shape=[NUM_COMPONENTS], dtype=tf.float64),
)
COUNT = tf.constant(NUM_COMPONENTS)
DENSITY = padded_density(PARAMETERS, CAPACITY)
ONES = np.ones(len(FEATURES), np.float32)


def make_passes(cluster_loss="kl", subclustering="network", rate=1e-2, most_taught=1000):
    networks = ClusteringNetwork(8, CAPACITY, 0), SubclusteringNetworks(8, CAPACITY, 1)
    optimizers = keras.optimizers.Adam(rate), keras.optimizers.Adam(rate)
    for network, optimizer in zip(networks, optimizers, strict=True):
        network.build((None, DIM))
        optimizer.build(network.trainable_variables)
    config = DeepDPMConfig(
        cluster_loss=cluster_loss,
        kl_direction="target_to_network",
        subclustering=subclustering,
        max_subcluster_batch=most_taught,
        stable_epochs=None,
    )
    return Passes(*networks, *optimizers, config), networks


@pytest.fixture(scope="module")
def trained():
    """Passes whose networks have learned for an epoch, and that epoch's losses."""
    passes, networks = make_passes()
    order = tf.constant(epoch_order(len(FEATURES), 16, 1, 0, 0))
    losses = passes.train_array(
        FEATURES, ONES, order, DENSITY, MEANS, SUB_MEANS, COUNT, True
    ).numpy()
    return passes, networks, losses


def test_an_epoch_visits_every_point_once_in_an_order_of_its_own():
    orders = [epoch_order(128, 32, 1, 0, epoch) for epoch in range(2)]
    for order in orders:
        assert order.shape == (4, 32)
        np.testing.assert_array_equal(np.sort(order.ravel()), np.arange(128))
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(orders[1], epoch_order(128, 32, 1, 0, 1))
    assert (orders[1] != epoch_order(128, 32, 1, 1, 1)).any()


def test_the_last_batch_is_filled_and_small_data_are_passed_over_again():
    order = epoch_order(10, 4, 1, 0, 0)
    assert order.shape == (3, 4) and set(order.ravel()) == set(range(10))
    order = epoch_order(10, 5, 20, 0, 0)
    assert order.shape == (20, 5)
    np.testing.assert_array_equal(np.bincount(order.ravel()), np.full(10, 10))


@pytest.mark.parametrize(
    ("num_points", "num_slots", "expected"),
    [
        (50, 16, 32),
        (10_000, 16, 64),
        (10**5, 16, 512),
        (10**7, 16, 2048),
        (10_000, 80, 128),
        (50, 2048, 512),
    ],
)
def test_batches_grow_with_data_and_clusters_between_bounds(num_points, num_slots, expected):
    assert default_batch_size(num_points, num_slots) == expected


def test_targets_are_the_responsibilities_of_the_mixture():
    targets = np.exp(log_targets(DENSITY, COUNT, FEATURES, CAPACITY).numpy())
    expected = reference.responsibilities(*(p.numpy() for p in PARAMETERS), FEATURES)
    np.testing.assert_allclose(targets[:, :NUM_COMPONENTS], expected, atol=1e-6)
    assert (targets[:, NUM_COMPONENTS:] == 0.0).all()


def test_the_cluster_network_learns_the_mixture():
    passes, (clustering, _) = make_passes(rate=2e-2)
    losses = []
    for epoch in range(8):
        order = tf.constant(epoch_order(len(FEATURES), 16, 50, 0, epoch))
        losses.append(
            passes.train_array(
                FEATURES, ONES, order, DENSITY, MEANS, SUB_MEANS, COUNT, False
            ).numpy()
        )
    losses = np.array(losses)
    assert losses[0, 0] > 0.05 and losses[-1, 0] < 0.01
    assert (losses[:, 1] == 0.0).all()  # subclustering networks were not to learn
    learned = tf.nn.softmax(clustering(FEATURES, num_components=COUNT)).numpy()
    targets = log_targets(DENSITY, COUNT, FEATURES, CAPACITY)
    assert np.abs(learned - np.exp(targets)).max() < 0.2


def slow_statistics(passes_networks, weights, sub_logits=None):
    """Statistics of one pass by a loop over points."""
    clustering, subclustering = passes_networks
    logits = clustering(FEATURES, num_components=COUNT).numpy()[:, :NUM_COMPONENTS]
    responsibilities = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    responsibilities /= responsibilities.sum(axis=1, keepdims=True)
    labels = logits.argmax(axis=1)
    if sub_logits is None:
        sub_logits = subclustering(FEATURES, assignments=labels.astype(np.int32)).numpy()
    sub = expit((sub_logits[:, 0] - sub_logits[:, 1]).astype(np.float64))
    halves = np.zeros((len(FEATURES), NUM_COMPONENTS, 2))
    soft_halves = np.zeros_like(halves)
    for i, label in enumerate(labels):
        halves[i, label, int(sub_logits[i, 1] > sub_logits[i, 0])] = weights[i]
        soft_halves[i, label] = weights[i] * np.array([sub[i], 1.0 - sub[i]])
    flat = [part.reshape(len(FEATURES), -1) for part in (halves, soft_halves)]
    return [
        reference.moments(FEATURES, part) for part in (responsibilities * weights[:, None], *flat)
    ]


def compare(actual, expected):
    for group, slow in zip(actual, expected, strict=True):
        for part, wanted in zip(group, slow, strict=True):
            part = part.numpy()[:NUM_COMPONENTS]
            np.testing.assert_allclose(part, wanted.reshape(part.shape), rtol=1e-5, atol=1e-5)


def test_a_pass_reduces_the_data_to_the_statistics_of_a_loop(trained):
    passes, networks, _ = trained
    weights = np.ones(len(FEATURES))
    actual = passes.reduce_array(
        tf.constant(FEATURES), tf.ones(len(FEATURES)), tf.constant(SUB_MEANS), COUNT
    )
    compare(actual, slow_statistics(networks, weights))
    assert (actual.halves.counts.numpy()[:NUM_COMPONENTS] > 0).sum() >= 4  # no trivial case


@pytest.mark.parametrize(("most_together", "num_segment_sums"), [(32, 0), (1, 2)])
def test_one_product_sums_all_statistics_of_few_slots(
    trained, monkeypatch, most_together, num_segment_sums
):
    monkeypatch.setattr(passes_module, "_MOST_TOGETHER", most_together)
    _, networks, _ = trained
    own = Passes(*networks, None, None, trained[0].config)
    arguments = tf.constant(FEATURES), tf.ones(len(FEATURES)), tf.constant(SUB_MEANS), COUNT
    graph = tf.function(own.sum_batch, autograph=False).get_concrete_function(*arguments).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("UnsortedSegmentSum") == num_segment_sums
    sums = pass_statistics(own.sum_batch(*arguments), DIM)
    compare(sums, slow_statistics(networks, np.ones(len(FEATURES))))


def count_operations(function, *arguments):
    """Operations of a graph that compute, by kind: on an accelerator each of them is a launch."""
    graph = tf.function(function, autograph=False).get_concrete_function(*arguments).graph
    idle = {"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "Shape"}
    kinds = (operation.type for operation in graph.get_operations())
    return collections.Counter(kind for kind in kinds if kind not in idle)


def test_a_step_is_few_operations():
    passes, networks = make_passes()
    optimizers = FusedAdam(1e-2), FusedAdam(1e-2)
    for network, optimizer in zip(networks, optimizers, strict=True):
        optimizer.build(network.trainable_variables)
    passes = Passes(*networks, *optimizers, passes.config)
    batch = tf.constant(FEATURES), tf.constant(ONES)
    targets = DENSITY, tf.constant(MEANS), tf.constant(SUB_MEANS), COUNT, True
    kinds = count_operations(passes.step, batch, *targets)
    assert kinds["ResourceApplyAdam"] == 8 and kinds["MatMul"] == 15
    assert kinds.total() <= 175
    assert not kinds.keys() & {"While", "StatelessWhile", "Where", "PyFunc", "EagerPyFunc"}


def test_a_slice_is_few_operations_and_one_product_on_an_accelerator(trained, monkeypatch):
    arguments = tf.constant(FEATURES), tf.constant(WEIGHTS), tf.constant(SUB_MEANS), COUNT
    passes, networks, _ = trained
    assert count_operations(passes.sum_batch, *arguments).total() <= 52
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["/GPU:0"])
    kinds = count_operations(passes.sum_batch, *arguments)
    assert kinds.total() <= 60 and not kinds.keys() & {"While", "StatelessWhile", "Where"}
    sums = tf.function(passes.sum_batch, autograph=False)(*arguments)
    compare(pass_statistics(sums, DIM), slow_statistics(networks, WEIGHTS))


def test_a_pass_without_a_graph_is_the_same_pass_and_leaves_no_trace(trained):
    passes, networks, _ = trained
    brief = Passes(*networks, None, None, passes.config.replace(epochs=2))
    weights = tf.linspace(0.5, 2.0, len(FEATURES))
    results = [
        each(FEATURES, weights, SUB_MEANS, COUNT)
        for each in (brief.reduce_few_points, passes.reduce_array)
    ]
    for actual, expected in zip(*map(tf.nest.flatten, results), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)
    labels = [each.label_batch(FEATURES, SUB_MEANS, COUNT) for each in (brief, passes)]
    for actual, expected in zip(*labels, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert brief.num_traces == 0


def test_a_point_of_weight_two_counts_as_two_points(trained):
    passes, networks, _ = trained
    arguments = tf.constant(SUB_MEANS), COUNT
    weighted = passes.reduce_array(tf.constant(FEATURES), tf.constant(WEIGHTS), *arguments)
    copies = np.repeat(FEATURES, WEIGHTS.astype(int), axis=0)
    copied = passes.reduce_array(tf.constant(copies), tf.ones(len(copies)), *arguments)
    for group, other in zip(weighted, copied, strict=True):
        for part, wanted in zip(group, other, strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-6, atol=1e-6)
    compare(weighted, slow_statistics(networks, WEIGHTS))


def test_halves_add_up_to_the_whole(trained):
    passes, networks, _ = trained
    reduced = passes.reduce_array(
        tf.constant(FEATURES), tf.constant(WEIGHTS), tf.constant(SUB_MEANS), COUNT
    )
    labels = networks[0](FEATURES, num_components=COUNT).numpy().argmax(axis=1)
    hard = reference.moments(FEATURES, np.eye(CAPACITY)[labels] * WEIGHTS[:, None])
    for soft_half, half, wanted in zip(reduced.soft_halves, reduced.halves, hard, strict=True):
        np.testing.assert_allclose(soft_half.numpy().sum(axis=1), wanted, atol=1e-4)
        np.testing.assert_allclose(half.numpy().sum(axis=1), wanted, atol=1e-4)
    np.testing.assert_allclose(reduced.soft.counts.numpy().sum(), WEIGHTS.sum(), rtol=1e-9)
    whole = (FEATURES * WEIGHTS[:, None]).sum(axis=0)
    np.testing.assert_allclose(reduced.soft.sums.numpy().sum(axis=0), whole, atol=1e-4)


def test_a_stream_is_reduced_like_an_array(trained):
    passes, _, _ = trained
    batches = tf.data.Dataset.from_tensor_slices((FEATURES, WEIGHTS)).batch(10)
    stream = passes.reduce_stream(batches, tf.constant(SUB_MEANS), COUNT)
    array = passes.reduce_array(
        tf.constant(FEATURES), tf.constant(WEIGHTS), tf.constant(SUB_MEANS), COUNT
    )
    for group, other in zip(stream, array, strict=True):
        for part, wanted in zip(group, other, strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-6, atol=1e-6)


def test_a_stream_teaches_like_an_array_in_the_same_order(trained):
    _, networks, losses = trained
    passes, others = make_passes()
    order = epoch_order(len(FEATURES), 16, 1, 0, 0).ravel()
    batches = tf.data.Dataset.from_tensor_slices((FEATURES[order], np.ones(96, np.float32)))
    streamed = passes.train_stream(batches.batch(16), DENSITY, MEANS, SUB_MEANS, COUNT, True)
    np.testing.assert_allclose(streamed, losses, rtol=1e-4)
    for network, other in zip(networks, others, strict=True):
        for value, wanted in zip(other.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_allclose(value, wanted, atol=1e-5)


def test_points_without_weight_teach_nothing():
    passes, networks = make_passes()
    before = [weight for network in networks for weight in network.get_weights()]
    order = tf.constant(epoch_order(len(FEATURES), 16, 1, 0, 0))
    losses = passes.train_array(
        FEATURES, 0 * ONES, order, DENSITY, MEANS, SUB_MEANS, COUNT, True
    ).numpy()
    after = [weight for network in networks for weight in network.get_weights()]
    assert (losses == 0.0).all()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_subclustering_networks_learn_from_the_first_points_of_a_batch():
    taught = []
    for most_taught, weights in ((8, np.ones(96)), (1000, np.arange(96) < 8)):
        passes, networks = make_passes(most_taught=most_taught)
        order = tf.constant(np.arange(96)[None], tf.int32)
        weights = tf.constant(weights, tf.float32)
        passes.train_array(FEATURES, weights, order, DENSITY, MEANS, SUB_MEANS, COUNT, True)
        taught.append(networks[1].get_weights())
    for one, other in zip(*taught, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_two_means_assigns_each_point_to_the_nearer_of_its_clusters_means():
    passes, networks = make_passes(subclustering="two_means")
    labels = networks[0](FEATURES, num_components=COUNT).numpy().argmax(axis=1)
    distances = ((FEATURES[:, None] - SUB_MEANS[labels]) ** 2).sum(axis=2)
    assert distances.argmin(axis=1).any()
    found, sides = passes.label_batch(tf.constant(FEATURES), tf.constant(SUB_MEANS), COUNT)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(sides, distances.argmin(axis=1))
    reduced = passes.reduce_array(
        tf.constant(FEATURES), tf.ones(len(FEATURES)), tf.constant(SUB_MEANS), COUNT
    )
    compare(reduced, slow_statistics(networks, np.ones(96), sub_logits=-1e6 * distances))


def test_the_isotropic_loss_pulls_points_to_the_nearest_mean():
    passes, (clustering, _) = make_passes("isotropic", rate=2e-2)
    means = np.zeros((CAPACITY, DIM), np.float32)
    means[:2] = [[-2.0, 0.0], [2.0, 0.0]]
    order = tf.constant(epoch_order(len(FEATURES), 16, 300, 0, 0))
    # The density is of no use to this loss.
    passes.train_array(FEATURES, ONES, order, DENSITY, means, SUB_MEANS, tf.constant(2), False)
    labels = clustering(FEATURES, num_components=2).numpy().argmax(axis=1)
    assert np.mean(labels == (FEATURES[:, 0] > 0)) > 0.95


def test_passes_are_traced_once_whatever_changes_from_epoch_to_epoch():
    passes, _ = make_passes()
    data = tf.constant(FEATURES), tf.ones(96)
    for epoch in range(3):
        order = tf.constant(epoch_order(len(FEATURES), 16, 1, 0, epoch))
        count = tf.constant(epoch + 1)
        first = MixtureParameters(*(part[: epoch + 1] for part in PARAMETERS))
        density = padded_density(first, CAPACITY)
        passes.train_array(*data, order, density, MEANS + epoch, SUB_MEANS, count, True)
        passes.reduce_array(*data, tf.constant(SUB_MEANS), count)
    assert passes.num_traces == 2


def test_an_epoch_by_xla_is_the_same_epoch_and_is_traced_once():
    plain, networks = make_passes()
    by_xla, xla_networks = make_passes()
    for epoch in range(2):
        order = tf.constant(epoch_order(len(FEATURES), 16, 1, 0, epoch))
        count = tf.constant(3 - epoch)
        first = MixtureParameters(*(part[: 3 - epoch] for part in PARAMETERS))
        density = padded_density(first, CAPACITY)
        arguments = FEATURES, WEIGHTS, order, density, MEANS, SUB_MEANS, count, True
        losses = plain.train_array(*arguments), by_xla.train_array_by_xla(*arguments)
        np.testing.assert_allclose(*losses, rtol=1e-4)
    for network, other in zip(networks, xla_networks, strict=True):
        for weight, same in zip(network.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(weight, same, atol=1e-5)
    assert by_xla.num_traces == 1


def test_many_models_in_one_process_are_no_reason_for_warnings():
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    tf.get_logger().addHandler(handler)
    try:
        for _ in range(6):  # five are enough for a warning
            passes, _ = make_passes()
            for count in (5, 6, 7):
                passes.infer_batch(tf.constant(FEATURES[:count]), COUNT)
            passes.reduce_array(tf.constant(FEATURES), tf.ones(96), tf.constant(SUB_MEANS), COUNT)
            assert passes.num_traces <= 3
    finally:
        tf.get_logger().removeHandler(handler)
    assert [record.getMessage() for record in records] == []
