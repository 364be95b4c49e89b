"""Small random turns, scalings, shears and shifts of images: what leaves an object what it is."""

from __future__ import annotations

import tensorflow as tf

from tfdpm import checks

__all__ = ["random_affine"]


def random_affine(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    degrees: float = 10.0,
    scale: float = 0.1,
    shear: float = 0.1,
    shift: float = 0.07,
) -> tf.Tensor:
    """Moves the pixels of each image by an affine map of its own, bilinearly.

    The maps keep the centre where it is before the shift; beyond the border the nearest pixel goes
    on. Every parameter is uniform and symmetric about "none".

    Args:
        images: `[B, H, W, C]` floating.
        seed: `[2]` integer; the same seed gives the same maps everywhere.
        degrees: largest turn.
        scale: largest change of size, as a share; in [0, 1).
        shear: largest shear along a row, in pixels per pixel of height.
        shift: largest shift along each axis, as a share of that side.
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
    angle = draws[0] * (degrees * 3.141592653589793 / 180.0)
    factor = 1.0 + draws[1] * scale
    cosine, sine = factor * tf.cos(angle), factor * tf.sin(angle)
    # Where each pixel of the result comes from: [x'; y'] = A [x; y] + b, about the centre.
    a, b, c, d = cosine, draws[2] * shear - sine, sine, cosine
    x, y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    across = x - a * x - b * y + draws[3] * shift * width
    down = y - c * x - d * y + draws[4] * shift * height
    nothing = tf.zeros_like(a)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, across, c, d, down, nothing, nothing], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(moved, images.shape)
