"""Both networks with their optimisers, as one object that is trained, resized and asked."""

from __future__ import annotations

import collections
import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.moves.transition import Transition
from tfdpm.networks import resize
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.passes import Passes
from tfdpm.networks.replicas import ReplicaPasses
from tfdpm.networks.slots import padded_means
from tfdpm.search.state import MixtureState

_MOST_SUBCLUSTER_UNITS = 50  # [DeepDPM] supplement 7
# Every step of Adam moves every weight, and the logits by as much as there are hidden units. Of 500
# clusters (1,000 units) the full rate takes two epochs more, and half of this width none less; at
# 209 that overlap (418 units), a third of the full rate merged a pair that the search kept.
MOST_AT_FULL_RATE = 400
_FEW_ROWS = 16  # that NumPy evaluates: TensorFlow takes half a millisecond before it begins
# Nats more than those of a guess. Networks that learn have a tenth of it, and those that SGD with a
# rate of 7,000 has spoilt have 67: half or twice of it tells the same.
_MOST_LOSS = 10.0
_AS_GOOD_AS_GUESSED = 0.95  # share of the loss of a guess; networks that learn have a tenth of it


def create_networks(
    feature_dim: int, hidden_units: int, capacity: int, config: DeepDPMConfig, seed: int
) -> tuple[ClusteringNetwork, SubclusteringNetworks]:
    """Untrained, built networks of D features with C slots.

    `hidden_units` is the width of the clustering network's hidden layer. That of the configuration,
    if any, is the width of the subclustering networks, too.
    """
    clustering = ClusteringNetwork(hidden_units, capacity, seed, name="clustering")
    # However many clusters there are, each has but two halves to tell apart.
    sub_units = config.hidden_units or min(hidden_units, _MOST_SUBCLUSTER_UNITS)
    subclustering = SubclusteringNetworks(sub_units, capacity, seed + 1, name="subclustering")
    clustering.build((None, feature_dim))
    subclustering.build((None, feature_dim))
    return clustering, subclustering


def base_rates(optimizers: Sequence[keras.optimizers.Optimizer]) -> tuple[float | None, ...]:
    """Learning rates that the optimisers start from; `None` where a schedule sets them."""
    rates = (each.learning_rate for each in optimizers)
    return tuple(float(rate) if isinstance(rate, keras.Variable) else None for rate in rates)


