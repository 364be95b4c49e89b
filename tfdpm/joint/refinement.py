"""Gradient steps of an autoencoder: reconstruction, and the pull towards fixed cluster centres.

Which centres, and when, is decided in `joint.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm.data.images.affine import random_affine

if TYPE_CHECKING:
    from tfdpm.progress.epoch_backup import EpochBackup

__all__ = ["Losses", "Pull", "Refinement"]


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
        weight: of the mean squared distance to the centre: beta / 2, over a variance if relative.
    """

    centres: np.ndarray
    assignments: np.ndarray
    weight: float


class Refinement:
    """Trains an autoencoder on scaled points, in an order that follows seed and epoch alone.

    Args:
        autoencoder: with Keras models `encoder` and `decoder`.
        points: `[N, ...]` float32, scaled inputs of the encoder.
        image_shape: `(H, W, C)` if the encoder is to see images moved a little, else `None`.
        reconstruction_weight: of the mean squared distance.
        batch_size: points per step.
        seed: of order and movements.
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
        *,
        stage: int,
        pull: Pull | None = None,
        on_epoch: Callable[[Losses], None] | None = None,
        backup: EpochBackup | None = None,
    ) -> Losses:
        """Trains for some epochs with an Adam of its own, whose rate falls along a cosine.

        Args:
            epochs: passes over the points.
            learning_rate: at the start; the end has a hundredth.
            stage: number of the round, so that no two see the same order.
            pull: the clustering term; `None` for reconstruction alone.
            on_epoch: called after each epoch with its losses; for epochs that an interrupted run
                has done, with those of the last of them.
            backup: keeps each epoch, and gives back those of a run that was interrupted.
        Returns:
            Losses of the last epoch, zeros if there is none.
        """
        losses = Losses(0.0, 0.0)
        if epochs == 0:
            return losses
        count = int(self._points.shape[0])
        steps = -(-count // self._batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps, alpha=0.01)
        optimizer = keras.optimizers.Adam(schedule)
        variables = self._autoencoder.trainable_variables
        optimizer.build(variables)
        step = self._compiled_step(optimizer, variables, pull)
        changing = [*self._autoencoder.variables, *optimizer.variables]
        first = 0
        if backup is not None:
            first, notes = backup.restore(changing)
            losses = Losses(*notes) if first else losses
        if on_epoch is not None:
            for _ in range(first):
                on_epoch(losses)
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
            if backup is not None:
                backup.save(epoch + 1, changing, losses)
            if on_epoch is not None:
                on_epoch(losses)
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
