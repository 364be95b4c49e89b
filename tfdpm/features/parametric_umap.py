"""Parametric UMAP: a network that learns a layout and places new points near their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfdpm.features import umap
from tfdpm.features.autoencoder import seeded_batches
from tfdpm.progress.epoch_backup import EpochBackup

_EMBEDDING_DIM = 10  # as in [DeepDPM]'s two-step runs; in fewer dimensions clusters are torn
_BATCH_SIZE = 256
_FEWEST_STEPS, _FEWEST_EPOCHS = 2000, 25
_LEARNING_RATE = 1e-3
_NOISE = 0.3  # of the inputs' standard deviation: less, and new points fall between clusters


def neighbour_layout(
    x: np.ndarray,
    *,
    embedding_dim: int = _EMBEDDING_DIM,
    seed: int = 0,
    on_epoch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Lays out points `x [N, D]` by their nearest neighbours, [UMAP], as `[N, d]` float32.

    `on_epoch` is called with the numbers of epochs done and in all.
    """
    indices, distances = umap.neighbours(x, min(umap.NUM_NEIGHBOURS, len(x) - 1))
    return umap.layout(
        umap.membership_graph(indices, distances),
        umap.principal_start(x, embedding_dim, seed),
        # Few points make few steps within an epoch.
        epochs=300 if len(x) < 5000 else 200,
        seed=seed,
        on_epoch=on_epoch,
    )


def fit_encoder(
    x: np.ndarray,
    places: np.ndarray,
    *,
    hidden_units: Sequence[int] = (256, 256),
    epochs: int | None = None,
    noise: float = _NOISE,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    backup: EpochBackup | None = None,
) -> keras.Model:
    """Trains a network `[B, D] -> [B, d]` to map points `[N, D]` to their places `[N, d]`.

    The same seed gives the same weights, order and noise. By default, N decides the epochs. An
    interrupted training goes on from `backup`. `noise` is the standard deviation of what is added
    to the inputs, as a share of theirs.
    """
    if epochs is None:
        epochs = max(_FEWEST_EPOCHS, -(-_FEWEST_STEPS * _BATCH_SIZE // len(x)))
    # Columns that hardly vary carry noise, which is not scaled up to the size of the others.
    spread = np.std(x, axis=0, dtype=np.float64)
    variance = np.maximum(spread, 0.1 * max(spread.max(), 1e-12)) ** 2
    encoder = keras.Sequential([keras.Input(x.shape[1:])], name="encoder")
    encoder.add(layers.Normalization(mean=x.mean(axis=0, dtype=np.float64), variance=variance))
    for index, units in enumerate(hidden_units):
        start = keras.initializers.HeNormal(seed=1000 * seed + index)
        encoder.add(layers.Dense(units, "relu", kernel_initializer=start))
    start = keras.initializers.GlorotUniform(seed=1000 * seed + 100)
    centre = keras.initializers.Constant(places.mean(axis=0))
    encoder.add(layers.Dense(places.shape[1], kernel_initializer=start, bias_initializer=centre))
    steps = -(-len(x) // _BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, epochs * steps)
    encoder.compile(keras.optimizers.Adam(rate), "mse")
    first, keeping = (backup or EpochBackup(None)).resume(encoder)
    deviation = tf.constant(noise * np.std(x, axis=0), tf.float32)

    def disturbed(index, batch):
        rows, wanted = batch
        seeds = tf.stack([tf.cast(seed, tf.int64), index])
        return rows + deviation * tf.random.stateless_normal(tf.shape(rows), seeds), wanted

    batches = seeded_batches((x, places), epochs, _BATCH_SIZE, seed, first)
    encoder.fit(
        batches.enumerate(first * steps).map(disturbed),
        epochs=epochs,
        initial_epoch=first,
        steps_per_epoch=steps,
        callbacks=[*keeping, *callbacks],
        shuffle=False,
        verbose=0,
    )
    # Without the optimiser, which is of no further use and would be saved.
    return keras.Sequential([keras.Input(x.shape[1:]), *encoder.layers], name="encoder")
