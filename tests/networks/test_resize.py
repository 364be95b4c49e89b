from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.moves import transition as transitions
from tfdpm.networks import resize
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks

DIM, HIDDEN, CAPACITY = 3, 6, 16
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(24, DIM)).astype(np.float32)
SLOTS_PER_VARIABLE = 2  # Adam's momentum and velocity


def train(network, optimizer, steps=3, **arguments):
    """Some steps of any loss, so that weights and optimiser slots differ from unit to unit."""
    for _ in range(steps):
        with tf.GradientTape() as tape:
            logits = network(FEATURES, **arguments)
            loss = tf.reduce_sum(tf.nn.softmax(logits)[:, :2] ** 2)
        values = [variable.value for variable in network.trainable_variables]
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, values)]
        optimizer.apply(gradients, network.trainable_variables)
    return float(loss)


@pytest.fixture
def clustering():
    network = ClusteringNetwork(HIDDEN, CAPACITY, name="clustering")
    network.build((None, DIM))
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(network.trainable_variables)
    train(network, optimizer, num_components=4)
    return network, optimizer


@pytest.fixture
def subclustering():
    networks = SubclusteringNetworks(HIDDEN, CAPACITY, name="subclustering")
    networks.build((None, DIM))
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(networks.trainable_variables)
    train(networks, optimizer, assignments=tf.constant(np.arange(24) % 4))
    return networks, optimizer


def values_of(variable, optimizer):
    """A variable and its slots, units first."""
    slots = resize.slots_of(optimizer, variable)
    assert len(slots) == SLOTS_PER_VARIABLE
    return [np.moveaxis(part.numpy(), -1, 0) for part in (variable, *slots)]


def by_component(variable, optimizer):
    """Stacked weights of the subclustering networks and their slots."""
    return [part.numpy() for part in (variable, *resize.slots_of(optimizer, variable))]


@pytest.mark.parametrize(
    ("num_components", "expected"),
    [(1, 16), (12, 16), (13, 32), (26, 64), (102, 128), (103, 160), (204, 256), (1000, 1280)],
)
def test_capacity_has_a_quarter_to_spare_and_few_values(num_components, expected):
    assert resize.next_capacity(num_components) == expected


def test_every_variable_finds_its_own_slots(clustering, subclustering):
    for network, optimizer in (clustering, subclustering):
        found = [s for v in network.trainable_variables for s in resize.slots_of(optimizer, v)]
        assert len(found) == len({slot.path for slot in found}) == 4 * SLOTS_PER_VARIABLE
        assert all(np.abs(slot.numpy()).max() > 0 for slot in found)


def test_a_split_duplicates_the_unit_and_its_slots(clustering):
    network, optimizer = clustering
    head = network.head
    before = [values_of(variable, optimizer) for variable in (head.kernel, head.bias)]
    hidden = network.hidden.kernel.numpy()
    move = transitions.of_splits(4, [False, True, False, True])
    resize.apply_to_head(head, optimizer, move, np.ones(4))
    after = [values_of(variable, optimizer) for variable in (head.kernel, head.bias)]
    for old, new in zip(sum(before, []), sum(after, []), strict=True):
        np.testing.assert_array_equal(new[:6], old[[0, 1, 1, 2, 3, 3]])
    np.testing.assert_array_equal(network.hidden.kernel.numpy(), hidden)


def test_twins_share_what_their_parent_had_up_to_the_normaliser(clustering):
    network, optimizer = clustering
    before = tf.nn.softmax(network(FEATURES, num_components=4)).numpy()
    move = transitions.of_splits(4, [True, False, False, False])
    resize.apply_to_head(network.head, optimizer, move, np.ones(4))
    after = tf.nn.softmax(network(FEATURES, num_components=5)).numpy()
    np.testing.assert_array_equal(after[:, 0], after[:, 1])
    np.testing.assert_allclose(after[:, 2] / after[:, 3], before[:, 1] / before[:, 2], rtol=1e-4)
    np.testing.assert_allclose(after[:, 0] / after[:, 2], before[:, 0] / before[:, 1], rtol=1e-4)


@pytest.mark.parametrize(("counts", "kept"), [([5, 1, 1, 9], 3), ([9, 1, 1, 5], 0)])
def test_a_merge_keeps_the_unit_of_the_larger_component(clustering, counts, kept):
    network, optimizer = clustering
    before = values_of(network.head.kernel, optimizer)
    move = transitions.of_merges(4, [[0, 3]])
    resize.apply_to_head(network.head, optimizer, move, np.array(counts))
    for old, new in zip(before, values_of(network.head.kernel, optimizer), strict=True):
        np.testing.assert_array_equal(new[:3], old[[kept, 1, 2]])


def test_a_removal_closes_the_gap(clustering, subclustering):
    move = transitions.of_removals(4, [True, False, True, True])
    network, optimizer = clustering
    before = network.head.bias.numpy()
    resize.apply_to_head(network.head, optimizer, move, np.ones(4))
    np.testing.assert_array_equal(network.head.bias.numpy()[:3], before[[0, 2, 3]])
    networks, optimizer = subclustering
    before = networks.kernel.numpy()
    resize.apply_to_subnetworks(networks, optimizer, move, seed=5)
    np.testing.assert_array_equal(networks.kernel.numpy()[:3], before[[0, 2, 3]])


