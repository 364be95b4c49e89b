"""Random operations on batches of images, float32 in [0, 1], each a pure function of its seed.

The operations are those of the published runs, that is torchvision's and Pillow's. Keras's layers
and `tf.image` differ, and the layers draw from a state, so that no epoch could be repeated:
RandomColorJitter adds brightness, takes contrast about each channel's mean, and has one order;
RandomGaussianBlur has one width per batch and black borders, and takes 38 to 50 times as long.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# ITU-R 601-2 luma, the grey that image libraries agree on.
LUMA = (0.299, 0.587, 0.114)
BLUR_RADIUS = 11  # the published runs blur with 23 taps
CROP_TRIES, _RATIO = 10, (3 / 4, 4 / 3)  # width to height
# Values of a batch from which on compiling pays: it takes seconds, and as long for few values.
_WORTH_COMPILING = 2**20


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Derives `count` independent seeds, `[2]` int32 each, from one."""
    return tf.unstack(tf.random.split(seed, count))


def crop_boxes(
    seed: tf.Tensor,
    num_boxes: tf.Tensor | int,
    height: tf.Tensor | int,
    width: tf.Tensor | int,
    *,
    scale: tuple[float, float],
) -> tf.Tensor:
    """Draws boxes `[N, 4]` of top, left, height and width in whole pixels, float32.

    The share of the area is uniform in `scale`, the logarithm of width to height uniform between
    those of 3 : 4 and 4 : 3. The first of ten draws that fits is taken. If none fits, the box is
    the largest centred one of an allowed ratio.
    `tf.image.stateless_sample_distorted_bounding_box` draws the ratio itself uniformly, and takes
    the whole image if none fits.
    """
    area_seed, ratio_seed, *place_seeds = split_seed(seed, 4)
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    image = tf.stack([height, width])
    shape = [num_boxes, CROP_TRIES]
    areas = height * width * tf.random.stateless_uniform(shape, area_seed, *scale)
    log_low, log_high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratios = tf.exp(tf.random.stateless_uniform(shape, ratio_seed, log_low, log_high))
    sizes = tf.round(tf.sqrt(tf.stack([areas / ratios, areas * ratios], axis=-1)))
    fits = tf.reduce_all((sizes >= 1) & (sizes <= image), axis=-1)
    first = tf.argmax(tf.cast(fits, tf.int32), axis=1)
    any_fits = tf.reduce_any(fits, axis=1, keepdims=True)
    largest = tf.round(tf.stack([width / _RATIO[0], height * _RATIO[1]]))
    whole = tf.minimum(image, tf.maximum(largest, 1.0))
    box = tf.where(any_fits, tf.gather(sizes, first, batch_dims=1), whole)
    free = image - box
    draws = [tf.random.stateless_uniform([num_boxes], place_seed) for place_seed in place_seeds]
    corner = tf.minimum(tf.floor(tf.stack(draws, axis=1) * (free + 1)), free)
    return tf.concat([tf.where(any_fits, corner, tf.floor(free / 2)), box], axis=1)


def _resampling_matrix(start: tf.Tensor, length: tf.Tensor, size: int, extent: int) -> tf.Tensor:
    """Returns weights `[..., size, extent]` that resample `length` pixels to `size` pixels."""
    start, length = start[..., tf.newaxis, tf.newaxis], length[..., tf.newaxis, tf.newaxis]
    pixels = tf.range(extent, dtype=tf.float32)
    step = length / size
    # w[i, j] ~ max(1 - |j - centre_i| / max(step, 1), 0) for pixels j inside the crop: a triangle
    # that is bilinear when enlarging and as wide as an output pixel when shrinking, as Pillow's.
    centres = start + (tf.range(size, dtype=tf.float32)[:, tf.newaxis] + 0.5) * step - 0.5
    weights = tf.maximum(1.0 - tf.abs(pixels - centres) / tf.maximum(step, 1.0), 0.0)
    inside = (pixels >= start) & (pixels < start + length)
    weights *= tf.cast(inside, tf.float32)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def resized_crops(
    images: tf.Tensor, boxes: tf.Tensor, size: int, is_mirrored: tf.Tensor | None = None
) -> tf.Tensor:
    """Cuts crops `[B, V, size, size, C]` of images `[B, H, W, C]` and resizes them, antialiased.

    Boxes `[B, V, 4]` are those of `crop_boxes`; crops that are mirrored, `[B, V]` boolean, are
    flipped left to right. `tf.image.crop_and_resize` takes a fifth of the time, but aliases.
    """
    height, width, channels = images.shape[1:]
    num_views = boxes.shape[1]
    rows = _resampling_matrix(boxes[..., 0], boxes[..., 2], size, height)
    columns = _resampling_matrix(boxes[..., 1], boxes[..., 3], size, width)
    if is_mirrored is not None:
        columns = tf.where(is_mirrored[..., tf.newaxis, tf.newaxis], columns[..., ::-1, :], columns)
    batch = tf.shape(images)[0]
    lines = tf.matmul(
        tf.reshape(rows, [batch, num_views * size, height]),
        tf.reshape(images, [batch, height, width * channels]),
    )
    lines = tf.reshape(lines, [batch, num_views, size, width, channels])
    return tf.einsum("bviwc,bvjw->bvijc", lines, columns)


