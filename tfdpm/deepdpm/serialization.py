"""The parts of a `DeepDPM` as Keras creates, compiles, saves and restores them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state  # nothing public tells of HDF5 files

from tfdpm import checks
from tfdpm.config import DeepDPMConfig, as_config
from tfdpm.data.columns import Columns
from tfdpm.deepdpm.scope import out_of_scope
from tfdpm.interpret.fitted import FitResult, Fitted
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.interpret.identity import Identity
from tfdpm.moves.ledger import MoveCounts
from tfdpm.networks.fused_adam import FusedAdam
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.pair import NetworkPair, base_rates, create_networks
from tfdpm.progress.files import replace_file
from tfdpm.search.state import MixtureState
from tfdpm.shapes.groups import ComponentGroups
from tfdpm.training.memory import Memory

__all__ = ["SerializableModel", "checked_sizes"]

# Of networks whose sizes a file tells. A thousand clusters have 1,280 slots and 1,024 hidden units.
_MOST_WEIGHTS, _MOST_WIDTH = 2**27, 2**17
_MOST_SLOTS, _FEW_COMPONENTS = 64, 16  # slots for each component, which moves leave, of so many

# Of gradients, for Adafactor: its 1e-30 makes a product of two such means zero in float32, and so
# NaN of the weights of spare slots, whose gradients are zero. Gradients below 3e-8 do not matter.
_LEAST_SQUARE = 1e-15


class SerializableModel(keras.Model):
    """A `DeepDPM` with any number of clusters as Keras saves and loads it.

    Attributes:
        parts: networks, mixture and result of the fits so far as one value; `None` before.
        clustering: clustering network; `None` before the first fit.
        subclustering: subclustering networks; `None` before the first fit.
        subcluster_optimizer: optimizer of the subclustering networks; `None` before `compile`.
        memory: what is remembered of the points of `partial_fit`; `None` without any.
        point_shape: shape of one raw point, `(D,)`, `(H, W)` or `(H, W, C)`; empty before a fit.
        columns: names and categories of the columns, where the fit was of a frame.
    """

    def __init__(
        self,
        config: DeepDPMConfig | str | None = None,
        *,
        seed: int = 0,
        encoder: keras.Model | None = None,
        features: str = "",
        **kwargs,
    ):
        # Raw points keep their digits until they are centred, under any policy of the program.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        if encoder is not None and not isinstance(encoder, keras.Model):
            checks.fail("encoder", f"a {type(encoder).__name__}", "a Keras model", TypeError)
        self.encoder, self.features_ = encoder, str(features)
        self.config = as_config(config)
        self.seed = checks.integer(seed, "seed", minimum=0, maximum=2**31 - 1)
        self.parts: Fitted | None = None
        self.memory: Memory | None = None
        self.point_shape: tuple[int, ...] = ()
        self.columns = Columns()
        self.clustering: ClusteringNetwork | None = None
        self.subclustering: SubclusteringNetworks | None = None
        self.subcluster_optimizer: keras.optimizers.Optimizer | None = None
        self._base_rates: tuple[float | None, ...] = (None, None)
        self._num_outputs: int | None = None  # clusters of a model whose parts are not yet loaded

    @property
    def fitted(self) -> Fitted:
        """The parts of a model that was fitted.

        Raises:
            RuntimeError: if it was not.
        """
        if self.parts is None:
            checks.fail("model", "a model that was not fitted", "call fit first", RuntimeError)
        return self.parts

    @property
    def resumed_epoch(self) -> int | None:
        """Epoch from which Keras's `BackupAndRestore` lets a fit go on; `None` for a new fit."""
        return self._initial_epoch

    @property
    def strategy(self) -> tf.distribute.Strategy | None:
        """In whose scope the model was made, if any."""
        return self._distribute_strategy

    @property
    def has_workers(self) -> bool:
        """Whether the model was made in the scope of a strategy over several processes."""
        return isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def adopt(self, parts: Fitted) -> None:
        """Takes over the parts that a step of a fit has led to, with the model's grown networks."""
        networks = parts.networks
        layers = networks.clustering, networks.subclustering
        if layers != (self.clustering, self.subclustering):
            for old in (self.clustering, self.subclustering):
                self._tracker.untrack(old)
            self.clustering, self.subclustering = layers
        if networks.optimizers is not None and networks.optimizers[0] is not self.optimizer:
            self.optimizer, self.subcluster_optimizer = networks.optimizers
        if self.parts is None or networks is not self.parts.networks:
            self.predict_function = None
        self.parts = parts

    @out_of_scope()
    def compile(
        self, optimizer="auto", *, subcluster_optimizer="auto", **kwargs
    ) -> SerializableModel:
        """Sets the optimizers; Adam with the configuration's rates where `"auto"`.

        Args:
            optimizer: optimizer of the clustering network, or its name.
            subcluster_optimizer: optimizer of the subclustering networks, or its name.
            **kwargs: passed to `keras.Model.compile`.

        Returns:
            The model, so that `compile(...).fit(...)` can be written.

        Raises:
            ValueError: for a loss or metrics, and optimizers that scale losses.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                wanted = "None: losses are those of the method, and `evaluate(x, y)` has the scores"
                checks.fail(name, repr(kwargs[name]), wanted)
        given = {"optimizer": optimizer, "subcluster_optimizer": subcluster_optimizer}
        for name, each in given.items():
            if isinstance(each, keras.optimizers.LossScaleOptimizer):
                wanted = "the optimizer within it: the losses of the method are float32"
                checks.fail(name, "a LossScaleOptimizer", wanted)
        # The same names in all models: TensorFlow keeps a kernel for ever for each new name of a
        # variable.
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = FusedAdam(self.config.learning_rate, name="optimizer")
        if isinstance(subcluster_optimizer, str) and subcluster_optimizer == "auto":
            rate = self.config.subcluster_learning_rate
            subcluster_optimizer = FusedAdam(rate, name="subcluster_optimizer")
        super().compile(optimizer=_outside_of_scope(optimizer), **kwargs)
        self.subcluster_optimizer = keras.optimizers.get(_outside_of_scope(subcluster_optimizer))
        optimizers = (self.optimizer, self.subcluster_optimizer)
        for each in optimizers:
            if isinstance(each, keras.optimizers.Adafactor):
                each.epsilon_1 = max(each.epsilon_1, _LEAST_SQUARE)
        self._base_rates = base_rates(optimizers)
        if self.parts is not None:
            networks = self.parts.networks.replace(optimizers=optimizers, rates=self._base_rates)
            self.adopt(self.parts.replace(networks=networks, spares=()))
        return self

    @out_of_scope()
    def create_networks(self, feature_dim: int, hidden_units: int, capacity: int) -> NetworkPair:
        """Untrained networks of D features, with C slots and the model's optimizers, if any."""
        layers = create_networks(feature_dim, hidden_units, capacity, self.config, self.seed)
        if self.parts is None:
            self.clustering, self.subclustering = layers
            self.built = True
            return self._pair_networks()
        # Keras optimisers refuse new variables. What `adopt` has not yet taken over stays.
        networks, optimizers = self.parts.networks, None
        if networks.optimizers is not None:
            optimizers = tuple(
                type(old).from_config(old.get_config()) for old in networks.optimizers
            )
        clustering, subclustering = layers
        return networks.replace(
            clustering=clustering,
            subclustering=subclustering,
            optimizers=optimizers,
            config=self.config,
            rates=self._base_rates,
        )

    def _pair_networks(self) -> NetworkPair:
        optimizers = (self.optimizer, self.subcluster_optimizer) if self.compiled else None
        given = optimizers, self.config, self.strategy, self._base_rates
        return NetworkPair(self.clustering, self.subclustering, *given)

    def save(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Writes a `.keras` file, as `keras.Model.save` does; HDF5 has no room for the mixture.

        Args:
            filepath: of the file.
            overwrite: whether a file that is there is replaced; else Keras asks.
            **kwargs: as for `keras.Model.save`.

        Raises:
            ValueError: for a `.h5` file.
            OSError: if the folder cannot be written; a file of before is then whole.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            checks.fail("filepath", repr(str(filepath)), "a path that ends in .keras")
        is_file = str(filepath).endswith(".keras") and kwargs.get("zipped", True)
        if not is_file or "://" in str(filepath) or not (overwrite or not Path(filepath).exists()):
            super().save(filepath, overwrite=overwrite, **kwargs)
            return
        with replace_file(filepath) as temporary:
            super().save(temporary, **kwargs)

    def load_weights(self, filepath, skip_mismatch: bool = False, **kwargs) -> None:
        """Reads a `.weights.h5` file; a model that was not fitted is then as good as the saved one.

        Args:
            filepath: of the file.
            skip_mismatch: as for `keras.Model.load_weights`.
            **kwargs: as for `keras.Model.load_weights`.

        Raises:
            ValueError: if the file is of another model, or of one that was not fitted.
        """
        self.built = True  # networks are made once their sizes are read
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        if self.parts is None and self.memory is None:
            got = f"{str(filepath)!r}, which holds no clusters"
            checks.fail("filepath", got, "what `save_weights` of a fitted DeepDPM wrote")

    def get_compile_config(self) -> dict[str, Any] | None:
        """Both optimizers, serialised; `None` before `compile` or `fit`."""
        if not self.compiled:
            return None
        return {
            "optimizer": keras.optimizers.serialize(self.optimizer),
            "subcluster_optimizer": keras.optimizers.serialize(self.subcluster_optimizer),
            "base_rates": self._base_rates,
        }

    @out_of_scope()
    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as before saving; the slots are filled from the file afterwards."""
        self.compile(
            # `keras.optimizers.deserialize` does not know all of Keras's optimizers.
            keras.saving.deserialize_keras_object(config["optimizer"]),
            subcluster_optimizer=keras.saving.deserialize_keras_object(
                config["subcluster_optimizer"]
            ),
        )
        self._base_rates = tuple(config["base_rates"])
        if self.clustering is not None:
            self._pair_networks()  # builds the optimizers, whose slots Keras reads next

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments.

        Raises:
            ValueError: while Keras writes an `.h5` file of a model that this one is part of.
        """
        if global_state.get_global_attribute("use_legacy_config", False):
            got = "an .h5 file for a model with a DeepDPM, whose clusters it has no room for"
            checks.fail("filepath", got, "a path that ends in .keras")
        config = {"config": dataclasses.asdict(self.config), "seed": self.seed}
        if self.encoder is not None:
            config["encoder"] = keras.saving.serialize_keras_object(self.encoder)
        return {**config, "features": self.features_, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SerializableModel:
        """A model without weights from `get_config`'s result."""
        config = {**config, "config": DeepDPMConfig.from_saved(config["config"])}
        if "encoder" in config:
            config["encoder"] = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**config)

    def get_build_config(self) -> dict[str, int] | None:
        """Sizes of the networks, or `None` before the first fit."""
        if self.parts is None:
            return None
        return {
            "feature_dim": self.parts.state.preprocessing.feature_dim,
            "hidden_units": self.clustering.hidden_units,
            "capacity": self.clustering.capacity,
            "n_clusters": self.parts.num_clusters,
        }

    def build_from_config(self, config: dict[str, int] | None) -> None:
        """Creates networks of the saved sizes."""
        if config:
            self._num_outputs = config.get("n_clusters")
            self.create_networks(**checked_sizes(config))

    def compute_output_spec(self, inputs, *args, **kwargs) -> keras.KerasTensor:
        """Probabilities `[B, n_clusters]`, known as soon as a saved model is built again."""
        count = self._num_outputs if self.parts is None else self.parts.num_clusters
        if count is None:
            checks.fail("model", "a model that was not fitted", "call fit first", RuntimeError)
        return keras.KerasTensor((inputs.shape[0], count), "float32")

    def save_own_variables(self, store) -> None:
        """Writes what is no network weight: mixture, prior, statistics, labels, genealogy."""
        if self.memory is not None:
            for name, value in self.memory.to_arrays().items():
                store[f"memory.{name}"] = value
        if self.memory is not None or self.parts is not None:
            store["feature_shape"] = np.array(self.point_shape, np.int64)
            store["columns"] = as_bytes(self.columns.to_json())
        if self.parts is None:
            return
        result = self.parts.result
        for name, value in self.parts.state.to_arrays().items():
            store[name.replace("/", ".")] = value
        store["moves"] = np.array(dataclasses.astuple(result.moves))
        store["capacity"] = np.array(self.clustering.capacity)
        store["hidden_units"] = np.array(self.clustering.hidden_units)
        store["genealogy"] = as_bytes(self.parts.genealogy.to_json())
        store["identity"] = as_bytes(self.parts.identity.to_json())
        if result.groups is not None:
            store["valleys"] = result.groups.valleys
        if result.tree is not None:
            store["tree"] = as_bytes(result.tree.to_json())
        if result.labels is not None:
            store["labels"] = result.labels
        if result.waiting is not None:
            store["waiting"] = result.waiting
        if result.unlike is not None:
            store["unlike"] = np.array(result.unlike)

    @out_of_scope()
    def load_own_variables(self, store) -> None:
        """Reads what `save_own_variables` wrote."""
        names = list(store.keys())
        if not names:
            return
        arrays = {name.replace(".", "/"): store[name] for name in names}
        self.memory = None
        own = {name[7:]: each for name, each in arrays.items() if name.startswith("memory/")}
        if own:
            self.memory = Memory.from_arrays(own)
        if "columns" in arrays:
            self.columns = Columns.from_json(as_text(arrays["columns"]))
        if "capacity" not in arrays:  # too few points yet for a fit
            self.point_shape = _shape(arrays["feature_shape"])
            return
        state = MixtureState.from_arrays(arrays)
        found = {"moves": MoveCounts(*(int(count) for count in np.array(arrays["moves"])))}
        self.point_shape = (state.preprocessing.input_dim,)
        if "feature_shape" in arrays:
            self.point_shape = _shape(arrays["feature_shape"])
        if "genealogy" in arrays:
            found["genealogy"] = Genealogy.from_json(as_text(arrays["genealogy"]))
            found["identity"] = Identity.from_json(as_text(arrays["identity"]))
        if "valleys" in arrays:
            found["groups"] = ComponentGroups.from_valleys(np.asarray(arrays["valleys"]))
        if "tree" in arrays:
            found["tree"] = Genealogy.from_json(as_text(arrays["tree"]))
        if "labels" in arrays:
            found["labels"] = np.array(arrays["labels"])
        if "waiting" in arrays:
            found["waiting"] = np.array(arrays["waiting"])
        if "unlike" in arrays:
            found["unlike"] = tuple(int(count) for count in np.array(arrays["unlike"]))
        # Keras reads networks and optimizers next, which must have the slots of the file.
        capacity = int(np.array(arrays["capacity"]))
        _check_result(found, state.num_components, capacity)
        if self.clustering is None:
            # Files of before do not tell the width.
            width = arrays.get("hidden_units", self.config.hidden_units or 50)
            dim = state.preprocessing.feature_dim
            self.create_networks(dim, int(np.array(width)), capacity)
        networks = self._pair_networks() if self.parts is None else self.parts.networks
        if capacity != networks.capacity:
            networks = networks.grown_to(capacity)
        self.adopt(Fitted(networks, state, FitResult(**found)))

    def get_weights(self) -> list[np.ndarray]:
        """Network weights, the mixture's state and the memory, which callbacks can put back."""
        if self.parts is None:
            return super().get_weights()
        found = [*super().get_weights(), *self.parts.state.to_arrays().values()]
        if self.memory is None:
            return found
        waiting = self.parts.result.waiting
        waiting = np.zeros((0, 1)) if waiting is None else waiting
        return [*found, waiting, *self.memory.to_arrays().values()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Restores `get_weights`' result; the number of clusters may differ."""
        if self.parts is None:
            super().set_weights(weights)
            return
        names, count = list(self.parts.state.to_arrays()), len(self.weights)
        network_weights, rest = weights[:count], weights[count + len(names) :]
        arrays = zip(names, weights[count : count + len(names)], strict=True)
        state = MixtureState.from_arrays(dict(arrays))
        networks = self.parts.networks.with_room_for(state.num_components)
        changes = {"labels": None, "groups": None, "tree": None, "waiting": None}
        self.memory = None
        if len(rest):
            fields = [each.name for each in dataclasses.fields(Memory)]
            self.memory = Memory.from_arrays(dict(zip(fields, rest[1:], strict=True)))
            changes["waiting"] = rest[0] if len(rest[0]) else None
        self.adopt(self.parts.replace(networks=networks, state=state, **changes))
        for variable, value in zip(self.weights, network_weights, strict=True):
            # A copy from before the networks grew fills the leading slots.
            paddings = [(0, b - a) for a, b in zip(value.shape, variable.shape, strict=True)]
            variable.assign(np.pad(value, paddings))


def checked_sizes(config: dict[str, Any]) -> dict[str, int]:
    """Returns sizes of networks from a file, or raises where no memory would hold them."""
    names = ("feature_dim", "hidden_units", "capacity")
    sizes = {name: checks.integer(config[name], name, minimum=1) for name in names}
    width = max(sizes["feature_dim"], sizes["hidden_units"])
    if sizes["capacity"] * width > _MOST_WEIGHTS or width > _MOST_WIDTH:
        checks.fail("capacity", config, "sizes of networks that memory holds")
    return sizes


def _check_result(found: dict[str, Any], num_components: int, capacity: int) -> None:
    """Raises unless what a file tells of a fit is of so many components."""
    if not num_components <= capacity <= _MOST_SLOTS * max(num_components, _FEW_COMPONENTS):
        checks.fail("capacity", capacity, f"slots for {num_components} components")
    labels, groups = found.get("labels"), found.get("groups")
    if (
        labels is not None
        and labels.size
        and not 0 <= labels.min() <= labels.max() < num_components
    ):
        checks.fail("labels", "labels out of range", f"below {num_components}")
    if groups is not None and groups.valleys.shape != (num_components, num_components):
        checks.fail("valleys", groups.valleys.shape, f"of {num_components} components")


def _outside_of_scope(optimizer: Any) -> Any:
    """The optimizer, or one like it if it was made in the scope of a strategy, of no strategy."""
    rate = getattr(optimizer, "learning_rate", None)
    if isinstance(getattr(rate, "value", None), tf.distribute.DistributedValues):
        return type(optimizer).from_config(optimizer.get_config())
    return optimizer


def _shape(sizes: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in np.array(sizes))
