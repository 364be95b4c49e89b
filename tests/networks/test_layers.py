from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.networks.layers import ClusteringNetwork, ComponentHead, SubclusteringNetworks

DIM, HIDDEN, CAPACITY = 3, 7, 8


def clustering_network(seed=0):
    network = ClusteringNetwork(HIDDEN, CAPACITY, seed)
    network.build((None, DIM))
    return network


def subclustering_networks(seed=0):
    networks = SubclusteringNetworks(HIDDEN, CAPACITY, seed)
    networks.build((None, DIM))
    # Biases that differ, so that a bias of the wrong network shows.
    for offset, variable in enumerate((networks.hidden_bias, networks.bias)):
        variable.assign(tf.random.stateless_normal(variable.shape, (seed, 100 + offset)))
    return networks


def points(count=20, seed=0):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def mlp(x, hidden_kernel, hidden_bias, kernel, bias):
    return np.maximum(x @ hidden_kernel + hidden_bias, 0.0) @ kernel + bias


def test_clustering_logits_are_those_of_a_two_layer_perceptron():
    network, x = clustering_network(), points()
    expected = mlp(x, *(variable.numpy() for variable in network.weights))
    actual = network(x, num_components=CAPACITY)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("num_components", [1, 3, CAPACITY])
def test_spare_slots_have_probability_exactly_zero(num_components):
    responsibilities = tf.nn.softmax(
        clustering_network()(points(), num_components=tf.constant(num_components))
    ).numpy()
    assert (responsibilities[:, num_components:] == 0.0).all()
    assert (responsibilities[:, :num_components] > 0.0).all()
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("num_components", [1, 3, CAPACITY])
def test_few_rows_are_answered_as_by_the_graph(num_components):
    network, x = clustering_network(), points()
    wanted = tf.nn.softmax(network(x, num_components=num_components)[:, :num_components])
    few = network.respond_to_few(x, num_components)
    np.testing.assert_allclose(few, wanted, rtol=1e-5, atol=1e-7)
    assert few.dtype == np.float32
    network.hidden.kernel.assign(-network.hidden.kernel)  # weights are never those of before
    assert num_components == 1 or np.abs(network.respond_to_few(x, num_components) - few).max() > 0


def test_masked_slots_receive_no_gradient():
    network, x = clustering_network(), points()
    with tf.GradientTape() as tape:
        logits = network(x, num_components=3)
        loss = tf.reduce_sum(tf.nn.log_softmax(logits)[:, :3] ** 2)
    kernel, bias = tape.gradient(loss, [network.head.kernel.value, network.head.bias.value])
    assert (kernel.numpy()[:, 3:] == 0.0).all() and (bias.numpy()[3:] == 0.0).all()
    assert (bias.numpy()[:3] != 0.0).all()


@pytest.fixture(params=[0, 64], ids=["gathered", "side_by_side"])
def way(request, monkeypatch):
    """How points of a gradient step meet the networks."""
    monkeypatch.setattr("tfdpm.networks.layers._MOST_SIDE_BY_SIDE", request.param)


@pytest.mark.usefixtures("way")
def test_stacked_networks_equal_separate_perceptrons():
    networks, x = subclustering_networks(), points(40)
    assignments = np.random.default_rng(1).integers(CAPACITY, size=len(x))
    weights = [getattr(networks, name).numpy() for name in networks.shapes(DIM, CAPACITY)]
    expected = np.stack(
        [mlp(row, *(part[k] for part in weights)) for row, k in zip(x, assignments, strict=True)]
    )
    for by_xla in (False, True):
        actual = networks(x, assignments=tf.constant(assignments, tf.int32), by_xla=by_xla)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("inputs", [0, 256])  # in turn, and all networks at once
