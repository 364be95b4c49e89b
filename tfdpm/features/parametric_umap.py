"""Parametric UMAP: a network that places points, new ones too, where their neighbours lie.

The layout it learns is made in `manifold.py`; which data deserve one is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfdpm import checks
from tfdpm.features import umap as manifold
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
        x: `[N, D]` float32.
        num_neighbours: k; cut to N - 1.
        embedding_dim: d.
        seed: of everything random.
        on_epoch: called with the epochs done and to do.
    Returns:
        `[N, d]` float32.
    """
    checks.integer(num_neighbours, "num_neighbours", minimum=2)
    checks.integer(embedding_dim, "embedding_dim", minimum=1)
    indices, distances = manifold.neighbours(x, min(num_neighbours, len(x) - 1))
    return manifold.layout(
        manifold.membership_graph(indices, distances),
        manifold.principal_start(x, embedding_dim, seed),
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
    """Trains a network to put `x` in its places.

    Args:
        x: `[N, D]` float32.
        places: `[N, d]` float32.
        hidden_units: of the network.
        epochs: passes over the points; `None` chooses by N.
        noise: standard deviation of what disturbs the inputs, as a share of theirs.
        seed: of initial weights, order and noise.
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
    """Standardises columns, then relu layers, then the units of the layout."""
    start = keras.initializers.HeNormal
    spread = np.std(x, axis=0, dtype=np.float64)
    # Columns that hardly vary carry noise: they are not blown up to the size of the others.
    variance = np.maximum(spread, 0.1 * max(spread.max(), 1e-12)) ** 2
    network = keras.Sequential([keras.Input(x.shape[1:])], name="encoder")
    network.add(layers.Normalization(mean=x.mean(axis=0, dtype=np.float64), variance=variance))
    for index, units in enumerate(hidden_units):
        network.add(layers.Dense(units, "relu", kernel_initializer=start(seed=1000 * seed + index)))
    last = keras.initializers.GlorotUniform(seed=1000 * seed + 100)
    centre = keras.initializers.Constant(places.mean(axis=0))
    network.add(layers.Dense(places.shape[1], kernel_initializer=last, bias_initializer=centre))
    return network
