"""Gradient steps of an autoencoder: reconstruction, and the pull to fixed cluster centres."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm.data.images.affine import random_affine
from tfdpm.features.autoencoder import reconstruction_loss
from tfdpm.progress.display import ProgressDisplay
from tfdpm.progress.epoch_backup import EpochBackup


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


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Refinement:
    """Trains an autoencoder on scaled points, in an order that follows seed and epoch alone.

    Attributes:
        autoencoder: model with Keras models `encoder` and `decoder`.
        points: `[N, ...]` float32 array or tensor, scaled inputs of the encoder.
        image_shape: `(H, W, C)` if the encoder is to see images moved a little, else `None`.
        reconstruction_weight: weight of the mean squared distance in the loss.
        batch_size: number of points per step.
        seed: random seed; the same seed gives the same order and movements.
    """

    autoencoder: keras.Model
    points: np.ndarray | tf.Tensor
    image_shape: tuple[int, int, int] | None
    reconstruction_weight: float
    batch_size: int
    seed: int

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
            display, backup: what counts and what keeps each epoch; `None` for none.
        Returns:
            Losses of the last epoch, zeros if there is none.
        """
        losses = Losses(0.0, 0.0)
        if epochs == 0:
            return losses
        count = len(self.points)
        display = display or ProgressDisplay(epochs, verbose=0)
        backup = backup or EpochBackup(None)
        steps = -(-count // self.batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps, alpha=0.01)
        optimizer = keras.optimizers.Adam(schedule)
        optimizer.build(self.autoencoder.trainable_variables)
        step = self._compiled_step(optimizer, pull)
        changing = [*self.autoencoder.variables, *optimizer.variables]
        first, notes = backup.restore(changing)
        losses = Losses(*notes) if first else losses
        display.skip(first)
        for epoch in range(first, epochs):
            generator = np.random.default_rng([self.seed, 7, stage, epoch])
            order = generator.permutation(count).astype(np.int32)
            total = np.zeros(2)
            for index in range(steps):
                rows = order[index * self.batch_size : (index + 1) * self.batch_size]
                key = [self.seed, (stage * 100_003 + epoch) * 100_003 + index]
                total += len(rows) * step(tf.constant(rows), tf.constant(key, tf.int64)).numpy()
            losses = Losses(*(float(value) for value in total / count))
            backup.save(epoch + 1, changing, losses)
            note = f"reconstruction {losses.reconstruction:.4g}"
            display.step(note=note if pull is None else f"distance {losses.clustering:.4g}")
        return losses

    def _compiled_step(self, optimizer: keras.Optimizer, pull: Pull | None) -> Callable:
        """One step: rows and a seed to both losses."""
        encoder, decoder = self.autoencoder.encoder, self.autoencoder.decoder
        variables, points = self.autoencoder.trainable_variables, tf.constant(self.points)
        if pull is not None:
            centres, assignments = tf.constant(pull.centres), tf.constant(pull.assignments)

        def step(rows, key):
            inputs = targets = tf.gather(points, rows)
            if self.image_shape is not None:
                images = tf.reshape(targets, [-1, *self.image_shape])
                inputs = tf.reshape(random_affine(images, key), [-1, *targets.shape[1:]])
            with tf.GradientTape() as tape:
                latents = encoder(inputs, training=True)
                reconstruction = reconstruction_loss(targets, decoder(latents, training=True))
                loss, distance = self.reconstruction_weight * reconstruction, tf.constant(0.0)
                if pull is not None:
                    wanted = tf.gather(centres, tf.gather(assignments, rows))
                    distance = reconstruction_loss(wanted, latents)
                    loss += pull.weight * distance
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            optimizer.apply(gradients, variables)
            return tf.stack([reconstruction, distance])

        return tf.function(step, autograph=False, reduce_retracing=True)