def test_survivors_keep_their_subnetworks_and_newborns_get_fresh_ones(subclustering):
    networks, optimizer = subclustering
    names = list(networks.shapes(DIM, CAPACITY))
    before = {n: getattr(networks, n).numpy() for n in names}
    slots = {
        n: [s.numpy() for s in resize.slots_of(optimizer, getattr(networks, n))] for n in names
    }
    move = transitions.of_splits(4, [False, True, False, False])
    resize.apply_to_subnetworks(networks, optimizer, move, seed=5)
    fresh = networks.fresh_weights(DIM, CAPACITY, 5)
    for name in names:
        variable = getattr(networks, name)
        np.testing.assert_array_equal(variable.numpy()[[0, 3, 4]], before[name][[0, 2, 3]])
        np.testing.assert_array_equal(variable.numpy()[[1, 2]], fresh[name].numpy()[[1, 2]])
        for slot, old in zip(resize.slots_of(optimizer, variable), slots[name], strict=True):
            np.testing.assert_array_equal(slot.numpy()[[0, 3, 4]], old[[0, 2, 3]])
            assert not slot.numpy()[[1, 2]].any()


def test_the_two_children_get_different_subnetworks(subclustering):
    networks, optimizer = subclustering
    move = transitions.of_splits(4, [True] * 4)
    resize.apply_to_subnetworks(networks, optimizer, move, seed=5)
    kernels = networks.kernel.numpy()[:8].reshape(8, -1)
    assert len(np.unique(kernels, axis=0)) == 8


def test_a_merged_component_gets_a_fresh_subnetwork(subclustering):
    networks, optimizer = subclustering
    before = networks.kernel.numpy()
    resize.apply_to_subnetworks(networks, optimizer, transitions.of_merges(4, [[1, 2]]), seed=5)
    after = networks.kernel.numpy()
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 3]])
    assert (after[1] != before[1]).any() and (after[1] != before[2]).any()


@pytest.mark.parametrize(("merits", "kept"), [([-3.0, -9.0, -5.0, 0.0], 2), ([0.0, 2, 1, 0], 1)])
def test_a_merged_component_may_go_on_with_the_better_subnetwork(subclustering, merits, kept):
    networks, optimizer = subclustering
    before = by_component(networks.kernel, optimizer)
    move = transitions.of_merges(4, [[1, 2]])
    resize.apply_to_subnetworks(networks, optimizer, move, 5, np.array(merits))
    for old, new in zip(before, by_component(networks.kernel, optimizer), strict=True):
        np.testing.assert_array_equal(new[:3], old[[0, kept, 3]])


def test_renewed_subnetworks_forget_and_others_do_not(subclustering):
    networks, optimizer = subclustering
    before = {
        name: by_component(getattr(networks, name), optimizer)
        for name in networks.shapes(DIM, CAPACITY)
    }
    resize.renew_subnetworks(networks, optimizer, np.array([False, True, False, False]), seed=5)
    fresh = networks.fresh_weights(DIM, CAPACITY, 5)
    for name, values in before.items():
        weights, *slots = by_component(getattr(networks, name), optimizer)
        np.testing.assert_array_equal(weights[1], fresh[name].numpy()[1])
        assert all(not slot[1].any() for slot in slots)
        for old, new in zip(values, (weights, *slots), strict=True):
            np.testing.assert_array_equal(new[[0, 2, 3]], old[[0, 2, 3]])


@pytest.mark.parametrize("kind", ["clustering", "subclustering"])
def test_growth_keeps_the_optimisers_state_and_training_goes_on_alike(kind, request):
    network, optimizer = request.getfixturevalue(kind)
    arguments = {"num_components": 4}
    layer = network
    if kind == "clustering":
        layer = network.head
    else:
        arguments = {"assignments": tf.constant(np.arange(24) % 4)}
    weights = [variable.numpy() for variable in network.trainable_variables]
    slots = {
        variable.path: [slot.numpy() for slot in resize.slots_of(optimizer, variable)]
        for variable in network.trainable_variables
    }
    optimizer.learning_rate.assign(3e-3)
    variables = [v.numpy() for v in optimizer.variables]
    expected = [train(network, optimizer, 1, **arguments) for _ in range(3)]
    for variable, value in zip(network.trainable_variables, weights, strict=True):
        variable.assign(value)
    for variable, value in zip(optimizer.variables, variables, strict=True):
        variable.assign(value)

    grown = resize.grow_layer(layer, network, optimizer, 64)
    assert int(grown.iterations) == 3 and float(grown.learning_rate) == pytest.approx(3e-3)
    for variable in network.trainable_variables:
        new_slots = resize.slots_of(grown, variable)
        for slot, old in zip(new_slots, slots[variable.path], strict=True):
            corner = tuple(slice(size) for size in old.shape)
            np.testing.assert_array_equal(slot.numpy()[corner], old)
            assert np.abs(slot.numpy()).sum() == pytest.approx(np.abs(old).sum(), rel=1e-5)
    actual = [train(network, grown, 1, **arguments) for _ in range(3)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert actual[0] != actual[2]
