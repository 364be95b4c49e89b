"""The parts of a `DeepDPM` as Keras creates, compiles, saves, restores and exports them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state  # nothing public tells of HDF5 files

from tfdpm import checks
from tfdpm.config import DeepDPMConfig, as_config
from tfdpm.data.columns import Columns
from tfdpm.deepdpm.arrays import as_integers, checked_sizes, read_result, to_arrays
from tfdpm.deepdpm.optimizers import keep_finite, own_optimizers, refuse_losses
from tfdpm.deepdpm.strategy_scope import out_of_scope
from tfdpm.interpret.fitted import Fitted
from tfdpm.interpret.genealogy import as_text
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.pair import NetworkPair, base_rates, create_networks
from tfdpm.progress.files import replace_file
from tfdpm.search.state import MixtureState
from tfdpm.serving import saved_model, tflite_onnx
from tfdpm.training.memory import Memory

_FORMATS = {"tf_saved_model": "savedmodel", "litert": "tflite", "onnx": "onnx"}  # Keras's names


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
        refuse_losses(kwargs)
        given = own_optimizers(optimizer, subcluster_optimizer, self.config)
        super().compile(optimizer=given[0], **kwargs)
        self.subcluster_optimizer = keras.optimizers.get(given[1])
        optimizers = (self.optimizer, self.subcluster_optimizer)
        keep_finite(optimizers)
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
            if self.compiled and self.optimizer.built:  # of a copy without clusters
                self.optimizer = _renewed(self.optimizer)
                self.subcluster_optimizer = _renewed(self.subcluster_optimizer)
            self.clustering, self.subclustering = layers
            self.built = True
            return self._pair_networks()
        # What `adopt` has not yet taken over stays.
        networks, optimizers = self.parts.networks, None
        if networks.optimizers is not None:
            optimizers = tuple(map(_renewed, networks.optimizers))
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

    def export(
        self,
        directory: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: Any = None,
        *,
        key: bytes | None = None,
        names: Mapping[int, str] | Sequence[str] | None = None,
    ) -> None:
        """Writes a SavedModel that is served without this package, and its model card.

        Signature `serving_default`: `inputs` float32, any number of points of the shape seen in
        `fit`, to `labels` int64 `[B]`, `responsibilities` float32 `[B, n_clusters]` (the sum over
        the components of each cluster), `log_density` float32
        `[B]` (nats) and `outlier_p` float32 `[B]`. Signature `labels`: the first two of these,
        which cost little more than the network alone. Signature `embed`: `inputs` to `features`
        float32 `[B, D]`. Preprocessing is inside. `tfdpm.load` opens the folder again.

        Args:
            directory: a version that does not exist yet, such as `saved_models/name/1`.
            format: "tf_saved_model" or "savedmodel"; or "litert" or "tflite", or "onnx", for the
                file that `export_tflite` or `export_onnx` writes.
            verbose: accepted as Keras's `export` does; nothing is printed.
            key: secret that signs the card, and so all files; `tfdpm.load` with the same key then
                knows that nobody without it made or changed them. `None` does not sign.
            names: of clusters, by number or one for each, for the card of a SavedModel.

        Raises:
            FileExistsError: if the folder exists.
        """
        del verbose
        checks.one_of(format, "format", dict.fromkeys((*_FORMATS, *_FORMATS.values())))
        kind = _FORMATS.get(format, format)
        if key is not None and kind != "savedmodel":
            checks.fail("key", f"one with the format {format!r}", "None: it signs SavedModels")
        if names is not None and kind != "savedmodel":
            checks.fail("names", f"some with the format {format!r}", "None: they are in a card")
        if kind == "savedmodel":
            saved_model.export(self, directory, key, names)
        else:
            getattr(self, f"export_{kind}")(directory)

    def export_tflite(self, path: str | os.PathLike[str]) -> None:
        """Writes a TensorFlow Lite file with encoder, preprocessing and network.

        Its signature `serving_default` takes `inputs` float32 `[B, ...]`, any B after
        `resize_tensor_input`, and gives `labels` int64 `[B]` and `responsibilities` float32
        `[B, n_clusters]`. Only built-in operations are used.

        Args:
            path: a file that does not exist yet, such as `model.tflite`; folders are made.

        Raises:
            FileExistsError: if the file exists.
        """
        tflite_onnx.export_tflite(saved_model.ServingModule(self), path)

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Writes an ONNX file with encoder, preprocessing and network; needs tf2onnx.

        It takes `inputs` float32 `[B, ...]` and gives `labels` int64 `[B]` and `responsibilities`
        float32 `[B, n_clusters]`.

        Args:
            path: a file that does not exist yet, such as `model.onnx`; folders are made.

        Raises:
            FileExistsError: if the file exists.
            ImportError: without tf2onnx.
        """
        tflite_onnx.export_onnx(saved_model.ServingModule(self), path)

    def quantize(self, *args, **kwargs) -> None:
        """Raises ValueError: a file of quantised networks could not be loaded again."""
        wanted = "networks in float32; `export_tflite` writes small files"
        checks.fail("quantize", "a DeepDPM, whose networks learn", wanted)

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
        saved = self._num_outputs if self.parts is None else None
        count = saved or self.fitted.num_clusters
        return keras.KerasTensor((inputs.shape[0], count), "float32")

    def save_own_variables(self, store) -> None:
        """Writes what is no network weight: mixture, prior, statistics, labels, genealogy."""
        arrays = to_arrays(self.parts, self.memory, self.point_shape, self.columns)
        for name, value in arrays.items():
            store[name] = value

    @out_of_scope()
    def load_own_variables(self, store) -> None:
        """Reads what `save_own_variables` wrote."""
        names = list(store.keys())
        if not names:
            return
        arrays = {name.replace(".", "/"): store[name] for name in names}
        own = {name[7:]: each for name, each in arrays.items() if name.startswith("memory/")}
        self.memory = Memory.from_arrays(own) if own else None
        if "columns" in arrays:
            self.columns = Columns.from_json(as_text(arrays["columns"]))
        if "capacity" not in arrays:  # too few points yet for a fit
            self.point_shape = as_integers(arrays["feature_shape"])
            return
        state = MixtureState.from_arrays(arrays)
        # Files of before do not tell the shape.
        shape = arrays.get("feature_shape", [state.preprocessing.input_dim])
        self.point_shape = as_integers(shape)
        # Keras reads networks and optimizers next, which must have the slots of the file.
        capacity = int(np.array(arrays["capacity"]))
        result = read_result(arrays, state.num_components, capacity)
        if self.clustering is None:
            # Files of before do not tell the width.
            width = arrays.get("hidden_units", self.config.hidden_units or 50)
            dim = state.preprocessing.feature_dim
            self.create_networks(dim, int(np.array(width)), capacity)
        networks = self._pair_networks() if self.parts is None else self.parts.networks
        if capacity != networks.capacity:
            networks = networks.grown_to(capacity)
        self.adopt(Fitted(networks, state, result))

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


def _renewed(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The same optimizer without slots; Keras optimisers refuse new variables."""
    return type(optimizer).from_config(optimizer.get_config())
