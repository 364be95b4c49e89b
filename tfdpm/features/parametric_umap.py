"""Parametric UMAP: a network that learns a layout and places new points near their neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfdpm.features import umap
from tfdpm.progress.stages import Stages

_EMBEDDING_DIM = 10  # as in [DeepDPM]'s two-step runs; in fewer dimensions clusters are torn
# Fewer points get smaller batches and so larger steps. 14 epochs of 128 place snippets and MNIST
# closer than 18 of 256 do, in less time; with 10 epochs of 64, classes of MNIST were joined.
_SMALLEST_BATCH, _LARGEST_BATCH = 64, 128
_FEWEST_STEPS, _FEWEST_EPOCHS = 1080, 14
_LEARNING_RATE, _BETAS = 3.5e-3, (0.9, 0.999)  # of Adam with the largest batch
_NOISE = 0.3  # of the inputs' standard deviation: less, and new points fall between clusters
_NOISE_ROWS = 4096  # that are drawn; each batch takes others of them


def neighbour_layout(
    x: np.ndarray,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    embedding_dim: int = _EMBEDDING_DIM,
    epochs: int | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Lays out points `x [N, D]` by their nearest neighbours, [UMAP], as `[N, d]` float32.

    The neighbours are as `umap.neighbours` finds them, by default here, and N decides the epochs.
    `on_epoch` is called with the numbers of epochs done and in all.
    """
    found = neighbours or umap.neighbours(x, min(umap.NUM_NEIGHBOURS, len(x) - 1))
    return umap.layout(
        umap.membership_graph(*found),
        umap.principal_start(x, embedding_dim, seed),
        # Few points make few steps within an epoch.
        epochs=epochs or (300 if len(x) < 5000 else 100),
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
    stages: Stages | None = None,
) -> keras.Model:
    """Trains a network `[B, D] -> [B, d]` to map points `[N, D]` to their places `[N, d]`.

    The same seed gives the same weights, order and noise. By default, N decides the epochs. `noise`
    is the standard deviation of what is added to the inputs, as a share of theirs. An interrupted
    training goes on from what `stages` kept, which are told how far it is.
    """
    batch_size = int(
        np.clip(len(x) * _FEWEST_EPOCHS // _FEWEST_STEPS, _SMALLEST_BATCH, _LARGEST_BATCH)
    )
    first_rate = _LEARNING_RATE * (_LARGEST_BATCH / batch_size) ** 0.8
    if epochs is None:
        epochs = max(_FEWEST_EPOCHS, -(-_FEWEST_STEPS * batch_size // len(x)))
    # Columns that hardly vary carry noise, which is not scaled up to the size of the others.
    spread = np.std(x, axis=0, dtype=np.float64)
    variance = np.maximum(spread, 0.1 * max(spread.max(), 1e-12)) ** 2
    scaling = layers.Normalization(mean=x.mean(axis=0, dtype=np.float64), variance=variance)
    dense = _dense_layers(hidden_units, places.mean(axis=0), seed)
    encoder = keras.Sequential([keras.Input(x.shape[1:]), scaling, *dense], name="encoder")
    steps = -(-len(x) // batch_size)
    variables = encoder.trainable_variables
    momenta = [[tf.Variable(tf.zeros(each.shape)) for each in variables] for _ in range(2)]
    rows, wanted = scaling(tf.constant(x, tf.float32)), tf.constant(places, tf.float32)
    deviation = tf.constant(noise * np.sqrt(3.0 / variance) * spread, tf.float32)
    shape = [_NOISE_ROWS + batch_size, len(spread)]
    drawn = deviation * tf.random.stateless_uniform(shape, [seed, 0], -1.0, 1.0)

    def train_step(order, first_index, index):
        batch = order[index * batch_size : (index + 1) * batch_size]
        seeds = tf.stack([seed, first_index + index])
        start = tf.random.stateless_uniform([], seeds, 0, _NOISE_ROWS, tf.int32)
        inputs = tf.gather(rows, batch) + drawn[start : start + tf.size(batch)]
        with tf.GradientTape() as tape:
            for layer in dense:
                inputs = layer(inputs)
            difference = inputs - tf.gather(wanted, batch)
            loss = tf.reduce_mean(tf.square(difference))
        # Adam in TensorFlow's kernel: with Keras's operations a step takes a quarter longer.
        done = tf.cast(first_index + index, tf.float32)
        rate = 0.5 * first_rate * (1.0 + tf.cos(np.pi * done / (epochs * steps)))
        gradients = tape.gradient(loss, variables)
        for variable, *moments, gradient in zip(variables, *momenta, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=moments[0].handle,
                v=moments[1].handle,
                beta1_power=_BETAS[0] ** (done + 1.0),
                beta2_power=_BETAS[1] ** (done + 1.0),
                lr=rate,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                epsilon=1e-7,
                grad=gradient,
            )
        return index + 1

    @tf.function(autograph=False)
    def train_epoch(epoch):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(x)), tf.stack([seed, epoch]))
        one = functools.partial(train_step, order, epoch * steps)
        # One step at a time, with the weights that the last one has left.
        tf.while_loop(lambda index: index < steps, one, [0], parallel_iterations=1)

    stages = stages or Stages(("encoder",))
    backup = stages.epoch_backup("encoder")
    changing = [*encoder.weights, *momenta[0], *momenta[1]]
    first = backup.restore(changing).epochs
    stages.resume(first, epochs)
    for epoch in range(first, epochs):
        train_epoch(tf.constant(epoch))
        backup.save(epoch + 1, changing)
        stages.progress(epoch + 1, epochs)
    return encoder


def _dense_layers(
    hidden_units: Sequence[int], centre: np.ndarray, seed: int
) -> list[keras.layers.Layer]:
    """Untrained layers to places `[B, d]`, which are about their `centre [d]` at first."""
    found = [
        layers.Dense(
            units, "relu", kernel_initializer=keras.initializers.HeNormal(1000 * seed + index)
        )
        for index, units in enumerate(hidden_units)
    ]
    start = keras.initializers.GlorotUniform(1000 * seed + 100)
    bias = keras.initializers.Constant(centre)
    return [*found, layers.Dense(len(centre), kernel_initializer=start, bias_initializer=bias)]
