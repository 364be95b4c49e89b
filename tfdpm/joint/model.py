"""`JointClustering`, which trains an autoencoder and `DeepDPM` in turn until K is stable."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import as_features
from tfdpm.deepdpm.layout_prior import fit_layout_scale
from tfdpm.deepdpm.model import DeepDPM
from tfdpm.deepdpm.strategy_scope import out_of_scope
from tfdpm.features import autoencoder as autoencoders
from tfdpm.features import parametric_umap, umap
from tfdpm.features.apply_encoder import encode, encode_inputs
from tfdpm.features.choice import image_shape_of
from tfdpm.joint.config import PRESETS, JointConfig
from tfdpm.joint.refinement import Pull, Refinement
from tfdpm.joint.state import JointState
from tfdpm.progress.display import ProgressDisplay, as_verbose
from tfdpm.progress.epoch_backup import EpochBackup
from tfdpm.progress.files import local_path, replace_file

_EMBEDDER_EPOCHS = 100  # of the network that places new points; with fewer it blurs the clusters
_NOISE = 0.03  # of its inputs' standard deviation
# Of the share of edges between clusters, times sqrt(N), where the share is an eighth.
_SHARE_DEVIATION = 0.33
_CLUSTERING_STEPS = 10  # steps of progress that a clustering counts for
_PARTS = ("autoencoder", "scaling", "embedder", "clustering")
_RATES = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


@keras.saving.register_keras_serializable(package="tfdpm")
class JointClustering(keras.Model):
    """Features and clusters learned in turn, [DeepDPM] section 4.5 and supplement 6.1.

    An autoencoder is trained to reconstruct. Then, round by round, DeepDPM clusters what the
    frozen encoder gives, K included. After that the autoencoder is refined by reconstruction and
    by a pull of each point's latents to the centre of its cluster. Rounds end when K is stable.
    `predict` and its kind take raw points.

        model = tfdpm.JointClustering("default", seed=0)
        model.fit(images)
        labels = model.predict_labels(new_images)

    Attributes:
        n_clusters: int, K.
        labels_: `[N]` int64, clusters of the training points.
        cluster_sizes_: `[K]` int64.
        history: Keras `History` by round: n_clusters, reconstruction_loss and clustering_loss (of
            the last epoch before that round's clustering), and nmi, ari, acc where labels were
            given.
        autoencoder: the `tfdpm.features.Autoencoder`, of scaled points.
        encoder: Keras model from raw points to what DeepDPM clusters.
        clustering: the `DeepDPM` of the last round, of the encoder's features.
        progress: how far the fits so far have come, a value that is saved with the model.

    Args:
        config: a `JointConfig`, or "default", "mnist", "reuters10k", "imagenet50" or
            "imagenet50_imbalanced" for those of the paper; `None` for the default.
        autoencoder: autoencoder whose encoder takes points or flattened points; `None` for the
            configuration's.
        seed: random seed; the same seed gives the same model.
    """

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
        # The `DeepDPM` behind the encoder, which shares its weights with the parts: held where
        # Keras finds and saves no models.
        self._raw = types.SimpleNamespace(model=None)
        self.progress = JointState()
        self.history = self.progress.history()
        self.optimizer = None  # each stage has one of its own

    # -- training -----------------------------------------------------------------------------

    def compile(self, optimizer=None, loss=None, **others: Any) -> None:
        """Accepted without arguments: the configuration has rates, and the method losses."""
        given = {"optimizer": optimizer, "loss": loss, **others}
        _refuse(given, "`config` has the rates, and the method its losses")

    @out_of_scope()
    def fit(
        self,
        x,
        y=None,
        *,
        rounds: int | None = None,
        directory: str | os.PathLike[str] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: str | int = "auto",
        **others: None,
    ) -> keras.callbacks.History:
        """Learns features and clusters; a model that was fitted goes on with further rounds.

        Args:
            x: `[N, D]` array-like, images `[N, H, W]` or `[N, H, W, C]`, a frame of numbers, a
                `(x, y)` pair, a path or a name. Held in memory.
            y: `[N]` labels, only for the scores in the history; `None` for no scores.
            rounds: number of rounds at most, earlier ones included; `None` for the
                configuration's.
            directory: folder for the model after pretraining and after each round, and for the
                autoencoder after each of its epochs. An interrupted fit goes on from there, and
                ends as if it had not been interrupted. `None` keeps nothing.
            callbacks: Keras callbacks; an epoch is a round.
            verbose: 0 silent, 1 or "auto" a bar of all stages, 2 a line per stage.
            **others: other arguments of Keras's `fit`, which must be `None`.
        Returns:
            `history`.
        Raises:
            ValueError, TypeError: naming the argument, what came and what was wanted.
        """
        places = {"batch_size": "`config` has one", "epochs": "`rounds` are fitted"}
        for name in others:
            _refuse({name: others[name]}, places.get(name, "every round learns from all points"))
        verbose = as_verbose(verbose)
        inputs = as_features(x, y, columns=Columns()).in_memory()
        inputs.warn_of_order()
        if inputs.array is None:
            checks.fail("x", "a stream", "an array in memory: every round reads it", TypeError)
        points = np.asarray(inputs.array, np.float32)
        max_rounds = self.config.max_rounds
        if rounds is not None:
            max_rounds = checks.integer(rounds, "rounds", minimum=1)
        path = None if directory is None else local_path(directory, "directory") / "joint.keras"
        fingerprint = self.config.fingerprint(points, self.seed)
        if path is not None and path.exists():
            self._resume(path, fingerprint)
        self._create_parts(points)
        self._update(fingerprint=fingerprint)
        callbacks = tf.nest.flatten(callbacks or [])
        for each in callbacks:
            if isinstance(each, _RATES):
                checks.fail("callbacks", f"a {type(each).__name__}", "none: `config` has the rates")
        callback_list = keras.callbacks.CallbackList(
            callbacks, add_history=False, model=self, epochs=max_rounds, steps=1
        )
        done = len(self.progress.rounds)
        steps = (max_rounds - done) * _CLUSTERING_STEPS
        steps += max(max_rounds - max(done, 1), 0) * self.config.round_epochs
        steps += 0 if self.progress.is_pretrained else self.config.pretrain_epochs
        display = ProgressDisplay(steps, 1 if verbose == "auto" else verbose)
        callback_list.on_train_begin()
        self.stop_training = False
        with contextlib.closing(display):
            self._run_stages(points, inputs.labels, max_rounds, path, display, callback_list)
        callback_list.on_train_end(self.progress.rounds[-1])
        if not len(self.progress.labels):  # a callback put the weights of an earlier round back
            self._update(labels=self.predict_labels(points))
        return self.history

    def _run_stages(self, points, known, max_rounds: int, path, display, callback_list) -> None:
        """Runs pretraining and rounds, except those that were run before."""
        config, refinement = self.config, self._refinement(points)
        if not self.progress.is_pretrained:
            display.name_stage("pretraining")
            with self._kept(path, 0) as backup:
                losses = refinement.run(
                    config.pretrain_epochs, config.learning_rate, 0, display=display, backup=backup
                )
                self._update(is_pretrained=True, losses=losses)
            display.report(f"pretraining: reconstruction {losses.reconstruction:.4g}")
        for number in range(len(self.progress.rounds), max_rounds):
            if self.stop_training or self.progress.is_stable(config.stable_rounds):
                break
            callback_list.on_epoch_begin(number)
            with self._kept(path, number) as backup:
                losses = self.progress.losses
                if number > 0:
                    display.name_stage(f"round {number + 1}: autoencoder")
                    settings = (config.round_epochs, config.round_learning_rate, number)
                    pull = self._pull(points)
                    losses = refinement.run(*settings, pull=pull, display=display, backup=backup)
                display.name_stage(f"round {number + 1}: clusters")
                self._cluster(points)
                display.step(_CLUSTERING_STEPS, f"K {self.n_clusters}")
                logs = {
                    "n_clusters": self.n_clusters,
                    "reconstruction_loss": losses.reconstruction,
                    "clustering_loss": losses.clustering,
                }
                if known is not None:
                    logs |= metrics.score_labels(known, self.labels_)
                self._update(rounds=(*self.progress.rounds, logs))
            shown = [f"K {self.n_clusters}", f"reconstruction {losses.reconstruction:.4g}"]
            shown += [f"{name} {logs[name]:.3f}" for name in ("nmi", "acc") if name in logs]
            display.report(f"round {number + 1} of at most {max_rounds}: {', '.join(shown)}")
            callback_list.on_epoch_end(number, logs)

    @contextlib.contextmanager
    def _kept(self, path: Path | None, stage: int) -> Iterator[EpochBackup]:
        """Keeps the autoencoder's epochs while a stage runs, and the model when it has ended."""
        name = f"{self.progress.fingerprint} stage {stage}"
        backup = EpochBackup(path and path.with_name("joint-epochs.npz"), name)
        yield backup
        if path is not None:
            with replace_file(path) as temporary:
                self.save(temporary)
        backup.remove()

    def _resume(self, path: Path, fingerprint: str) -> None:
        """Takes up what an interrupted fit of the same data and settings has left."""
        other = keras.saving.load_model(path)
        if not isinstance(other, JointClustering) or other.progress.fingerprint != fingerprint:
            got = f"{str(path)!r}, kept by a fit of other data, settings or seed"
            checks.fail("directory", got, "another folder, or one without that file")
        for name in _PARTS:
            self._set_part(name, getattr(other, name))
        self.progress, self.history = other.progress, other.history
        self._raw.model, self.built = None, True

    def _create_parts(self, points: np.ndarray) -> None:
        """Makes scaling and autoencoder, unless they are there."""
        shape, before = points.shape[1:], self.progress.feature_shape
        if before:
            if shape != before:
                checks.fail("x", f"points {shape}", f"{before} as before")
            return
        width, is_dense = int(np.prod(shape)), self.config.encoder == "dense"
        if self.autoencoder is None:
            if not is_dense and len(shape) < 2:
                checks.fail("x", f"points of shape {shape}", "images for a convolutional encoder")
            make = autoencoders.dense if is_dense else autoencoders.convolutional
            options = {"latent_dim": self.config.latent_dim, "seed": self.seed}
            self.autoencoder = make(width if is_dense else shape, **options)
        wanted = tuple(self.autoencoder.encoder.input_shape[1:])
        if wanted not in (shape, (width,)):
            got = f"inputs of shape {wanted}"
            checks.fail("autoencoder", got, f"{shape}, or that flattened")
        for each in self.autoencoder.variables:
            if isinstance(each.value, tf.distribute.DistributedValues):
                got = "a model made in the scope of a strategy"
                checks.fail("autoencoder", got, "one made outside of it")
        self._set_part("scaling", autoencoders.Scaling.of(points))
        self._update(feature_shape=shape)
        self.built = True

    def _refinement(self, points: np.ndarray) -> Refinement:
        scaled, shape = np.asarray(self.scaling(points), np.float32), points.shape[1:]
        image_shape = (*shape, 1)[:3] if len(shape) >= 2 else image_shape_of(points)
        return Refinement(
            autoencoder=self.autoencoder,
            points=tf.reshape(scaled, [-1, *self.autoencoder.encoder.input_shape[1:]]),
            image_shape=image_shape if self.config.augment else None,
            reconstruction_weight=self._loss_weight(scaled),
            batch_size=self.config.batch_size,
            seed=self.seed,
        )

    def _pull(self, points: np.ndarray) -> Pull:
        """The pull of latents to the means of the components as they are now.

        A cluster of several may be a ring, whose mean lies outside of it.
        """
        latents = encode(self._raw_encoder(), points)
        labels = self._raw_clustering().predict_components(points)
        sums = np.zeros((labels.max() + 1, latents.shape[1]))
        np.add.at(sums, labels, latents)
        sizes = np.maximum(np.bincount(labels), 1)  # a cluster without points pulls none
        centres = (sums / sizes[:, np.newaxis]).astype(np.float32)
        weight = 0.5 * self.config.clustering_weight * self._loss_weight(latents)
        return Pull(centres, labels.astype(np.int32), weight)

    def _loss_weight(self, values: np.ndarray) -> float:
        """Of distances among `[N, ...]` values: one, or what makes them shares of the variance."""
        if not self.config.relative_losses:
            return 1.0
        rows = values.reshape(len(values), -1)
        return 1.0 / max(float(np.var(rows, axis=0, dtype=np.float64).sum()), 1e-12)

    def _cluster(self, points: np.ndarray) -> None:
        """Fits a new DeepDPM to the latents, or to their layout as a network gives it."""
        latents = encode(self._raw_encoder(), points)
        config, inputs = self.config.clustering, as_features(latents)
        if self.config.embedding == "umap":
            # Clusters are found among the places themselves: a network blurs the gaps between them.
            found = umap.neighbours(latents, min(umap.NUM_NEIGHBOURS, len(latents) - 1))
            places = parametric_umap.neighbour_layout(latents, found, seed=self.seed)
            inputs = as_features(places)
            # Pulled latents gather at their centres, so that each round has a prior of its own.
            # Narrower ones than the data suggest would cut them to pieces that the pull then parts:
            # 10,000 digits ended with K 20. Wider ones, as for pixels, join two digits.
            margin = _SHARE_DEVIATION / np.sqrt(len(places))
            options = {"are_images": False, "least": 1.0, "margin": margin}
            scale, start = fit_layout_scale(
                places, found[0], config, len(places), self.seed, **options
            )
            config = config.replace(prior_scale=scale)
            inputs = dataclasses.replace(inputs, start=start)
        self._raw.model = None
        self._set_part("embedder", None)
        self._set_part("clustering", DeepDPM(config, seed=self.seed, name="deepdpm"))
        self.clustering.fit(inputs, verbose=0)
        if self.config.embedding == "umap":
            network = parametric_umap.fit_encoder(
                latents, places, epochs=_EMBEDDER_EPOCHS, noise=_NOISE, seed=self.seed
            )
            layers = [keras.Input(latents.shape[1:]), *network.layers]
            self._set_part("embedder", keras.Sequential(layers, name="embedder"))
        self._update(labels=self.predict_labels(points))

    def _set_part(self, name: str, part: Any) -> None:
        """Puts a part into the place of one of before, which Keras would go on to count."""
        if (old := getattr(self, name)) is not None:
            self._tracker.untrack(old)
        setattr(self, name, part)

    def _update(self, **changes: Any) -> None:
        self.progress = dataclasses.replace(self.progress, **changes)
        self.history = self.progress.history()

    def _raw_encoder(self, embedder: keras.Model | None = None) -> keras.Model:
        """Keras model from raw points to latents, or to what an embedder makes of them."""
        inputs = keras.Input(self.progress.feature_shape)
        shape = self.autoencoder.encoder.input_shape[1:]
        features = self.autoencoder.encoder(keras.layers.Reshape(shape)(self.scaling(inputs)))
        features = features if embedder is None else embedder(features)
        return keras.Model(inputs, features, name="raw_encoder")

    # -- a fitted model -----------------------------------------------------------------------

    @property
    def encoder(self) -> keras.Model:
        """Keras model from raw points `[B, ...]` to the features that DeepDPM clusters."""
        return self._raw_clustering().encoder

    def call(self, inputs):
        """Responsibilities `[B, K]` float32 of raw points `[B, ...]`."""
        return self._raw_clustering()(inputs)

    def compute_output_spec(self, inputs, *args: Any, **options: Any) -> keras.KerasTensor:
        """Responsibilities `[B, K]`, known as soon as a saved model is built again."""
        return self._fitted().compute_output_spec(inputs)

    def embed(self, x) -> np.ndarray:
        """Features `[N, D]` float32 of raw points, which DeepDPM clusters."""
        inputs = encode_inputs(as_features(x, minimum_points=1, columns=Columns()), self.encoder)
        if inputs.array is not None:
            return inputs.array
        return np.concatenate(list(inputs.dataset.as_numpy_iterator()))

    def predict(self, x, *args: Any, **options: Any) -> np.ndarray:
        """Responsibilities `[N, K]` float32 of raw points; arguments as for `DeepDPM.predict`."""
        return self._raw_clustering().predict(x, *args, **options)

    def predict_on_batch(self, x) -> np.ndarray:
        """As `predict`, of points that are one batch."""
        return self.predict(x)

    def evaluate(self, x, y=None, *args: Any, **options: Any) -> Any:
        """Scores of raw points, in the features' units; all as by `DeepDPM.evaluate`."""
        return self._raw_clustering().evaluate(x, y, *args, **options)

    def test_on_batch(self, x, y=None, **options: Any) -> Any:
        """As `evaluate`, of points that are one batch."""
        return self.evaluate(x, y, **options)

    def train_on_batch(self, *args: Any, **options: Any) -> None:
        """Refused, with a ValueError: every round learns from all points."""
        checks.fail("train_on_batch", "a batch", "all points given to fit")

    def quantize(self, *args: Any, **options: Any) -> None:
        """Refused, with a ValueError: a file of quantised networks could not be loaded again."""
        checks.fail("quantize", "a JointClustering, whose networks learn", "networks in float32")

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Clusters `[N]` int64 of raw points; arguments as for `DeepDPM.predict_labels`."""
        return self._raw_clustering().predict_labels(x, reject_below=reject_below)

    def score_samples(self, x) -> np.ndarray:
        """Log predictive density `[N]` float64 of the features of raw points, nats."""
        return self._raw_clustering().score_samples(x)

    def export(self, directory: str | os.PathLike[str], *args: Any, **options: Any) -> None:
        """Writes a model that takes raw points; arguments and signatures as of `DeepDPM.export`.

        Raises:
            FileExistsError: if the folder exists.
        """
        self._raw_clustering().export(directory, *args, **options)

    @property
    def n_clusters(self) -> int:
        """K of the last round."""
        return self._fitted().n_clusters

    @property
    def labels_(self) -> np.ndarray:
        """`[N]` int64 clusters of the training points, equal to `predict_labels(x)`."""
        self._fitted()
        if not len(self.progress.labels):
            wanted = "a fit that ended; or use predict_labels(x)"
            checks.fail("labels_", "weights that were set by hand", wanted, RuntimeError)
        return self.progress.labels

    @property
    def cluster_sizes_(self) -> np.ndarray:
        """`[K]` int64 numbers of training points."""
        return np.bincount(self.labels_, minlength=self.n_clusters)

    def _fitted(self) -> DeepDPM:
        if self.clustering is None:
            checks.fail("model", "a model that was not fitted", "call fit first", RuntimeError)
        return self.clustering

    def _raw_clustering(self) -> DeepDPM:
        """The fitted `DeepDPM` behind the encoder."""
        fitted = self._fitted()
        if self._raw.model is None:
            options = {"features": f"autoencoder, {self.config.embedding}", "seed": fitted.seed}
            encoder = self._raw_encoder(self.embedder)
            model = DeepDPM(fitted.config, encoder=encoder, **options)
            model.clustering, model.subclustering = fitted.clustering, fitted.subclustering
            model.point_shape, model.built = self.progress.feature_shape, True
            self._raw.model = model
        self._raw.model.parts = fitted.fitted
        return self._raw.model

    # -- saving -------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, and the parts that a fit made."""
        config = {"config": dataclasses.asdict(self.config), "seed": self.seed, "name": self.name}
        for name in _PARTS:
            part = getattr(self, name)
            config[name] = None if part is None else keras.saving.serialize_keras_object(part)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> JointClustering:
        """A model with the same parts, without weights."""
        config = dict(config)
        parts = {name: config.pop(name) for name in _PARTS}
        model = cls(JointConfig(**config.pop("config")), **config)
        for name, part in parts.items():
            if part is not None:
                setattr(model, name, keras.saving.deserialize_keras_object(part))
        model.built = model.scaling is not None
        return model

    def get_weights(self) -> list[np.ndarray]:
        """Weights of all networks and the state of the mixture, which callbacks can put back."""
        return [array for part in self._learned_parts() for array in part.get_weights()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Restores `get_weights`' result; the number of clusters may differ."""
        weights = list(weights)
        for part in self._learned_parts():
            count = len(weights) if part is self.clustering else len(part.weights)
            part.set_weights(weights[:count])
            del weights[:count]
        self._raw.model = None
        self._update(labels=np.zeros(0, np.int64))

    def _learned_parts(self) -> list[keras.Model]:
        parts = (self.autoencoder, self.embedder, self.clustering)
        return [part for part in parts if part is not None]

    def save_own_variables(self, store) -> None:
        """Writes how far the fit has come, which is in none of the parts."""
        for name, array in self.progress.to_arrays().items():
            store[name] = array

    def load_own_variables(self, store) -> None:
        """Reads what `save_own_variables` wrote."""
        self.progress, self._raw.model = JointState.from_arrays(store), None
        self.history = self.progress.history()


def _refuse(arguments: dict[str, Any], reason: str) -> None:
    """Raises unless arguments that Keras's models take are `None`."""
    for name, value in arguments.items():
        if value is not None:
            checks.fail(name, f"a {type(value).__name__}", f"None: {reason}")
