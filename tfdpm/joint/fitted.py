"""What a jointly trained model is asked, and how it is kept: `JointClustering` without its fit."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.inputs import as_features
from tfdpm.deepdpm.model import DeepDPM
from tfdpm.joint.config import PRESETS, JointConfig
from tfdpm.joint.refinement import Losses
from tfdpm.serving import saved_model as serving

__all__ = ["FittedJoint", "JointProgress", "history_of", "in_pieces"]

_ROWS = 1024  # points at once through the encoder
_PARTS = ("autoencoder", "scaling", "embedder", "clustering")


@dataclasses.dataclass
class JointProgress:
    """What has been done: whether the autoencoder is pretrained, and the scores by round."""

    is_pretrained: bool = False
    rounds: list[dict[str, float]] = dataclasses.field(default_factory=list)
    losses: Losses = Losses(0.0, 0.0)
    fingerprint: str = ""
    encoder: keras.Model | None = None  # from raw points to what DeepDPM sees


class FittedJoint(keras.Model):
    """The part of `JointClustering` that answers and is kept; arguments as there."""

    def __init__(
        self,
        config: JointConfig | str | None = None,
        *,
        autoencoder: keras.Model | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if config is None or isinstance(config, str):
            config = JointConfig.named(config or "default")
        if not isinstance(config, JointConfig):
            wanted = f"a JointConfig, or one of {('default', *PRESETS)}"
            checks.fail("config", type(config).__name__, wanted, TypeError)
        self.config = config
        self.seed = checks.integer(seed, "seed", minimum=0, maximum=2**31 - 1)
        self.autoencoder = autoencoder
        self.scaling: keras.layers.Layer | None = None
        self.embedder: keras.Model | None = None
        self.clustering: DeepDPM | None = None
        self._feature_shape: tuple[int, ...] = ()
        self._labels = np.zeros(0, np.int64)
        self._progress = JointProgress()
        self.history = history_of([])

    # -- what a fitted model is asked ---------------------------------------------------------

    @property
    def encoder(self) -> keras.Model:
        """Keras model from raw points `[B, ...]` to the features that DeepDPM clusters."""
        self._fitted()
        if self._progress.encoder is None:
            inputs = keras.Input(self._feature_shape)
            features = self.scaling(inputs)
            if self._encoder_shape() != self._feature_shape:
                features = keras.layers.Reshape(self._encoder_shape())(features)
            features = self.autoencoder.encoder(features)
            if self.embedder is not None:
                features = self.embedder(features)
            self._progress.encoder = keras.Model(inputs, features, name="raw_encoder")
        return self._progress.encoder

    def call(self, inputs):
        """Responsibilities `[B, K]` float32 of raw points `[B, ...]`."""
        return self._fitted()(self.encoder(inputs, training=False))

    def embed(self, x) -> np.ndarray:
        """Features `[N, D]` float32 of raw points, which DeepDPM clusters."""
        encoder = self.encoder
        inputs = as_features(x, minimum_points=1)
        if int(np.prod(inputs.feature_shape)) != int(np.prod(self._feature_shape)):
            checks.fail("x", f"points {inputs.feature_shape}", f"{self._feature_shape} as in fit")
        if inputs.array is None:
            batches = inputs.dataset
        else:
            array = np.asarray(inputs.array, np.float32)
            batches = (array[i : i + _ROWS] for i in range(0, len(array), _ROWS))
        shape = [-1, *self._feature_shape]
        pieces = [encoder(tf.reshape(batch, shape), training=False) for batch in batches]
        return np.concatenate([np.asarray(piece, np.float32) for piece in pieces])

    def predict(self, x, batch_size: int | None = None, verbose: int = 0) -> np.ndarray:
        """Responsibilities `[N, K]` float32 of raw points; arguments as for `DeepDPM.predict`."""
        return self._fitted().predict(self.embed(x), batch_size, verbose)

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Clusters `[N]` int64 of raw points; arguments as for `DeepDPM.predict_labels`."""
        return self._fitted().predict_labels(self.embed(x), reject_below=reject_below)

    def score_samples(self, x) -> np.ndarray:
        """Log predictive density `[N]` float64 of the features of raw points, nats."""
        return self._fitted().score_samples(self.embed(x))

    def export(self, directory: str | os.PathLike[str]) -> None:
        """Writes a SavedModel that takes raw points; signatures as of `DeepDPM.export`.

        Raises:
            FileExistsError: if the folder exists.
        """
        clustering = self._fitted()
        state = clustering._fitted()
        module = serving.ServingModule(
            state, clustering.clustering, self._feature_shape, self.encoder
        )
        card = {
            "n_clusters": self.n_clusters,
            "input_shape": list(self._feature_shape),
            "feature_dim": state.preprocessing.feature_dim,
            "preprocessing": f"autoencoder, {self.config.embedding}",
            "num_points": len(self.labels_),
            "rounds": self._progress.rounds,
            "seed": self.seed,
            "config": dataclasses.asdict(self.config),
        }
        serving.write(module, directory, card)

    @property
    def n_clusters(self) -> int:
        """K of the last round."""
        return self._fitted().n_clusters

    @property
    def labels_(self) -> np.ndarray:
        """`[N]` int64 clusters of the training points, equal to `predict_labels(x)`."""
        self._fitted()
        return self._labels

    @property
    def cluster_sizes_(self) -> np.ndarray:
        """`[K]` int64 numbers of training points."""
        return np.bincount(self.labels_, minlength=self.n_clusters)

    def _fitted(self) -> DeepDPM:
        if self.clustering is None:
            checks.fail("model", "a model that was not fitted", "call fit first", RuntimeError)
        return self.clustering

    # -- keeping ------------------------------------------------------------------------------

    def _keep(self, path: Path | None) -> None:
        """Replaces the file in one step, so that a kill leaves the last whole round."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            self.save(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _resume(self, path: Path, fingerprint: str) -> None:
        """Takes up what an interrupted fit of the same data and settings has left."""
        other = keras.saving.load_model(path)
        if not isinstance(other, FittedJoint) or other._progress.fingerprint != fingerprint:
            got = f"{str(path)!r}, kept by a fit of other data, settings or seed"
            checks.fail("directory", got, "another folder, or one without that file")
        for name in ("autoencoder", "scaling", "embedder", "clustering"):
            setattr(self, name, getattr(other, name))
        self._feature_shape, self._progress = other._feature_shape, other._progress
        self._labels, self.history = other._labels, other.history
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, and the parts that a fit made."""
        config = {"config": dataclasses.asdict(self.config), "seed": self.seed, "name": self.name}
        parts = {name: getattr(self, name) for name in _PARTS}
        for name, part in parts.items():
            config[name] = None if part is None else keras.saving.serialize_keras_object(part)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FittedJoint:
        """A model with the same parts, without weights."""
        config = dict(config)
        parts = {name: config.pop(name) for name in _PARTS}
        model = cls(JointConfig(**config.pop("config")), **config)
        for name, part in parts.items():
            if part is not None:
                setattr(model, name, keras.saving.deserialize_keras_object(part))
        model.built = model.scaling is not None
        return model

    def get_build_config(self) -> None:
        """Nothing: the parts are built when they are made."""

    def build_from_config(self, config: None) -> None:
        """Nothing to do; see `get_build_config`."""

    def save_own_variables(self, store) -> None:
        """Writes what is in no part: how far the fit has come."""
        kept = {
            "is_pretrained": self._progress.is_pretrained,
            "rounds": self._progress.rounds,
            "fingerprint": self._progress.fingerprint,
            "losses": self._progress.losses,
            "feature_shape": self._feature_shape,
        }
        store["labels"] = self._labels
        store["progress"] = np.frombuffer(json.dumps(kept).encode(), np.uint8)

    def load_own_variables(self, store) -> None:
        """Reads what `save_own_variables` wrote."""
        kept = json.loads(np.array(store["progress"]).tobytes())
        self._feature_shape = tuple(kept["feature_shape"])
        self._labels = np.array(store["labels"]).astype(np.int64)
        losses = Losses(*kept["losses"])
        self._progress = JointProgress(
            kept["is_pretrained"], kept["rounds"], losses, kept["fingerprint"]
        )
        self.history = history_of(self._progress.rounds)


def in_pieces(network: Callable, rows: np.ndarray) -> np.ndarray:
    """What a network gives for `[N, ...]` rows, float32, without holding more than it must."""
    pieces = [
        np.asarray(network(rows[start : start + _ROWS], training=False), np.float32)
        for start in range(0, len(rows), _ROWS)
    ]
    return np.concatenate(pieces)


def history_of(rounds: Sequence[dict[str, float]]) -> keras.callbacks.History:
    """Keras's `History` of rounds."""
    history = keras.callbacks.History()
    history.epoch = list(range(len(rounds)))
    names = rounds[-1] if rounds else ()
    history.history = {name: [logs.get(name) for logs in rounds] for name in names}
    return history
