"""Parametric UMAP: a network that learns a layout and places new points near their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfdpm import checks
from tfdpm.features import umap
from tfdpm.features.autoencoder import seeded_batches
from tfdpm.progress.epoch_backup import EpochBackup

__all__ = ["EMBEDDING_DIM", "NUM_NEIGHBOURS", "fit_encoder", "neighbour_layout"]

NUM_NEIGHBOURS = 15  # as in [UMAP]; 10 to 25 give much the same
EMBEDDING_DIM = 10  # as in [DeepDPM]'s two-step runs; in fewer dimensions clusters are torn
_HIDDEN_UNITS = (256, 256)
_BATCH_SIZE = 256
_FEWEST_STEPS, _FEWEST_EPOCHS = 2000, 25
_LEARNING_RATE = 1e-3
_NOISE = 0.3  # of the inputs' standard deviation: less, and new points fall between clusters


def neighbour_layout(
    x: np.ndarray,
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
    embedding_dim: int = EMBEDDING_DIM,
    seed: int = 0,
    on_epoch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Lays out points by their nearest neighbours, [UMAP] with a minimum distance of zero.

    Args:
        x: points, `[N, D]` float32.
        num_neighbours: number of neighbours k, cut to N - 1.
        embedding_dim: dimension of the layout d.
        seed: random seed; the same seed gives the same layout.
        on_epoch: function that is called with the numbers of epochs done and in all.
    Returns:
        Places of the points, `[N, d]` float32.
    """
    checks.integer(num_neighbours, "num_neighbours", minimum=2)
    checks.integer(embedding_dim, "embedding_dim", minimum=1)
    indices, distances = umap.neighbours(x, min(num_neighbours, len(x) - 1))
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
    hidden_units: Sequence[int] = _HIDDEN_UNITS,
    epochs: int | None = None,
    noise: float = _NOISE,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    backup: EpochBackup | None = None,
) -> keras.Model:
    """Trains a network to map points to their places.

    Args:
        x: points, `[N, D]` float32.
        places: places of the points, `[N, d]` float32.
        hidden_units: widths of the hidden layers.
        epochs: number of passes over the points; by default, chosen by N.
        noise: standard deviation of the inputs' noise, as a share of that of the inputs.
        seed: random seed; the same seed gives the same weights, order and noise.
        callbacks: Keras callbacks of the training.
        backup: store of each epoch, from which an interrupted training goes on; `None` for none.
    Returns:
        Keras model `[B, D] -> [B, d]`.
    """
    if epochs is None:
        epochs = max(_FEWEST_EPOCHS, -(-_FEWEST_STEPS * _BATCH_SIZE // len(x)))
    encoder = _network(x, places, hidden_units, seed)
    steps = -(-len(x) // _BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, epochs * steps)
    encoder.compile(keras.optimizers.Adam(rate), "mse")
    first, keeping = (backup or EpochBackup(None)).resume(encoder)
    spread = tf.constant(noise * np.std(x, axis=0), tf.float32)

    def disturbed(index, batch):
        rows, wanted = batch
        seeds = tf.stack([tf.cast(seed, tf.int64), index])
        return rows + spread * tf.random.stateless_normal(tf.shape(rows), seeds), wanted

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


def _network(x, places, hidden_units: Sequence[int], seed: int) -> keras.Sequential:
    """Builds the network: standardised columns, ReLU layers, one unit per axis of the layout."""
    start = keras.initializers.HeNormal
    spread = np.std(x, axis=0, dtype=np.float64)
    # Columns that hardly vary carry noise, which is not scaled up to the size of the others.
    variance = np.maximum(spread, 0.1 * max(spread.max(), 1e-12)) ** 2
    network = keras.Sequential([keras.Input(x.shape[1:])], name="encoder")
    network.add(layers.Normalization(mean=x.mean(axis=0, dtype=np.float64), variance=variance))
    for index, units in enumerate(hidden_units):
        network.add(layers.Dense(units, "relu", kernel_initializer=start(seed=1000 * seed + index)))
    last = keras.initializers.GlorotUniform(seed=1000 * seed + 100)
    centre = keras.initializers.Constant(places.mean(axis=0))
    network.add(layers.Dense(places.shape[1], kernel_initializer=last, bias_initializer=centre))
    return network