@pytest.mark.parametrize("few", [0, 100])  # by gathered kernels, and network by network
def test_groups_of_points_get_the_logits_of_single_points(monkeypatch, few, inputs):
    monkeypatch.setattr("tfdpm.networks.layers._FEW_NETWORKS", few)
    monkeypatch.setattr("tfdpm.networks.layers._MOST_INPUTS", inputs)
    subclustering, x = subclustering_networks(), points()
    assignments = np.random.default_rng(1).choice([0, 2, 5], size=len(x))  # others stay empty
    expected = subclustering(x, assignments=assignments)
    for call in (subclustering.in_groups, tf.function(subclustering.in_groups)):
        actual = call(tf.constant(x), tf.constant(assignments))
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.usefixtures("way")
def test_a_point_teaches_no_network_but_its_own():
    networks, x = subclustering_networks(), points(10)
    assignments = tf.fill([10], 2)
    variables = [variable.value for variable in networks.trainable_variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(networks(x, assignments=assignments) ** 2)
    for gradient in tape.gradient(loss, variables):
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert (np.delete(gradient, 2, axis=0) == 0.0).all()
        assert np.abs(gradient[2]).max() > 0.0


def test_growing_keeps_what_the_networks_say():
    network, networks, x = clustering_network(), subclustering_networks(), points()
    assignments = tf.constant(np.arange(20) % 5)
    before = network(x, num_components=5), networks(x, assignments=assignments)
    weights = [variable.numpy() for variable in (*network.weights, *networks.weights)]
    network.head.grow(32)
    networks.grow(32)
    for variable, old in zip((*network.weights, *networks.weights), weights, strict=True):
        corner = tuple(slice(size) for size in old.shape)
        np.testing.assert_array_equal(variable.numpy()[corner], old)
    after = network(x, num_components=5), networks(x, assignments=assignments)
    # Products of another shape may add their terms in another order. A sum of n float32 is then off
    # by about n units in the last place: n counts the terms of both layers and their biases.
    rounding = (DIM + 1 + HIDDEN + 1) * np.finfo(np.float32).eps
    for new, old in ((after[0][:, :5], before[0][:, :5]), (after[1], before[1])):
        np.testing.assert_allclose(new, old, rtol=0, atol=rounding * np.abs(old).max())
    assert network.capacity == networks.capacity == 32
    assert network.head.kernel.shape == (HIDDEN, 32) and networks.bias.shape == (32, 2)


def test_growing_leaves_no_old_variable_behind():
    network, networks = clustering_network(), subclustering_networks()
    network.head.grow(16)
    networks.grow(16)
    assert len(network.trainable_variables) == len(networks.trainable_variables) == 4
    assert all(16 in variable.shape for variable in networks.trainable_variables)


@pytest.mark.parametrize("make", [clustering_network, subclustering_networks])
def test_the_seed_alone_decides_the_first_weights(make):
    keras.utils.set_random_seed(1)
    first = make(3).get_weights()
    keras.utils.set_random_seed(2)
    again, other = make(3).get_weights(), make(4).get_weights()
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not a.any() or (a != c).any()


def test_the_stacked_networks_start_from_different_weights():
    kernels = subclustering_networks().hidden_kernel.numpy().reshape(CAPACITY, -1)
    assert len(np.unique(kernels.round(6), axis=0)) == CAPACITY


def test_fresh_weights_are_glorot_uniform():
    networks = SubclusteringNetworks(50, 400)
    fresh = networks.fresh_weights(10, 400, 0)
    limit = np.sqrt(6.0 / (10 + 50))
    kernel = fresh["hidden_kernel"].numpy()
    assert 0.999 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.var(), limit**2 / 3, rtol=0.01)
    assert not fresh["bias"].numpy().any()


@pytest.mark.parametrize(
    "layer",
    [ComponentHead(4, 2), ClusteringNetwork(5, 4, 3), SubclusteringNetworks(5, 4, 3)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_configuration_makes_the_same_layer_again(layer):
    config = layer.get_config()
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is type(layer) and again.get_config() == config