def resized_crops_of_one(
    image: tf.Tensor, boxes: tf.Tensor, size: int, is_mirrored: tf.Tensor
) -> tf.Tensor:
    """Cuts crops `[V, size, size, C]` of one image `[H, W, C]`, as `resized_crops` of a batch.

    The image is cut before it is resized, which is faster for photographs.
    """
    crops = []
    pixels = tf.unstack(tf.cast(boxes, tf.int32))
    for box, mirrored in zip(pixels, tf.unstack(is_mirrored), strict=True):
        top, left, height, width = tf.unstack(box)
        crop = image[top : top + height, left : left + width]
        crop = tf.image.resize(crop, [size, size], method="bilinear", antialias=True)
        crops.append(tf.where(mirrored, crop[:, ::-1], crop))
    return tf.stack(crops)


def grayscale(images: tf.Tensor) -> tf.Tensor:
    """Returns the luma `[..., 1]` of colour images, and one-channel images unchanged."""
    if images.shape[-1] == 1:
        return images
    return tf.reduce_sum(images * tf.constant(LUMA), axis=-1, keepdims=True)


def _blend(images, other, factors):
    """Returns `other + factors (images - other)`, clipped to [0, 1]."""
    factors = factors[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.clip_by_value(images * factors + other * (1.0 - factors), 0.0, 1.0)


def adjust_brightness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiplies images by `factors` `[N]` and clips them to [0, 1]."""
    return _blend(images, 0.0, factors)


def adjust_contrast(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Blends images with their mean grey; factor 0 gives flat images, 1 changes nothing."""
    mean = tf.reduce_mean(grayscale(images), axis=(1, 2, 3), keepdims=True)
    return _blend(images, mean, factors)


def adjust_saturation(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Blends colour images with their greys; factor 0 gives grey images, 1 changes nothing."""
    return _blend(images, grayscale(images), factors)


def adjust_hue(images: tf.Tensor, shifts: tf.Tensor) -> tf.Tensor:
    """Shifts the hue of colour images by `shifts` `[N]`, in turns of the colour circle."""
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(images), axis=-1)
    hue = tf.math.floormod(hue + shifts[:, tf.newaxis, tf.newaxis], 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], axis=-1))


def color_jitter(
    seed: tf.Tensor, images: tf.Tensor, strengths: Sequence[float], prob: float
) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue by random amounts, in random order.

    Amounts are drawn per image `[N, H, W, C]`, the order once per call. A share `prob` of the
    images is changed; saturation and hue change only if C is 3. `strengths` are those of
    `ViewConfig.jitter`.
    """
    operations = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    available = 4 if images.shape[-1] == 3 else 2
    active = [index for index in range(available) if strengths[index] > 0]
    if not active or prob <= 0:
        return images
    order_seed, prob_seed, *amount_seeds = split_seed(seed, 2 + len(active))
    number = tf.shape(images)[0]
    steps = []
    for index, amount_seed in zip(active, amount_seeds, strict=True):
        strength, centre = strengths[index], 0.0 if index == 3 else 1.0
        low = centre - strength if index == 3 else max(centre - strength, 0.0)
        amounts = tf.random.stateless_uniform([number], amount_seed, low, centre + strength)
        steps.append(amounts)
    order = tf.argsort(tf.random.stateless_uniform([len(steps)], order_seed))

    def jitter(images, order, *amounts):
        def apply_next(position, current):
            branches = [
                functools.partial(operations[index], current, amount)
                for index, amount in zip(active, amounts, strict=True)
            ]
            changed = tf.switch_case(order[position], branches)
            return position + 1, tf.ensure_shape(changed, images.shape)

        _, result = tf.while_loop(
            lambda position, _: position < len(active),
            apply_next,
            (0, images),
            parallel_iterations=1,
        )
        return result

    # Passes over the pixels, a dozen for the hue alone, take four times as long one by one.
    if images.shape.is_fully_defined() and images.shape.num_elements() >= _WORTH_COMPILING:
        jitter = tf.function(jitter, autograph=False, jit_compile=True)
    return _where(prob_seed, prob, jitter(images, order, *steps), images)


def random_grayscale(seed: tf.Tensor, images: tf.Tensor, prob: float) -> tf.Tensor:
    """Removes the colour from a share `prob` of the images."""
    if prob <= 0 or images.shape[-1] != 3:
        return images

    def remove(chosen):
        gray = tf.linalg.matvec(chosen, tf.constant(LUMA))
        return tf.repeat(gray[..., tf.newaxis], 3, axis=-1)

    return _of_some(seed, prob, images, remove)


def gaussian_blur(images: tf.Tensor, sigmas: tf.Tensor) -> tf.Tensor:
    """Blurs images `[N, H, W, C]` with Gaussians of `sigmas [N]` pixels and 23 taps, mirrored."""
    offsets = np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=np.float32)
    taps = tf.exp(-0.5 * tf.square(offsets / sigmas[:, tf.newaxis]))
    taps /= tf.reduce_sum(taps, axis=1, keepdims=True)
    number = tf.shape(images)[0]
    height, width, channels = images.shape[1:]
    # blurred = R image C': R and C are the blur as a matrix along rows and columns.
    rows = tf.matmul(taps, _mirrored_shifts(height))
    columns = tf.matmul(taps, _mirrored_shifts(width))
    blurred = tf.matmul(
        tf.reshape(rows, [number, height, height]),
        tf.reshape(images, [number, height, width * channels]),
    )
    blurred = tf.reshape(blurred, [number, height, width, channels])
    return tf.einsum("niwc,njw->nijc", blurred, tf.reshape(columns, [number, width, width]))


def random_blur(
    seed: tf.Tensor, images: tf.Tensor, prob: float, sigma: tuple[float, float]
) -> tf.Tensor:
    """Blurs a share `prob` of the images, with `sigma` uniform between two values in pixels."""
    if prob <= 0:
        return images
    prob_seed, sigma_seed = split_seed(seed, 2)
    sigmas = tf.random.stateless_uniform([tf.shape(images)[0]], sigma_seed, *sigma)
    return _of_some(prob_seed, prob, images, gaussian_blur, sigmas)


def _where(seed, prob, changed, images):
    """Replaces a random share `prob` of the images by their changed versions."""
    chosen = tf.random.stateless_uniform([tf.shape(images)[0]], seed) < prob
    return tf.where(chosen[:, tf.newaxis, tf.newaxis, tf.newaxis], changed, images)


def _of_some(seed, prob, images, change, *draws):
    """Changes a random share `prob` of the images, and no others, with each one's `draws`."""
    chosen = tf.where(tf.random.stateless_uniform([tf.shape(images)[0]], seed) < prob)
    parts = (tf.ensure_shape(tf.gather_nd(images, chosen), [None, *images.shape[1:]]),)
    changed = change(*parts, *(tf.gather_nd(draw, chosen) for draw in draws))
    return tf.tensor_scatter_nd_update(images, chosen, changed)


def _mirrored_shifts(extent: int) -> np.ndarray:
    """Returns `[taps, extent * extent]`; row t shifts a mirrored axis by t - radius."""
    positions = np.arange(extent)[np.newaxis] + np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)[:, None]
    period = max(2 * (extent - 1), 1)
    positions = np.abs(positions) % period
    positions = np.where(positions >= extent, period - positions, positions)
    return np.eye(extent, dtype=np.float32)[positions].reshape(2 * BLUR_RADIUS + 1, -1)
