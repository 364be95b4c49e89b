"""`JointClustering`, the Keras model: autoencoder and DeepDPM in turn, until K is stable.

The gradient steps are in `refinement.py`, the settings in `joint_config.py`, what is asked and kept
in `joint_fitted.py`; clusters are found by `DeepDPM`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.data.inputs import Inputs, as_features
from tfdpm.deepdpm.model import DeepDPM
from tfdpm.features import autoencoder as autoencoders
from tfdpm.features import parametric_umap as embedding
from tfdpm.joint.config import JointConfig
from tfdpm.joint.fitted import FittedJoint, history_of, in_pieces
from tfdpm.joint.refinement import Pull, Refinement
from tfdpm.progress.epoch_backup import EpochBackup
from tfdpm.progress.stage_bar import StageProgress

__all__ = ["JointClustering"]

_EMBEDDER_EPOCHS = 100  # of the network that places new points; with fewer it blurs the clusters
_NOISE = 0.03  # of its inputs' standard deviation
_CLUSTERING_STEPS = 10  # steps of progress that a clustering counts for


@keras.saving.register_keras_serializable(package="tfdpm")
class JointClustering(FittedJoint):
    """Features and clusters learned in turn, [DeepDPM] section 4.5 and supplement 6.1.

    An autoencoder is trained to reconstruct. Then, round by round: DeepDPM clusters what the
    frozen encoder gives, K included; the autoencoder is refined by reconstruction and by the
    pull of each point's latents to the centre of its cluster, clusters and centres being fixed;
    until K is stable. `predict` and its kind take raw points.

        model = tfdpm.JointClustering("default", seed=0)
        model.fit(images)
        labels = model.predict_labels(new_images)

    Attributes (after `fit`):
        n_clusters: int, K.
        labels_: `[N]` int64, clusters of the training points.
        cluster_sizes_: `[K]` int64.
        history: Keras `History` by round: n_clusters, reconstruction_loss and clustering_loss (of
            the last epoch before that round's clustering), and nmi, ari, acc where labels were
            given.
        autoencoder: the `tfdpm.features.Autoencoder`, of scaled points.
        encoder: Keras model from raw points to what DeepDPM clusters.
        clustering: the fitted `DeepDPM` of the last round.

    Args:
        config: a `JointConfig`, or "default", "mnist", "reuters10k", "imagenet50" or
            "imagenet50_imbalanced" for those of the paper.
        autoencoder: one of your own instead of the configuration's; its encoder takes points or
            flattened points.
        seed: of everything random in a fit.
    """

    def fit(
        self,
        x,
        y=None,
        *,
        rounds: int | None = None,
        directory: str | os.PathLike[str] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: str | int = "auto",
    ) -> keras.callbacks.History:
        """Learns features and clusters; a model that was fitted goes on with further rounds.

        Args:
            x: `[N, D]` array-like, images `[N, H, W]` or `[N, H, W, C]`, a frame, a `(x, y)` pair,
                a path or a name. Held in memory.
            y: `[N]` labels, only for the scores in the history.
            rounds: rounds at most, all told; overrides the configuration's.
            directory: where the model is kept after pretraining and after each round, and the
                autoencoder after each of its epochs. A fit that was interrupted goes on from
                there, and ends as if it had not been.
            callbacks: Keras callbacks; an epoch is a round.
            verbose: 0 silent, 1 or "auto" a bar of all stages, 2 a line per stage.
        Returns:
            `history`.
        Raises:
            ValueError, TypeError: naming the argument, what came and what was wanted.
        """
        checks.one_of(verbose, "verbose", ("auto", 0, 1, 2))
        inputs = as_features(x, y)
        if inputs.array is None:
            checks.fail("x", "a stream", "an array in memory: every round reads it", TypeError)
        points = np.asarray(inputs.array, np.float32)
        most = self.config.max_rounds
        most = most if rounds is None else checks.integer(rounds, "rounds", minimum=1)
        path = None if directory is None else Path(directory) / "joint.keras"
        fingerprint = _fingerprint(points, self.config, self.seed)
        if path is not None and path.exists():
            self._resume(path, fingerprint)
        self._progress.fingerprint = fingerprint
        callback_list = keras.callbacks.CallbackList(
            list(callbacks or ()), add_history=False, model=self, epochs=most, steps=1
        )
        self._start(points)
        progress = StageProgress(self._steps_left(most), 1 if verbose == "auto" else verbose)
        callback_list.on_train_begin()
        self.stop_training = False
        try:
            self._run(points, inputs, most, path, progress, callback_list)
        finally:
            progress.close()
        callback_list.on_train_end(self._progress.rounds[-1])
        return self.history

    def _run(self, points, inputs: Inputs, most: int, path, progress, callback_list) -> None:
        """Pretraining, then rounds, as far as they have not been made."""
        refinement = self._refinement(points)
        if not self._progress.is_pretrained:
            backup = self._backup(path, 0)
            self._pretrain(refinement, progress, backup)
            self._keep(path)
            backup.remove()
        while len(self._progress.rounds) < most and not self._is_stable():
            number = len(self._progress.rounds)
            callback_list.on_epoch_begin(number)
            backup = self._backup(path, number)
            logs = self._round(number, points, refinement, progress, backup)
            logs.update(_scores(inputs.labels, self.labels_))
            self._progress.rounds.append(logs)
            self.history = history_of(self._progress.rounds)
            progress.end(f"round {number + 1} of at most {most}", _line(logs))
            self._keep(path)
            backup.remove()
            callback_list.on_epoch_end(number, logs)
            if self.stop_training:
                break

    def _backup(self, path: Path | None, stage: int) -> EpochBackup:
        """Keeps the epochs of a stage beside the model."""
        path = None if path is None else path.with_name("joint-epochs.npz")
        return EpochBackup(path, f"{self._progress.fingerprint} stage {stage}")

    def _start(self, points: np.ndarray) -> None:
        """Scaling and autoencoder, unless they are there."""
        if self.scaling is not None:
            if points.shape[1:] != self._feature_shape:
                checks.fail("x", f"points {points.shape[1:]}", f"{self._feature_shape} as before")
            return
        self._feature_shape = points.shape[1:]
        self.scaling = autoencoders.Scaling.of(points)
        if self.autoencoder is None:
            self.autoencoder = self._new_autoencoder()
        self.built = True

    def _new_autoencoder(self) -> autoencoders.Autoencoder:
        options = {"latent_dim": self.config.latent_dim, "seed": self.seed}
        if self.config.encoder == "dense":
            return autoencoders.dense(int(np.prod(self._feature_shape)), **options)
        if len(self._feature_shape) < 2:
            got = f"points of shape {self._feature_shape}"
            checks.fail("x", got, "images for a convolutional encoder")
        return autoencoders.convolutional(self._feature_shape, **options)

    def _refinement(self, points: np.ndarray) -> Refinement:
        scaled = np.asarray(self.scaling(points), np.float32)
        scaled = scaled.reshape(len(points), *self._encoder_shape())
        is_image = len(self._feature_shape) >= 2
        image_shape = (*self._feature_shape, 1)[:3] if is_image else None
        return Refinement(
            self.autoencoder,
            scaled,
            image_shape=image_shape if self.config.augment else None,
            reconstruction_weight=self._relative(scaled),
            batch_size=self.config.batch_size,
            seed=self.seed,
        )

    def _encoder_shape(self) -> tuple[int, ...]:
        """Shape of a point as the autoencoder takes it: its own, or flattened."""
        shape = tuple(self.autoencoder.encoder.input_shape[1:])
        if shape not in (self._feature_shape, (int(np.prod(self._feature_shape)),)):
            wanted = f"{self._feature_shape}, or that flattened"
            checks.fail("autoencoder", f"inputs of shape {shape}", wanted)
        return shape

    def _relative(self, values: np.ndarray) -> float:
        """What brings a mean squared distance of such values to a share of their variance."""
        if not self.config.relative_losses:
            return 1.0
        rows = values.reshape(len(values), -1)
        return 1.0 / max(float(np.var(rows, axis=0, dtype=np.float64).sum()), 1e-12)

    def _pretrain(self, refinement: Refinement, progress: StageProgress, backup) -> None:
        progress.begin("pretraining")
        losses = refinement.run(
            self.config.pretrain_epochs,
            self.config.learning_rate,
            stage=0,
            on_epoch=lambda losses: progress.step(f"reconstruction {losses.reconstruction:.4g}"),
            backup=backup,
        )
        self._progress.is_pretrained = True
        self._progress.losses = losses
        progress.end("pretraining", f"reconstruction {losses.reconstruction:.4g}")

    def _round(self, number: int, points, refinement, progress, backup) -> dict[str, float]:
        """One round: from the second on the autoencoder is refined; then DeepDPM clusters."""
        losses = self._progress.losses
        if number > 0:
            progress.begin(f"round {number + 1}: autoencoder")
            latents = self._latents(points)
            labels = self.labels_
            centres = _means(latents, labels, self.n_clusters)
            weight = 0.5 * self.config.clustering_weight * self._relative(latents)
            losses = refinement.run(
                self.config.round_epochs,
                self.config.round_learning_rate,
                stage=number,
                pull=Pull(centres, labels.astype(np.int32), weight),
                on_epoch=lambda losses: progress.step(f"distance {losses.clustering:.4g}"),
                backup=backup,
            )
        progress.begin(f"round {number + 1}: clusters")
        self._cluster(self._latents(points))
        progress.step(f"K {self.n_clusters}", _CLUSTERING_STEPS)
        return {
            "n_clusters": self.n_clusters,
            "reconstruction_loss": losses.reconstruction,
            "clustering_loss": losses.clustering,
        }

    def _cluster(self, latents: np.ndarray) -> None:
        """DeepDPM on the latents, or on their layout as a network gives it."""
        self.clustering = DeepDPM(self.config.clustering, seed=self.seed, name="deepdpm")
        self.embedder = None
        if self.config.embedding == "none":
            self.clustering.fit(latents, verbose=0)
        else:
            # Clusters are found among the places themselves: a network blurs the gaps between them.
            places = embedding.neighbour_layout(latents, seed=self.seed)
            self.clustering.fit(places, verbose=0)
            network = embedding.fit_encoder(
                latents, places, epochs=_EMBEDDER_EPOCHS, noise=_NOISE, seed=self.seed
            )
            layers = [keras.Input(latents.shape[1:]), *network.layers]
            self.embedder = keras.Sequential(layers, name="embedder")
        self._labels = self._labels_of(latents)
        self._progress.encoder = None

    def _latents(self, points: np.ndarray) -> np.ndarray:
        shape = [-1, *self._encoder_shape()]
        encoder = self.autoencoder.encoder
        return in_pieces(
            lambda piece, training: encoder(
                tf.reshape(self.scaling(piece), shape), training=training
            ),
            points,
        )

    def _labels_of(self, latents: np.ndarray) -> np.ndarray:
        """Clusters `[N]` as `predict_labels` gives them."""
        features = latents if self.embedder is None else in_pieces(self.embedder, latents)
        return self.clustering.predict_labels(features)

    def _is_stable(self) -> bool:
        """Whether K has been the same for as many rounds as the configuration wants."""
        patience = self.config.stable_rounds
        counts = [logs["n_clusters"] for logs in self._progress.rounds]
        if patience is None or len(counts) <= patience:
            return False
        return len(set(counts[-patience - 1 :])) == 1

    def _steps_left(self, most: int) -> int:
        pretraining = 0 if self._progress.is_pretrained else self.config.pretrain_epochs
        done = len(self._progress.rounds)
        refined = max(most - max(done, 1), 0)
        return pretraining + refined * self.config.round_epochs + (most - done) * _CLUSTERING_STEPS


def _means(latents: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean `[K, L]` float32 of the latents of each cluster; zeros for one without points."""
    sums = np.zeros((count, latents.shape[1]))
    np.add.at(sums, labels, latents)
    sizes = np.bincount(labels, minlength=count)
    return (sums / np.maximum(sizes, 1)[:, np.newaxis]).astype(np.float32)


def _scores(known: np.ndarray | None, labels: np.ndarray) -> dict[str, float]:
    """Agreement with known labels, where there are any."""
    if known is None:
        return {}
    return {
        "nmi": float(metrics.nmi(known, labels)),
        "ari": float(metrics.ari(known, labels)),
        "acc": float(metrics.clustering_accuracy(known, labels)),
    }


def _line(logs: dict[str, float]) -> str:
    """A round in words."""
    parts = [f"K {logs['n_clusters']}", f"reconstruction {logs['reconstruction_loss']:.4g}"]
    parts += [f"{name} {logs[name]:.3f}" for name in ("nmi", "acc") if name in logs]
    return ", ".join(parts)


def _fingerprint(points: np.ndarray, config: JointConfig, seed: int) -> str:
    """What an interrupted fit must have in common with the one that takes it up.

    Rounds may be more, so that a fit that ended can go on.
    """
    settings = dataclasses.asdict(config.replace(max_rounds=1))
    digest = hashlib.sha256(json.dumps([settings, seed, points.shape]).encode())
    digest.update(np.ascontiguousarray(points).data)
    return digest.hexdigest()
