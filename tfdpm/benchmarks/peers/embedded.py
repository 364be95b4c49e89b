"""[DCN] and [DEC]: an autoencoder whose latents are pulled to a given number of clusters.

On features of another network, DCN is what [DeepDPM] calls DCN++.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from sklearn.cluster import KMeans

from tfdpm.features.autoencoder import (
    Autoencoder,
    Scaling,
    dense,
    reconstruction_loss,
    seeded_batches,
)

_HIDDEN_UNITS = (500, 500, 2000)
_BATCH_SIZE = 256
_PRETRAIN_EPOCHS = 50
_DCN_EPOCHS = 50
_DCN_WEIGHT = 0.05  # lambda
_DEC_RENEWALS, _DEC_STEPS = 100, 140  # of targets, and between two of them
_SETTLED_SHARE = 0.001  # of the points: DEC ends where fewer change their cluster


def dcn(x: np.ndarray, num_clusters: int, seed: int, *, epochs: int | None = None) -> np.ndarray:
    """Runs DCN with lambda 0.05 and 50 epochs after 50 of pretraining.

    Those are the settings of the authors' program for MNIST. The autoencoder is DEC's, and Adam's
    rate of 1e-3 and batches of 256 points are ours. `epochs` shortens both trainings.
    """
    points, autoencoder, latents = _pretrain(x, seed, epochs)
    start = KMeans(num_clusters, n_init=10, random_state=seed).fit(latents)
    sizes = np.bincount(start.labels_, minlength=num_clusters)
    model = DCN(autoencoder, start.cluster_centers_, sizes, _DCN_WEIGHT)
    # The optimizer of the pretraining goes on: the first steps of a new Adam are so large that
    # latents leave the centres behind, and all points go to one of them.
    model.compile(autoencoder.optimizer)
    count = _DCN_EPOCHS if epochs is None else epochs
    batches = seeded_batches((points,), count, _BATCH_SIZE, seed + 1)
    steps = -(-len(points) // _BATCH_SIZE)
    model.fit(batches, epochs=count, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model.predict(points, verbose=0).argmin(axis=1)


def dec(x: np.ndarray, num_clusters: int, seed: int, *, epochs: int | None = None) -> np.ndarray:
    """Runs DEC with latents of 10 numbers, batches of 256 and SGD of rate 0.01, as in the paper.

    Targets are renewed each epoch or, of few points, after the authors' 140 steps. It ends where
    0.1 % of the points change, or after 100 renewals. In place of layer by layer, the autoencoder
    is pretrained at once for 50 epochs. `epochs` shortens both trainings.
    """
    points, autoencoder, latents = _pretrain(x, seed, epochs)
    start = KMeans(num_clusters, n_init=20, random_state=seed).fit(latents)
    layer = StudentAssignment(start.cluster_centers_)
    model = keras.Sequential([*autoencoder.encoder.layers, layer])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.KLDivergence())
    labels, steps = start.labels_, -(-len(points) // _BATCH_SIZE)
    passes = -(-_DEC_STEPS // steps)  # of few points one pass would change no label
    left = _DEC_RENEWALS * passes if epochs is None else epochs
    for renewal in range(-(-left // passes)):
        shares = model.predict(points, batch_size=4096, verbose=0)
        before, labels = labels, shares.argmax(axis=1)
        if renewal > 0 and np.mean(labels != before) < _SETTLED_SHARE:
            break
        count = min(passes, left - renewal * passes)
        data = (points, sharpen(shares))
        batches = seeded_batches(data, count, _BATCH_SIZE, seed + 1 + renewal)
        model.fit(batches, epochs=count, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model.predict(points, batch_size=4096, verbose=0).argmax(axis=1)


class DCN(keras.Model):
    """An autoencoder that is trained to reconstruct and to keep latents near K centres.

    A step minimises `mean ||g(f(x)) - x||^2 + lambda / 2 mean ||f(x) - m||^2`, where m is the
    nearest centre. Then each centre moves to the new latents at a rate of one by their number.

    Args:
        autoencoder: a pretrained `Autoencoder`.
        centres: `[K, L]`, where the centres start.
        sizes: `[K]`, number of points behind each centre so far.
        weight: lambda.
    """

    def __init__(self, autoencoder: Autoencoder, centres, sizes, weight: float):
        super().__init__()
        self.autoencoder, self.weight = autoencoder, weight
        self.centres = tf.Variable(centres, dtype=tf.float32, trainable=False)
        self.sizes = tf.Variable(sizes, dtype=tf.float32, trainable=False)
        self.built = True

    def call(self, inputs, training: bool = False):
        """Returns squared distances `[B, K]` of the latents to the centres."""
        latents = self.autoencoder.encoder(inputs, training=training)
        return tf.reduce_sum((latents[:, tf.newaxis] - self.centres) ** 2, axis=-1)

    def train_step(self, data):
        encoder, decoder = self.autoencoder.encoder, self.autoencoder.decoder
        variables = self.autoencoder.trainable_variables
        with tf.GradientTape() as tape:
            latents = encoder(data, training=True)
            nearest = tf.argmin(self(data), axis=1)
            loss = reconstruction_loss(data, decoder(latents, training=True))
            pull = reconstruction_loss(tf.gather(self.centres, nearest), latents)
            loss += 0.5 * self.weight * pull
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)
        latents = encoder(data)
        own = tf.one_hot(nearest, self.centres.shape[0])
        counts = tf.reduce_sum(own, axis=0)
        self.sizes.assign_add(counts)
        moves = tf.matmul(own, latents, transpose_a=True) - counts[:, tf.newaxis] * self.centres
        self.centres.assign_add(moves / tf.maximum(self.sizes, 1.0)[:, tf.newaxis])
        return {"loss": loss}


class StudentAssignment(keras.layers.Layer):
    """Layer from latents `[B, L]` to shares `[B, K]`, t kernels of one degree about the centres.

    `q_k = (1 + ||z - m_k||^2)^-1`, divided by its sum over k. The centres are trained.
    """

    def __init__(self, centres: np.ndarray):
        super().__init__()
        start = keras.initializers.Constant(centres)
        self.centres = self.add_weight(shape=centres.shape, initializer=start)

    def call(self, inputs):
        squares = tf.reduce_sum((inputs[:, tf.newaxis] - self.centres) ** 2, axis=-1)
        kernels = 1.0 / (1.0 + squares)
        return kernels / tf.reduce_sum(kernels, axis=-1, keepdims=True)


def sharpen(shares: np.ndarray) -> np.ndarray:
    """Returns DEC's targets `[N, K]`: `q_k^2 / sum_n q_nk`, divided by its sum over k."""
    targets = shares**2 / shares.sum(axis=0)
    return targets / targets.sum(axis=1, keepdims=True)


def _pretrain(x: np.ndarray, seed: int, epochs: int | None):
    """Returns scaled points `[N, D]`, an autoencoder that reconstructs them, and its latents."""
    points = np.asarray(Scaling.of(x)(np.asarray(x, np.float32)))
    keras.utils.set_random_seed(seed)
    autoencoder = dense(points.shape[1], hidden_units=_HIDDEN_UNITS, seed=seed)
    autoencoder.compile(keras.optimizers.Adam(1e-3))
    count = _PRETRAIN_EPOCHS if epochs is None else min(epochs, _PRETRAIN_EPOCHS)
    autoencoder.fit_reconstruction(points, epochs=count, batch_size=_BATCH_SIZE, seed=seed)
    return points, autoencoder, autoencoder.encoder.predict(points, batch_size=4096, verbose=0)
