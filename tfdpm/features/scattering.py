"""First-order scattering: untrained descriptors of images that small shifts hardly change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks

_ANGLES = 8
_FREQUENCY = 3.0 * np.pi / 4.0  # radians per pixel at the finest scale, [Scattering] section 4
_WIDTH = 0.8  # pixels, standard deviation of the envelope at the finest scale
_SLANT = 0.5  # ratio of the envelope's axis along the wave to the one across


@keras.saving.register_keras_serializable(package="tfdpm")
class Scattering(keras.layers.Layer):
    """Layer of local means of the moduli of Morlet wavelet responses, `[B, F]`.

    These are orders zero and one of [Scattering] (Bruna and Mallat 2013), at every `2^J`-th pixel.

    Args:
        image_shape: shape of the images, `(H, W)` or `(H, W, C)`.
        scales: number of scales J, 1 to 6; each doubles the neighbourhood of a descriptor.
    """

    def __init__(self, image_shape: Sequence[int], scales: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.image_shape = tuple(checks.integer(n, "image_shape", minimum=1) for n in image_shape)
        if len(self.image_shape) not in (2, 3):
            checks.fail("image_shape", self.image_shape, "(H, W) or (H, W, C)")
        self.scales = checks.integer(scales, "scales", minimum=1, maximum=6)
        self._banks = [
            [wavelet(scale, np.pi * index / _ANGLES) for index in range(_ANGLES)]
            for scale in range(self.scales)
        ]

    def call(self, inputs):
        """Computes descriptors `[B, F]` float32 of images `[B, *image_shape]`."""
        height, width, channels = (*self.image_shape, 1)[:3]
        images = tf.reshape(tf.cast(inputs, tf.float32), [-1, height, width, channels])
        # Channels are described one by one.
        images = tf.reshape(tf.transpose(images, [0, 3, 1, 2]), [-1, height, width, 1])
        # The margin's level is no content: white paper would have edges where zero padding begins.
        is_margin = np.ones((1, height, width, 1), np.float32)
        is_margin[:, 1:-1, 1:-1] = 0.0
        weights = tf.constant(is_margin / is_margin.sum())
        images -= tf.reduce_sum(images * weights, axis=[1, 2, 3], keepdims=True)
        # x * phi, and |x * psi_(j, theta)| * phi for each scale j and angle theta.
        maps = [images]
        for bank in self._banks:
            size = len(bank[0])
            kernel = np.stack([w.real for w in bank] + [w.imag for w in bank], axis=-1)
            kernel = tf.constant(kernel.reshape(size, size, 1, -1), tf.float32)
            response = tf.nn.conv2d(images, kernel, 1, "SAME")
            real, imaginary = tf.split(response, 2, axis=-1)
            maps.append(tf.sqrt(real**2 + imaginary**2 + 1e-12))
        maps = tf.concat(maps, axis=-1)
        step = 2**self.scales
        pooled = _blurred(maps, self.scales)[:, step // 2 :: step, step // 2 :: step]
        return tf.reshape(pooled, [-1, channels * int(np.prod(pooled.shape[1:]))])


def wavelet(scale: int, angle: float) -> np.ndarray:
    """Returns a Morlet wavelet `[S, S]` complex: a wave in a Gaussian envelope, with mean zero.

    The wave is `2^scale` times as long as the finest; its direction is `angle` in radians.
    """
    width, frequency = _WIDTH * 2**scale, _FREQUENCY / 2**scale
    radius = int(np.ceil(3 * width / _SLANT))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    envelope = np.exp(-(along**2 + (_SLANT * across) ** 2) / (2 * width**2))
    envelope /= envelope.sum()
    wave = np.exp(1j * frequency * along)
    return envelope * (wave - np.sum(envelope * wave))


def _blurred(maps, scales: int) -> tf.Tensor:
    """Averages `maps [B, H, W, M]` under a Gaussian window as wide as `2^scales` pixels."""
    width = _WIDTH * 2**scales / 2
    radius = int(np.ceil(3 * width))
    window = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * width**2))
    window = np.tile((window / window.sum())[:, None], [1, int(maps.shape[-1])])
    kernel = tf.constant(window, tf.float32)
    maps = tf.nn.depthwise_conv2d(maps, kernel[:, None, :, None], [1, 1, 1, 1], "SAME")
    return tf.nn.depthwise_conv2d(maps, kernel[None, :, :, None], [1, 1, 1, 1], "SAME")
