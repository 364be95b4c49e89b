"""Small random affine maps of images, against SciPy and laws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tfdpm.data.images.affine import random_affine

NOTHING = {"degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}


@pytest.fixture
def images():
    smooth = np.random.default_rng(0).uniform(size=(6, 12, 16, 2))
    return scipy.ndimage.gaussian_filter(smooth, (0, 2, 2, 0)).astype(np.float32)


def test_without_movement_nothing_changes(images) -> None:
    np.testing.assert_allclose(random_affine(images, [1, 2], **NOTHING), images, atol=1e-6)


def test_maps_are_those_of_the_drawn_parameters(images) -> None:
    moved = random_affine(images, [3, 4], degrees=20, scale=0.2, shear=0.2, shift=0.1).numpy()
    draws = tf.random.stateless_uniform([5, 6], [3, 4], -1.0, 1.0).numpy()
    for image, result, (turn, size, shear, right, down) in zip(images, moved, draws.T, strict=True):
        angle, factor = np.deg2rad(20) * turn, 1 + 0.2 * size
        # Rows and columns, as SciPy counts, of where each pixel comes from.
        matrix = factor * np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )
        matrix[1, 0] += 0.2 * shear
        centre = np.array([5.5, 7.5])
        offset = centre - matrix @ centre + 0.1 * np.array([down * 12, right * 16])
        for channel in range(2):
            expected = scipy.ndimage.affine_transform(
                image[..., channel], matrix, offset, order=1, mode="nearest"
            )
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-4)


def test_seed_decides_and_every_image_moves_its_own_way(images) -> None:
    same = np.repeat(images[:1], 3, axis=0)
    first = random_affine(same, [5, 6]).numpy()
    np.testing.assert_array_equal(first, random_affine(same, [5, 6]))
    assert np.abs(first - random_affine(same, [5, 7])).max() > 0.01
    assert np.abs(first[0] - first[1]).max() > 0.01


def test_other_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"^`images`: got shape \(2, 3\), wanted \[B, H, W, C\]"):
        random_affine(tf.zeros([2, 3]), [0, 0])
