"""Old networks and optimisers + `Transition` -> the same objects with units rebuilt in place.

Units move between slots by gathers; only when slots run out are variables made anew.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from tfdpm.moves.transition import Transition
from tfdpm.networks.layers import ComponentHead, SubclusteringNetworks, leading_corner

_MOST_POWER_OF_TWO = 128


def next_capacity(num_components: int) -> int:
    """Slots for `num_components` with a quarter to spare: a power of two, or between large ones.

    Few steps save traces; of large networks, a slot costs more than a trace.
    """
    needed, capacity = num_components * 1.25, 16
    while capacity < needed:
        capacity *= 2
    if capacity <= _MOST_POWER_OF_TWO:
        return capacity
    step = capacity // 8
    return step * math.ceil(needed / step)


def apply_to_head(
    head: ComponentHead,
    optimizer: keras.optimizers.Optimizer,
    transition: Transition,
    merits: np.ndarray,
) -> None:
    """Rebuilds the clustering network's output units after a move.

    [DeepDPM] section 4.2: a split duplicates the unit; of two merged units one is kept, here that
    of the old component with the larger of `merits [K_old]`. Slots of the optimiser, which is
    built, follow their unit.
    """
    source = transition.best_parents(merits)
    for variable, axis in ((head.kernel, 1), (head.bias, 0)):
        for target in (variable, *slots_of(optimizer, variable)):
            target.assign(_gather_padded(target, source, head.capacity, axis))


def apply_to_subnetworks(
    networks: SubclusteringNetworks,
    optimizer: keras.optimizers.Optimizer,
    transition: Transition,
    seed: int,
    merits: np.ndarray | None = None,
) -> None:
    """Moves the stacked networks to their components' new slots; new components get fresh ones.

    Slots of the optimiser, which is built, follow their network; `seed` is that of fresh weights.
    With `merits [K_old]` a merged component goes on with the network of the better old one.
    """
    is_fresh, source = transition.is_new, transition.parents[:, 0]
    if merits is not None:
        is_fresh, source = is_fresh & ~transition.is_merged, transition.best_parents(merits)
    for variable in networks.trainable_variables:
        for target in (variable, *slots_of(optimizer, variable)):
            target.assign(_gather_padded(target, source, networks.capacity, 0))
    renew_subnetworks(networks, optimizer, is_fresh, seed)


def renew_subnetworks(
    networks: SubclusteringNetworks,
    optimizer: keras.optimizers.Optimizer,
    is_chosen: np.ndarray,
    seed: int,
) -> None:
    """Gives the networks of chosen components `[K]` fresh weights, and the optimiser no memory."""
    fresh = networks.fresh_weights(networks.hidden_kernel.shape[1], networks.capacity, seed)
    is_chosen = np.pad(is_chosen, (0, networks.capacity - len(is_chosen)))
    for name, new_values in fresh.items():
        variable = getattr(networks, name)
        mask = np.expand_dims(is_chosen, tuple(range(1, len(variable.shape))))
        variable.assign(tf.where(mask, new_values, tf.convert_to_tensor(variable)))
        for slot in slots_of(optimizer, variable):
            slot.assign(tf.where(mask, tf.zeros_like(slot), tf.convert_to_tensor(slot)))


def grow_layer(
    layer: ComponentHead | SubclusteringNetworks,
    trained: keras.layers.Layer,
    optimizer: keras.optimizers.Optimizer,
    capacity: int,
) -> keras.optimizers.Optimizer:
    """Gives a layer more slots, and its optimiser as many; returns the optimiser to go on with.

    Keras optimisers refuse new variables, so a new one goes on in place of the given, which is
    built and trains the network `trained` that the layer is part of.
    """
    # Exchanged variables are tracked last, so old and new ones are matched by path.
    old_slots = {each.path: slots_of(optimizer, each) for each in trained.trainable_variables}
    layer.grow(capacity)
    variables = trained.trainable_variables
    larger = type(optimizer).from_config(optimizer.get_config())
    larger.build(variables)
    larger.iterations.assign(optimizer.iterations)
    if isinstance(optimizer.learning_rate, keras.Variable):
        larger.learning_rate.assign(optimizer.learning_rate)
    for variable in variables:
        new_slots = slots_of(larger, variable)
        for old, new in zip(old_slots[variable.path], new_slots, strict=True):
            new.assign(leading_corner(old, new.shape))
    return larger


def slots_of(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> list:
    """The optimiser's own variables that belong to `variable` (moments, accumulators).

    Keras names a slot after the path of the variable it was added for.
    """
    path = variable.path.replace("/", "_")
    return [
        slot
        for slot in optimizer.variables
        if path in slot.path.replace("/", "_") and slot.shape == variable.shape
    ]


def _gather_padded(variable, source: np.ndarray, capacity: int, axis: int) -> tf.Tensor:
    """Slots `source` first, then spare slots taken over as they are (their values are masked)."""
    index = np.concatenate([source, np.arange(len(source), capacity)])
    return tf.gather(tf.convert_to_tensor(variable), index, axis=axis)