@dataclasses.dataclass(eq=False)
class NetworkPair:
    """The clustering network, the subclustering networks and their optimisers.

    Layers are rebuilt in place; optimisers, which cannot grow, are exchanged, and the pair with
    them. The compiled passes belong to the pair.

    Attributes:
        clustering, subclustering: built networks.
        optimizers: of the one and of the others, or `None` for networks that only answer.
        config: settings of the gradient steps.
        strategy: distributes the passes over replicas; `None` for one device.
        rates: learning rates at the start, as `base_rates` tells them.
        traces: counts the traces of its passes, together with those of pairs made from it.
    """

    clustering: ClusteringNetwork
    subclustering: SubclusteringNetworks
    optimizers: tuple[keras.optimizers.Optimizer, keras.optimizers.Optimizer] | None
    config: DeepDPMConfig
    strategy: tf.distribute.Strategy | None = None
    rates: tuple[float | None, ...] = (None, None)
    traces: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def __post_init__(self):
        """Builds the optimisers."""
        if self.optimizers is not None:
            networks = self.clustering, self.subclustering
            for optimizer, network in zip(self.optimizers, networks, strict=True):
                optimizer.build(network.trainable_variables)

    @property
    def capacity(self) -> int:
        """Number of component slots, C."""
        return self.clustering.capacity

    @property
    def num_traces(self) -> int:
        """How often a pass was traced, by this pair and those that share its counter."""
        return self.traces.total()

    @functools.cached_property
    def passes(self) -> Passes:
        """The compiled passes over data."""
        kind = Passes
        if self.strategy is not None:
            kind = functools.partial(ReplicaPasses, self.strategy)
        optimizers = self.optimizers or (None, None)
        networks = self.clustering, self.subclustering
        return kind(*networks, *optimizers, self.config, self.traces)

    def replace(self, **changes: Any) -> NetworkPair:
        """A pair with other networks, optimisers or rates, which goes on counting traces."""
        return dataclasses.replace(self, **changes)

    def grown_to(self, capacity: int) -> NetworkPair:
        """The networks with another number of slots, in place, and optimisers that fit."""
        layers = ((self.clustering.head, self.clustering), (self.subclustering,) * 2)
        if self.optimizers is None:
            for layer, _ in layers:
                layer.grow(capacity)
            return self.replace()
        optimizers = (
            resize.grow_layer(*layer, optimizer, capacity)
            for layer, optimizer in zip(layers, self.optimizers, strict=True)
        )
        return self.replace(optimizers=tuple(optimizers))

    def with_room_for(self, num_components: int) -> NetworkPair:
        """Itself, or grown where there are fewer slots than components."""
        if num_components <= self.capacity:
            return self
        return self.grown_to(resize.next_capacity(num_components))

    def apply(self, transition: Transition, merits: np.ndarray, seed: int) -> NetworkPair:
        """Rebuilds the output units and subclustering networks after a move.

        Of two merged components the one with the larger of `merits [K]` is kept; `seed` is that of
        the weights of new subclustering networks. Returns the pair to go on with.
        """
        pair = self.with_room_for(transition.num_components)
        resize.apply_to_head(pair.clustering.head, pair.optimizers[0], transition, merits)
        subnetworks = pair.subclustering, pair.optimizers[1], transition, seed
        keeps_network = self.config.merged_networks == "likelier"
        resize.apply_to_subnetworks(*subnetworks, merits if keeps_network else None)
        return pair

    def renew_subnetworks(self, is_chosen: np.ndarray, seed: int) -> None:
        """Gives the subclustering networks of chosen components `[K]` fresh weights."""
        resize.renew_subnetworks(self.subclustering, self.optimizers[1], is_chosen, seed)

    def take_values(self, other: NetworkPair) -> bool:
        """Takes weights and optimiser states of another pair, whose passes need no trace then.

        Returns whether both have the same variables; where they have not, nothing is changed.
        """
        own, others = self._variables, other._variables
        if [each.shape for each in own] != [each.shape for each in others]:
            return False
        for variable, value in zip(own, others, strict=True):
            variable.assign(value)
        return True

    @property
    def _variables(self) -> list[keras.Variable]:
        parts = self.clustering, self.subclustering, *(self.optimizers or ())
        return [variable for part in parts for variable in part.variables]

    def set_learning_rates(self, factor: float) -> None:
        """Sets the rates to `factor` times those at the start, where no schedule sets them.

        A very wide clustering network learns by less.
        """
        shares = min(1.0, MOST_AT_FULL_RATE / self.clustering.hidden_units), 1.0
        for optimizer, rate, share in zip(self.optimizers, self.rates, shares, strict=True):
            if rate is not None:
                optimizer.learning_rate.assign(rate * factor * share)

    def check_convergence(self, losses: Sequence[float], num_components: int | None) -> None:
        """Raises ValueError if steps with these mean losses have left networks without sense.

        Where the clustering network began as a mixture of so many components, as it says, its loss
        is also far from that of a guess, `log K`: ten nats more are points of whose wrong cluster
        the network is sure.
        """
        guess = np.inf if num_components is None else np.log(num_components)
        weights, name = self.copy_weights(), type(self.optimizers[0]).__name__
        is_finite = all(np.isfinite(each).all() for each in (losses, *weights))
        if is_finite and losses[0] <= guess + _MOST_LOSS:
            if losses[0] > _AS_GOOD_AS_GUESSED * guess > 0.0:
                warnings.warn(
                    f"{name} made a network that knew the mixture as bad as a guess: its loss is "
                    f"{losses[0]:.3g}. Clusters may be wrong.",
                    stacklevel=2,
                )
            return
        rate = float(keras.ops.convert_to_numpy(self.optimizers[0].learning_rate))
        got = f"{name} with learning rate {rate:.3g}"
        wanted = "one with which the networks do not diverge; compile with a smaller learning rate"
        checks.fail("optimizer", f"{got}, and a loss of {losses[0]:.3g}", wanted)

    def responsibilities(
        self, features, num_components: int, most_by_numpy: int = _FEW_ROWS
    ) -> np.ndarray:
        """Responsibilities `[B, K]` float32 of features `[B, D]`, an array or a tensor.

        Arrays of at most `most_by_numpy` rows are evaluated without TensorFlow.
        """
        is_few = isinstance(features, np.ndarray) and len(features) <= most_by_numpy
        if is_few and self.strategy is None:
            return self.clustering.respond_to_few(features, num_components)
        features = tf.convert_to_tensor(features)
        result = self.passes.infer_batch(features, tf.constant(num_components))
        return result.numpy()[:, :num_components]

    def labels_and_sides(self, features, state: MixtureState) -> tuple[np.ndarray, np.ndarray]:
        """Cluster `[B]` and half of it `[B]` (0 or 1), int64, of features `[B, D]`."""
        sub_means = padded_means(state, self.capacity)[1]
        labels, sides = self.passes.label_batch(
            features, sub_means, tf.constant(state.num_components)
        )
        return labels.numpy().astype(np.int64), sides.numpy().astype(np.int64)

    def copy_weights(self) -> list[np.ndarray]:
        """All weights of both networks, as copies."""
        networks = (self.clustering, self.subclustering)
        return [np.array(weight) for network in networks for weight in network.get_weights()]
