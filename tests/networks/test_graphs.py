from __future__ import annotations

import gc
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.networks.test_passes import CAPACITY, COUNT, DENSITY, DIM, MEANS, SUB_MEANS
from tfdpm.config import DeepDPMConfig
from tfdpm.networks import graphs
from tfdpm.networks.fused_adam import FusedAdam
from tfdpm.networks.pair import NetworkPair, create_networks
from tfdpm.networks.passes import epoch_order

CONFIG = DeepDPMConfig(subclustering="network")
CONSTANTS = DENSITY, tf.constant(MEANS), tf.constant(SUB_MEANS), COUNT, True


@pytest.fixture(autouse=True)
def forgotten():
    graphs.forget_graphs()
    yield
    graphs.forget_graphs()


def make_pair(seed=0, optimizer=FusedAdam, config=CONFIG, capacity=CAPACITY, rates=(1e-2, 1e-2)):
    networks = create_networks(DIM, 8, capacity, config, seed)
    return NetworkPair(*networks, tuple(optimizer(rate) for rate in rates), config)


def train(pair, num_points=96, epochs=2):
    points = np.random.default_rng(0).normal(size=(num_points, DIM)).astype(np.float32)
    data = tf.constant(points), tf.ones(num_points)
    for epoch in range(epochs):
        order = tf.constant(epoch_order(num_points, 16, 1, 0, epoch))
        pair.passes.train_array(*data, order, *CONSTANTS)
    statistics = pair.passes.reduce_array(*data, tf.constant(SUB_MEANS), COUNT)
    return [*pair.copy_weights(), *map(np.array, tf.nest.flatten(statistics))]


def assert_same(found, expected):
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-6)


def test_networks_alike_share_graphs_and_no_weight():
    first = make_pair()
    before = train(first)
    second = make_pair(seed=1)
    found = train(second, num_points=150)
    assert (first.num_traces, second.num_traces) == (2, 0)
    assert_same(first.copy_weights(), before[:8])
    graphs.forget_graphs()
    again = make_pair(seed=1)
    assert_same(found, train(again, num_points=150))
    assert again.num_traces == 2


def test_learning_rates_are_those_of_each_pair():
    train(make_pair())
    still = make_pair(rates=(0.0, 1e-2))
    before = still.copy_weights()
    train(still)
    assert still.num_traces == 0
    changed = [not np.array_equal(*both) for both in zip(before, still.copy_weights(), strict=True)]
    assert changed == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": keras.optimizers.Adam},
        {"optimizer": lambda rate: FusedAdam(rate, beta_1=0.8)},
        {"optimizer": lambda rate: FusedAdam(keras.optimizers.schedules.CosineDecay(rate, 9))},
        {"config": CONFIG.replace(kl_direction="network_to_target")},
        {"capacity": 32},
    ],
)
def test_networks_that_differ_share_nothing(changes):
    train(make_pair())
    other = make_pair(**changes)
    if "capacity" not in changes:
        train(other)
        assert other.num_traces == 2
        return
    statistics = other.passes.reduce_array(
        tf.zeros([9, DIM]), tf.ones(9), tf.zeros([32, 2, DIM]), COUNT
    )
    assert statistics.soft.counts.shape == [32]


def test_frozen_weights_stay_as_they_are_where_others_have_learned():
    train(make_pair())
    frozen = make_pair()
    frozen.clustering.hidden.trainable = False
    kernel = np.array(frozen.clustering.hidden.kernel)
    frozen = frozen.replace(optimizers=(FusedAdam(1e-2), FusedAdam(1e-2)))
    train(frozen)
    np.testing.assert_array_equal(frozen.clustering.hidden.kernel, kernel)


def test_graphs_outlive_the_networks_that_they_were_traced_with():
    first = make_pair()
    expected = train(first)
    references = [weakref.ref(each) for each in (first, first.passes, first.clustering)]
    del first
    keras.backend.clear_session()
    gc.collect()
    assert [reference() for reference in references] == [None] * 3
    second = make_pair()
    with tf.GradientTape():  # which looks at the variables of graphs
        assert_same(train(second), expected)
    assert second.num_traces == 0


def test_few_graphs_of_small_networks_are_kept(monkeypatch):
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 2)
    for beta in (0.8, 0.7, 0.6):
        train(make_pair(optimizer=lambda rate, beta=beta: FusedAdam(rate, beta_1=beta)))
    oldest = make_pair(optimizer=lambda rate: FusedAdam(rate, beta_1=0.8))
    train(oldest)
    assert oldest.num_traces == 2
    graphs.forget_graphs()
    monkeypatch.setattr(graphs, "_MOST_ELEMENTS", 10)
    train(make_pair())
    again = make_pair()
    train(again)
    assert again.num_traces == 2


def test_batches_of_ever_new_sizes_are_not_all_traced():
    pair, points = make_pair(), tf.zeros([40, DIM])
    for size in range(5, 25):
        order = tf.reshape(tf.range(size), [1, size])
        pair.passes.train_array(points, tf.ones(40), order, *CONSTANTS)
    assert pair.num_traces <= 6


def test_several_threads_use_a_graph_at_once():
    expected = train(make_pair())
    found = []
    pairs = [make_pair() for _ in range(4)]
    threads = [threading.Thread(target=lambda p=pair: found.append(train(p))) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    for each in found:
        assert_same(each, expected)
