"""An autoencoder and its gradient steps: reconstruction, and the pull to fixed cluster centres."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.images.affine import random_affine
from tfdpm.features import autoencoder as autoencoders
from tfdpm.features.autoencoder import Autoencoder
from tfdpm.joint.config import JointConfig
from tfdpm.progress.display import ProgressDisplay
from tfdpm.progress.epoch_backup import EpochBackup

__all__ = [
    "Losses",
    "Pull",
    "Refinement",
    "encoder_shape",
    "inverse_variance",
    "new_autoencoder",
    "raw_encoder",
]


class Losses(NamedTuple):
    """Means over the points of an epoch.

    Attributes:
        reconstruction: squared distance of reconstruction and input, [DeepDPM] supplement eq. 25.
        clustering: squared distance of latents and their centre, eq. 26; 0 without centres.
    """

    reconstruction: float
    clustering: float


class Pull(NamedTuple):
    """The clustering term of one round.

    Attributes:
        centres: `[K, L]` float32, means of the latents of each cluster.
        assignments: `[N]` int32.
        weight: weight of the mean squared distance to the centre, which is beta / 2, divided by
            the latents' variance if losses are relative.
    """

    centres: np.ndarray
    assignments: np.ndarray
    weight: float

    @classmethod
    def to_means(cls, latents: np.ndarray, labels: np.ndarray, weight: float) -> Pull:
        """The pull of `[N, L]` latents to the means of clusters `[N]`."""
        sums = np.zeros((labels.max() + 1, latents.shape[1]))
        np.add.at(sums, labels, latents)
        sizes = np.maximum(np.bincount(labels), 1)  # a cluster without points pulls none
        centres = (sums / sizes[:, np.newaxis]).astype(np.float32)
        return cls(centres, labels.astype(np.int32), weight)


class Refinement:
    """Trains an autoencoder on scaled points, in an order that follows seed and epoch alone.

    Args:
        autoencoder: model with Keras models `encoder` and `decoder`.
        points: `[N, ...]` float32, scaled inputs of the encoder.
        image_shape: `(H, W, C)` if the encoder is to see images moved a little, else `None`.
        reconstruction_weight: weight of the mean squared distance in the loss.
        batch_size: number of points per step.
        seed: random seed; the same seed gives the same order and movements.
    """

    def __init__(
        self,
        autoencoder: keras.Model,
        points: np.ndarray,
        *,
        image_shape: tuple[int, int, int] | None,
        reconstruction_weight: float,
        batch_size: int,
        seed: int,
    ):
        self._autoencoder = autoencoder
        self._points = tf.constant(points)
        self._image_shape = image_shape
        self._reconstruction_weight = reconstruction_weight
        self._batch_size = batch_size
        self._seed = seed

    def run(
        self,
        epochs: int,
        learning_rate: float,
        stage: int,
        *,
        pull: Pull | None = None,
        display: ProgressDisplay | None = None,
        backup: EpochBackup | None = None,
    ) -> Losses:
        """Trains for some epochs with an Adam of its own, whose rate falls along a cosine.

        Args:
            epochs: number of passes over the points.
            learning_rate: learning rate at the start; a hundredth of it is left at the end.
            stage: number of the round, so that no two see the same order.
            pull: clustering term; `None` for reconstruction alone.
            display: display that counts the epochs; `None` shows nothing.
            backup: store of each epoch, from which an interrupted run goes on; `None` for none.
        Returns:
            Losses of the last epoch, zeros if there is none.
        """
        losses = Losses(0.0, 0.0)
        if epochs == 0:
            return losses
        count = int(self._points.shape[0])
        display = display or ProgressDisplay(epochs, verbose=0)
        backup = backup or EpochBackup(None)
        steps = -(-count // self._batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps, alpha=0.01)
        optimizer = keras.optimizers.Adam(schedule)
        variables = self._autoencoder.trainable_variables
        optimizer.build(variables)
        step = self._compiled_step(optimizer, variables, pull)
        changing = [*self._autoencoder.variables, *optimizer.variables]
        first, notes = backup.restore(changing)
        losses = Losses(*notes) if first else losses
        display.skip(first)
        for epoch in range(first, epochs):
            generator = np.random.default_rng([self._seed, 7, stage, epoch])
            order = generator.permutation(count).astype(np.int32)
            total = np.zeros(2)
            for index, rows in enumerate(
                np.split(order, range(self._batch_size, count, self._batch_size))
            ):
                key = [self._seed, (stage * 100_003 + epoch) * 100_003 + index]
                total += len(rows) * step(tf.constant(rows), tf.constant(key, tf.int64)).numpy()
            losses = Losses(*(float(value) for value in total / count))
            backup.save(epoch + 1, changing, losses)
            if pull is None:
                display.step(note=f"reconstruction {losses.reconstruction:.4g}")
            else:
                display.step(note=f"distance {losses.clustering:.4g}")
        return losses

    def _compiled_step(self, optimizer, variables, pull: Pull | None) -> Callable:
        """One step: rows and a seed to both losses."""
        autoencoder = self._autoencoder
        if pull is not None:
            centres, assignments = tf.constant(pull.centres), tf.constant(pull.assignments)

        def step(rows, key):
            targets = tf.gather(self._points, rows)
            inputs = self._moved(targets, key)
            with tf.GradientTape() as tape:
                latents = autoencoder.encoder(inputs, training=True)
                reconstructions = autoencoder.decoder(latents, training=True)
                reconstruction = _mean_squared_distance(reconstructions, targets)
                loss, distance = self._reconstruction_weight * reconstruction, tf.constant(0.0)
                if pull is not None:
                    wanted = tf.gather(centres, tf.gather(assignments, rows))
                    distance = _mean_squared_distance(latents, wanted)
                    loss += pull.weight * distance
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            optimizer.apply(gradients, variables)
            return tf.stack([reconstruction, distance])

        return tf.function(step, autograph=False, reduce_retracing=True)

    def _moved(self, points, key):
        """Points as the encoder sees them."""
        if self._image_shape is None:
            return points
        images = tf.reshape(points, [-1, *self._image_shape])
        return tf.reshape(random_affine(images, key), [-1, *points.shape[1:]])


def _mean_squared_distance(first, second) -> tf.Tensor:
    axes = tuple(range(1, first.shape.rank))
    return tf.reduce_mean(tf.reduce_sum((first - second) ** 2, axis=axes))


def inverse_variance(values: np.ndarray) -> float:
    """One over the total variance of `[N, ...]` values, which brings distances to shares of it."""
    rows = values.reshape(len(values), -1)
    return 1.0 / max(float(np.var(rows, axis=0, dtype=np.float64).sum()), 1e-12)


def new_autoencoder(config: JointConfig, feature_shape: tuple[int, ...], seed: int) -> Autoencoder:
    """The autoencoder that a configuration asks for, of points of one shape."""
    if config.encoder == "dense":
        width = int(np.prod(feature_shape))
        return autoencoders.dense(width, latent_dim=config.latent_dim, seed=seed)
    if len(feature_shape) < 2:
        got = f"points of shape {feature_shape}"
        checks.fail("x", got, "images for a convolutional encoder")
    return autoencoders.convolutional(feature_shape, latent_dim=config.latent_dim, seed=seed)


def encoder_shape(autoencoder: keras.Model, feature_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a point as the autoencoder takes it, which is its own, or flattened."""
    shape = tuple(autoencoder.encoder.input_shape[1:])
    if shape not in (feature_shape, (int(np.prod(feature_shape)),)):
        wanted = f"{feature_shape}, or that flattened"
        checks.fail("autoencoder", f"inputs of shape {shape}", wanted)
    return shape


def raw_encoder(
    scaling: keras.layers.Layer,
    autoencoder: keras.Model,
    feature_shape: tuple[int, ...],
    embedder: keras.Model | None = None,
) -> keras.Model:
    """Keras model from raw points to latents, or to what an embedder makes of the latents."""
    inputs = keras.Input(feature_shape)
    shape = encoder_shape(autoencoder, feature_shape)
    features = keras.layers.Reshape(shape)(scaling(inputs))
    features = autoencoder.encoder(features)
    if embedder is not None:
        features = embedder(features)
    return keras.Model(inputs, features, name="raw_encoder")
