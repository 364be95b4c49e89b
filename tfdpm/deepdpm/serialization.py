"""Networks, optimisers and state as Keras creates, compiles, saves and restores them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.deepdpm.inference import FittedModel
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.interpret.identity import Identity
from tfdpm.moves.ledger import MoveCounts
from tfdpm.networks import resize
from tfdpm.networks.fused_adam import FusedAdam
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks
from tfdpm.search.state import ModelState

_MOST_SUBCLUSTER_UNITS = 50  # [DeepDPM] supplement 7


class KeptModel(FittedModel):
    """The part of `DeepDPM` that Keras saves and loads with any K; arguments as there."""

    def compile(self, optimizer="auto", *, subcluster_optimizer="auto", **kwargs) -> KeptModel:
        """Sets the optimisers; Adam with the configuration's rates where `"auto"`.

        Args:
            optimizer: of the clustering network.
            subcluster_optimizer: of the subclustering networks.
            **kwargs: passed to `keras.Model.compile`.

        Returns:
            The model, so that `compile(...).fit(...)` can be written.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = FusedAdam(self.config.learning_rate)
        if isinstance(subcluster_optimizer, str) and subcluster_optimizer == "auto":
            subcluster_optimizer = FusedAdam(self.config.subcluster_learning_rate)
        super().compile(optimizer=optimizer, **kwargs)
        self.subcluster_optimizer = keras.optimizers.get(subcluster_optimizer)
        self._base_rates = tuple(
            float(rate) if isinstance(rate := each.learning_rate, keras.Variable) else None
            for each in (self.optimizer, self.subcluster_optimizer)
        )
        self._forget_passes()
        if self.clustering is not None:
            self._build_optimizers()
        return self

    def _build_optimizers(self) -> None:
        self.optimizer.build(self.clustering.trainable_variables)
        self.subcluster_optimizer.build(self.subclustering.trainable_variables)

    def _create_networks(self, feature_dim: int, hidden_units: int, capacity: int) -> None:
        self.clustering = ClusteringNetwork(hidden_units, capacity, self.seed, name="clustering")
        # However many clusters there are, each has but two halves to tell apart.
        sub_units = self.config.hidden_units or min(hidden_units, _MOST_SUBCLUSTER_UNITS)
        self.subclustering = SubclusteringNetworks(
            sub_units, capacity, self.seed + 1, name="subclustering"
        )
        self.clustering.build((None, feature_dim))
        self.subclustering.build((None, feature_dim))
        self.built = True
        self._forget_passes()
        if self.compiled:
            self._build_optimizers()

    def _fit_capacity(self) -> None:
        """Grows the networks until they hold the state's components."""
        needed = self._state.num_components
        self.predict_function = None
        if self.clustering is None or needed <= self.clustering.capacity:
            return
        self._grow(resize.next_capacity(needed))

    def _grow(self, capacity: int) -> None:
        """Gives networks and optimisers another number of slots."""
        self.optimizer = resize.grow_layer(
            self.clustering.head, self.clustering, self.optimizer, capacity
        )
        self.subcluster_optimizer = resize.grow_layer(
            self.subclustering, self.subclustering, self.subcluster_optimizer, capacity
        )
        self._forget_passes()

    def get_compile_config(self) -> dict[str, Any] | None:
        """Both optimisers, serialised; `None` before `compile` or `fit`."""
        if not self.compiled:
            return None
        return {
            "optimizer": keras.optimizers.serialize(self.optimizer),
            "subcluster_optimizer": keras.optimizers.serialize(self.subcluster_optimizer),
            "base_rates": self._base_rates,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as before saving; the slots are filled from the file afterwards."""
        self.compile(
            keras.optimizers.deserialize(config["optimizer"]),
            subcluster_optimizer=keras.optimizers.deserialize(config["subcluster_optimizer"]),
        )
        self._base_rates = tuple(config["base_rates"])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = {"config": dataclasses.asdict(self.config), "seed": self.seed}
        if self.encoder is not None:
            config["encoder"] = keras.saving.serialize_keras_object(self.encoder)
        return {**config, "features": self.features_, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KeptModel:
        """A model without weights from `get_config`'s result."""
        settings = DeepDPMConfig(**config["config"])
        encoder = config.get("encoder")
        if encoder is not None:
            encoder = keras.saving.deserialize_keras_object(encoder)
        return cls(
            settings,
            seed=config["seed"],
            encoder=encoder,
            features=config.get("features", ""),
            name=config["name"],
        )

    def get_build_config(self) -> dict[str, int] | None:
        """Sizes of the networks, or `None` before the first fit."""
        if self._state is None:
            return None
        return {
            "feature_dim": self._state.preprocessing.feature_dim,
            "hidden_units": self.clustering.hidden_units,
            "capacity": self.clustering.capacity,
        }

    def build_from_config(self, config: dict[str, int] | None) -> None:
        """Creates networks of the saved sizes."""
        if config:
            self._create_networks(**config)

    def save_own_variables(self, store) -> None:
        """Writes what is no network weight: mixture, prior, statistics, labels, progress."""
        if self._state is None:
            return
        for name, value in self._state.to_arrays().items():
            store[name.replace("/", ".")] = value
        store["moves"] = np.array(dataclasses.astuple(self._moves))
        store["capacity"] = np.array(self.clustering.capacity)
        store["feature_shape"] = np.array(self._feature_shape, np.int64)
        store["genealogy"] = as_bytes(self.tree_.to_json())
        store["identity"] = as_bytes(self.identity_.to_json())
        if self._labels is not None:
            store["labels"] = self._labels

    def load_own_variables(self, store) -> None:
        """Reads what `save_own_variables` wrote."""
        names = list(store.keys())
        if not names:
            return
        arrays = {name.replace(".", "/"): store[name] for name in names}
        self._state = ModelState.from_arrays(arrays)
        self._moves = MoveCounts(*(int(count) for count in np.array(arrays["moves"])))
        self._feature_shape = (self._state.preprocessing.input_dim,)
        if "feature_shape" in arrays:
            self._feature_shape = tuple(int(size) for size in np.array(arrays["feature_shape"]))
        if "genealogy" in arrays:
            self._genealogy = Genealogy.from_json(as_text(arrays["genealogy"]))
            self._identity = Identity.from_json(as_text(arrays["identity"]))
        self._labels = None
        if "labels" in arrays:
            self._labels = np.array(arrays["labels"])
        # Keras reads networks and optimisers next, which must have the slots of the file.
        capacity = int(np.array(arrays["capacity"]))
        if self.clustering is not None and capacity != self.clustering.capacity:
            self._grow(capacity)
        self.predict_function = None

    def get_weights(self) -> list[np.ndarray]:
        """Network weights, then the mixture's state, so that callbacks can put both back."""
        if self._state is None:
            return super().get_weights()
        return [*super().get_weights(), *self._state.to_arrays().values()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Restores `get_weights`' result; the number of clusters may differ."""
        if self._state is None:
            super().set_weights(weights)
            return
        names = list(self._state.to_arrays())
        network_weights = weights[: len(weights) - len(names)]
        self._state = ModelState.from_arrays(
            dict(zip(names, weights[len(network_weights) :], strict=True))
        )
        self._labels = None
        self._fit_capacity()
        for variable, value in zip(self.weights, network_weights, strict=True):
            # A copy from before the networks grew fills the leading slots.
            paddings = [(0, b - a) for a, b in zip(value.shape, variable.shape, strict=True)]
            variable.assign(np.pad(value, paddings))
