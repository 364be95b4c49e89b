"""Dense and convolutional autoencoders and their training by reconstruction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfdpm import checks


@keras.saving.register_keras_serializable(package="tfdpm")
class Scaling(layers.Layer):
    """Layer `(inputs - shift) / scale` with the same numbers, `scale` > 0, for all values."""

    def __init__(self, shift: float = 0.0, scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.shift = checks.number(shift, "shift")
        self.scale = checks.number(scale, "scale", above=0.0)

    @classmethod
    def of(cls, x: np.ndarray, **kwargs: Any) -> Scaling:
        """Makes the layer that gives the values of `x` mean 0 and variance 1 in all.

        Pixels keep their relative contrast, and constant data their scale.
        """
        shift = float(np.mean(x, dtype=np.float64))
        scale = float(np.std(x, dtype=np.float64))
        return cls(shift, scale if scale > 0.0 else 1.0, **kwargs)

    def call(self, inputs):
        return (inputs - self.shift) / self.scale


@keras.saving.register_keras_serializable(package="tfdpm")
class Autoencoder(keras.Model):
    """Keras model of an encoder to latents `[B, L]` and a decoder, trained to reconstruct.

    The loss is the mean over points of `||g(f(x)) - x||^2`, [DeepDPM] supplement eq. 25. `dense`
    and `convolutional` make autoencoders; any two Keras models that fit make one, too:

        autoencoder = dense(784)
        autoencoder.compile("adam")
        autoencoder.fit_reconstruction(x, epochs=50, seed=0)
        latents = autoencoder.encoder.predict(x)

    Args:
        encoder: Keras model from inputs to latents `[B, L]`.
        decoder: Keras model from latents to inputs.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        if len(encoder.output_shape) != 2:
            checks.fail("encoder", f"outputs of shape {encoder.output_shape}", "[B, L] latents")
        if decoder.input_shape[1:] != encoder.output_shape[1:]:
            got = f"inputs of shape {decoder.input_shape}"
            checks.fail("decoder", got, f"the latents' {encoder.output_shape}")
        self.encoder, self.decoder = encoder, decoder
        self.built = True

    @property
    def latent_dim(self) -> int:
        """Number of latents L."""
        return int(self.encoder.output_shape[-1])

    def call(self, inputs, training: bool = False):
        """Reconstructions `[B, ...]` of inputs of the same shape."""
        return self.decoder(self.encoder(inputs, training=training), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns `reconstruction_loss` of the targets `y`, by default of `x`."""
        del sample_weight, training
        return reconstruction_loss(x if y is None else y, y_pred)

    def fit_reconstruction(
        self,
        x: np.ndarray,
        *,
        epochs: int,
        batch_size: int = 256,
        seed: int = 0,
        initial_epoch: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> keras.callbacks.History:
        """Trains the reconstruction of `x`; seed and epoch alone decide the order of points.

        Args:
            x: inputs of the encoder, `[N, ...]` float32.
            epochs: number of the epoch to stop at.
            batch_size: number of points per step.
            seed: random seed; the same seed gives the same order.
            initial_epoch: number of the epoch to start at, from which interrupted training goes on.
            callbacks: Keras callbacks.
        Returns:
            Keras's `History`; `loss` is in squared units of `x`, summed over the values of a point.
        """
        batches = seeded_batches((x,), epochs, batch_size, seed, initial_epoch)
        return self.fit(
            batches.map(lambda rows: (rows, rows)),
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=-(-len(x) // batch_size),
            shuffle=False,
            callbacks=list(callbacks),
            verbose=0,
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, serialised."""
        serialize = keras.saving.serialize_keras_object
        parts = {"encoder": serialize(self.encoder), "decoder": serialize(self.decoder)}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Autoencoder:
        """A model without weights from `get_config`'s result."""
        return cls(**keras.saving.deserialize_keras_object(config))


def reconstruction_loss(targets, reconstructions) -> tf.Tensor:
    """Returns the mean squared distance of points, [DeepDPM] supplement eq. 25, scalar float32."""
    error = tf.cast(targets, tf.float32) - tf.cast(reconstructions, tf.float32)
    return tf.reduce_mean(tf.reduce_sum(error**2, axis=tuple(range(1, error.shape.rank))))


def dense(
    input_dim: int,
    *,
    latent_dim: int = 10,
    hidden_units: Sequence[int] = (500, 500, 2000),
    seed: int = 0,
) -> Autoencoder:
    """Makes the fully connected D-500-500-2000-L autoencoder of [DeepDPM] supplement 7.3.

    It is not compiled. The decoder mirrors the widths `hidden_units` of the encoder's layers. The
    same seed gives the same initial weights.
    """
    checks.integer(input_dim, "input_dim", minimum=1)
    checks.integer(latent_dim, "latent_dim", minimum=1)
    widths = _widths(hidden_units, "hidden_units")
    encoder = keras.Sequential([keras.Input((input_dim,))], name="encoder")
    decoder = keras.Sequential([keras.Input((latent_dim,))], name="decoder")
    for index, units in enumerate(widths):
        encoder.add(layers.Dense(units, "relu", kernel_initializer=_relu_start(seed, index)))
    encoder.add(layers.Dense(latent_dim, kernel_initializer=_linear_start(seed, 100)))
    for index, units in enumerate(reversed(widths)):
        decoder.add(layers.Dense(units, "relu", kernel_initializer=_relu_start(seed, 200 + index)))
    decoder.add(layers.Dense(input_dim, kernel_initializer=_linear_start(seed, 300)))
    return Autoencoder(encoder, decoder, name="autoencoder")


def convolutional(
    image_shape: Sequence[int],
    *,
    latent_dim: int = 10,
    filters: Sequence[int] = (32, 64, 128),
    seed: int = 0,
) -> Autoencoder:
    """Makes a convolutional autoencoder of images `(H, W, C)`, or `(H, W)` for grey ones.

    It is not compiled. `filters` are the channels of the encoder's layers, each of which halves
    height and width. The same seed gives the same initial weights.
    """
    shape = tuple(checks.integer(size, "image_shape", minimum=1) for size in image_shape)
    if len(shape) not in (2, 3):
        checks.fail("image_shape", shape, "(H, W) or (H, W, C)")
    checks.integer(latent_dim, "latent_dim", minimum=1)
    widths = _widths(filters, "filters")
    height, width, channels = (*shape, 1)[:3]
    factors = [2**halvings for halvings in range(len(widths) + 1)]
    sizes = [(-(-height // factor), -(-width // factor)) for factor in factors]
    options = {"padding": "same", "activation": "relu"}

    encoder = keras.Sequential([keras.Input(shape)], name="encoder")
    encoder.add(layers.Reshape((height, width, channels)))
    for index, count in enumerate(widths):
        start = _relu_start(seed, index)
        encoder.add(layers.Conv2D(count, 3, strides=2, kernel_initializer=start, **options))
    encoder.add(layers.Flatten())
    encoder.add(layers.Dense(latent_dim, kernel_initializer=_linear_start(seed, 100)))

    smallest = (*sizes[-1], widths[-1])
    decoder = keras.Sequential([keras.Input((latent_dim,))], name="decoder")
    decoder.add(
        layers.Dense(math.prod(smallest), "relu", kernel_initializer=_relu_start(seed, 200))
    )
    decoder.add(layers.Reshape(smallest))
    for index, count in enumerate([*reversed(widths[:-1]), channels]):
        is_last = index == len(widths) - 1
        start = (_linear_start if is_last else _relu_start)(seed, 201 + index)
        size, wanted = sizes[-1 - index], sizes[-2 - index]
        options["activation"] = None if is_last else "relu"
        decoder.add(layers.Conv2DTranspose(count, 3, 2, kernel_initializer=start, **options))
        # An odd size is halved upwards, so that doubling gives one row or column too many.
        excess = tuple((0, 2 * half - full) for half, full in zip(size, wanted, strict=True))
        if excess != ((0, 0), (0, 0)):
            decoder.add(layers.Cropping2D(excess))
    decoder.add(layers.Reshape(shape))
    return Autoencoder(encoder, decoder, name="autoencoder")


def seeded_batches(
    arrays: Sequence[np.ndarray],
    epochs: int,
    batch_size: int,
    seed: int,
    initial_epoch: int = 0,
) -> tf.data.Dataset:
    """Makes batches of arrays `[N, ...]` for the epochs from `initial_epoch` to `epochs`.

    The seed and the number of an epoch alone decide its order, and its last batch has the rest.
    Elements are batches `[B, ...]` of one array, or tuples of those of several.
    """
    tensors = [tf.constant(array) for array in arrays]

    def order(epoch) -> tf.data.Dataset:
        rows = tf.random.experimental.stateless_shuffle(tf.range(len(arrays[0])), [seed, epoch])
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)

    def gather(rows):
        batch = tuple(tf.gather(tensor, rows) for tensor in tensors)
        return batch if len(batch) > 1 else batch[0]

    epoch_numbers = tf.data.Dataset.range(initial_epoch, epochs, output_type=tf.int32)
    return epoch_numbers.flat_map(order).map(gather).prefetch(2)


def _widths(values: Sequence[int], name: str) -> tuple[int, ...]:
    widths = tuple(checks.integer(value, name, minimum=1) for value in values)
    if not widths:
        checks.fail(name, "none", "at least one layer")
    return widths


def _relu_start(seed: int, index: int) -> keras.initializers.Initializer:
    return keras.initializers.HeNormal(seed=1000 * seed + index)


def _linear_start(seed: int, index: int) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=1000 * seed + index)
