"""Image operations against Pillow, TensorFlow and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdpm.data.images import augment

SEED = tf.constant([1, 2])


def photographs(number=2, height=40, width=56, seed=0):
    return np.random.default_rng(seed).uniform(size=(number, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [8, 20, 48])
def test_resized_crops_equal_pillow(size):
    images = photographs()
    boxes = np.array(
        [[[3, 5, 30, 21], [0, 0, 40, 56]], [[10, 1, 9, 13], [39, 55, 1, 1]]], np.float32
    )
    crops = augment.resized_crops(images, boxes, size).numpy()
    for image in range(2):
        for view in range(2):
            top, left, height, width = boxes[image, view].astype(int)
            for channel in range(3):
                part = images[image, top : top + height, left : left + width, channel]
                expected = Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR)
                np.testing.assert_allclose(
                    crops[image, view, ..., channel], np.asarray(expected), atol=1e-5
                )


def test_one_image_is_cut_like_a_batch():
    images = photographs(1)
    boxes = tf.constant([[3.0, 5.0, 30.0, 21.0], [0.0, 0.0, 40.0, 56.0]])
    mirrored = tf.constant([True, False])
    batch = augment.resized_crops(images, boxes[tf.newaxis], 16, mirrored[tf.newaxis])[0]
    single = augment.resized_crops_of_one(images[0], boxes, 16, mirrored)
    np.testing.assert_allclose(single, batch, atol=1e-5)


def test_mirrored_crops_are_flipped():
    images = photographs(1)
    boxes = tf.constant([[[3.0, 5.0, 30.0, 21.0]]])
    plain = augment.resized_crops(images, boxes, 16, tf.constant([[False]])).numpy()
    flipped = augment.resized_crops(images, boxes, 16, tf.constant([[True]])).numpy()
    np.testing.assert_allclose(flipped, plain[..., ::-1, :], atol=1e-6)


def test_boxes_lie_inside_with_the_asked_areas_and_ratios():
    boxes = augment.crop_boxes(SEED, 4000, 100, 150, scale=(0.2, 0.6)).numpy()
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (top + height <= 100).all()
    assert (left >= 0).all() and (left + width <= 150).all()
    areas, ratios = height * width / 15000, width / height
    assert areas.min() > 0.19 and areas.max() < 0.61
    assert abs(areas.mean() - 0.4) < 0.01
    assert ratios.min() > 0.74 and ratios.max() < 1.36
    assert abs(np.log(ratios).mean()) < 0.02
    # Placement covers the whole free range.
    assert (top == 0).any() and (top + height == 100).any()


def test_boxes_that_never_fit_fall_back_to_the_centre():
    boxes = augment.crop_boxes(SEED, 5, 10, 100, scale=(0.9, 1.0)).numpy()
    np.testing.assert_array_equal(boxes, [[0, 43, 10, 13]] * 5)


def test_boxes_follow_the_seed():
    draw = [
        augment.crop_boxes(seed, 9, 50, 50, scale=(0.1, 1.0)).numpy()
        for seed in (SEED, SEED, tf.constant([1, 3]))
    ]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (draw[0] != draw[2]).any()


def test_colour_operations_equal_tensorflow_and_numpy():
    images = photographs()
    factors = tf.constant([0.3, 1.7])
    luma = images @ np.array([0.299, 0.587, 0.114], np.float32)
    for index, factor in enumerate(factors.numpy()):
        image, gray = images[index], luma[index][..., None]
        cases = [
            (augment.adjust_brightness, image * factor),
            (augment.adjust_contrast, image * factor + gray.mean() * (1 - factor)),
            (augment.adjust_saturation, image * factor + gray * (1 - factor)),
        ]
        for operation, expected in cases:
            ours = operation(tf.constant(images), factors)[index]
            np.testing.assert_allclose(ours, np.clip(expected, 0, 1), atol=1e-5)
    shifted = augment.adjust_hue(tf.constant(images), tf.constant([0.15, -0.4]))
    np.testing.assert_allclose(shifted[0], tf.image.adjust_hue(images[0], 0.15), atol=1e-4)
    np.testing.assert_allclose(shifted[1], tf.image.adjust_hue(images[1], -0.4), atol=1e-4)


def test_jitter_changes_the_asked_share_and_stays_in_range():
    images = tf.constant(photographs(400, 4, 4))
    changed = augment.color_jitter(SEED, images, (0.8, 0.8, 0.8, 0.2), 0.8).numpy()
    assert changed.min() >= 0 and changed.max() <= 1
    share = (np.abs(changed - images.numpy()).max((1, 2, 3)) > 1e-4).mean()
    assert abs(share - 0.8) < 0.06
    untouched = augment.color_jitter(SEED, images, (0.0, 0.0, 0.0, 0.0), 1.0)
    np.testing.assert_array_equal(untouched, images)


def test_grey_images_are_jittered_without_colour():
    images = tf.constant(photographs(5, 4, 4)[..., :1])
    changed = augment.color_jitter(SEED, images, (0.8, 0.8, 0.8, 0.2), 1.0)
    assert changed.shape == images.shape
    assert np.abs(changed - images).max() > 0.01


def test_grayscale_takes_colour_from_the_asked_share():
    images = tf.constant(photographs(400, 2, 2))
    changed = augment.random_grayscale(SEED, images, 0.2).numpy()
    is_gray = np.ptp(changed, axis=-1).max((1, 2)) < 1e-6
    assert abs(is_gray.mean() - 0.2) < 0.06
    luma = images.numpy() @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(changed[is_gray][..., 0], luma[is_gray], atol=1e-6)


@pytest.mark.parametrize("extent", [7, 30])
def test_blur_equals_a_padded_convolution(extent):
    images = photographs(2, extent, 30)
    sigmas = np.array([0.5, 1.9], np.float32)
    blurred = augment.gaussian_blur(tf.constant(images), tf.constant(sigmas)).numpy()
    offsets = np.arange(-11, 12)
    for index, sigma in enumerate(sigmas):
        taps = np.exp(-0.5 * (offsets / sigma) ** 2)
        taps /= taps.sum()
        expected = images[index].astype(np.float64)
        for axis in (0, 1):
            padding = [(0, 0)] * 3
            padding[axis] = (11, 11)
            padded = np.pad(expected, padding, mode="reflect")
            expected = np.apply_along_axis(np.convolve, axis, padded, taps, mode="valid")
        np.testing.assert_allclose(blurred[index], expected, atol=1e-5)


def test_blur_keeps_constant_images():
    images = tf.fill([3, 9, 9, 1], 0.7)
    np.testing.assert_allclose(augment.random_blur(SEED, images, 1.0, (0.1, 2.0)), 0.7, atol=1e-6)


def test_compiled_jitter_makes_the_same_images(monkeypatch):
    images = tf.constant(photographs(6, 5, 7))
    plain = augment.color_jitter(SEED, images, (0.8, 0.8, 0.8, 0.2), 0.8)
    monkeypatch.setattr(augment, "_WORTH_COMPILING", 0)
    compiled = augment.color_jitter(SEED, images, (0.8, 0.8, 0.8, 0.2), 0.8)
    np.testing.assert_allclose(compiled, plain, atol=1e-5)


def test_blur_changes_the_asked_share_and_no_other_image():
    images = tf.constant(photographs(200, 6, 5))
    changed = augment.random_blur(SEED, images, 0.5, (2.0, 2.0)).numpy()
    is_changed = (changed != images.numpy()).any((1, 2, 3))
    assert abs(is_changed.mean() - 0.5) < 0.1
    wanted = augment.gaussian_blur(images, tf.fill([200], 2.0)).numpy()
    np.testing.assert_allclose(changed[is_changed], wanted[is_changed], atol=1e-6)
