"""Encoders: fronts, wrapped models, principal axes; what they take and give."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.features import encoders

IMAGES = np.random.default_rng(0).uniform(size=(5, 20, 20)).astype(np.float32)


def test_vectors_are_left_alone_or_brought_to_length_one():
    x = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(encoders.front((2,))(x), x)
    angles = encoders.front((2,), uses_angles=True)(x)
    np.testing.assert_allclose(angles, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "image_shape", "count"),
    [
        ((20, 20), (20, 20, 1), 5 * 5 * 17),
        ((400,), (20, 20, 1), 5 * 5 * 17),
        ((64, 48, 3), (64, 48, 3), 8 * 6 * 17 * 3),  # described in 32 x 24 pixels
        ((8, 8), (8, 8, 1), 64),  # too small to be described
    ],
)
def test_images_are_described_in_a_bounded_size(shape, image_shape, count):
    front = encoders.front(shape, image_shape=image_shape)
    rows = np.asarray(front(np.random.default_rng(0).uniform(size=(2, *shape))))
    assert rows.shape == (2, count)
    if count > 64:
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-4)


def test_pixels_as_vectors_are_described_as_the_images_that_they_are():
    as_images = encoders.front((20, 20), image_shape=(20, 20, 1))(IMAGES)
    as_rows = encoders.front((400,), image_shape=(20, 20, 1))(IMAGES.reshape(5, 400))
    np.testing.assert_array_equal(as_images, as_rows)


def test_chained_models_are_applied_in_order():
    double = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])
    add = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(1.0, offset=1.0)])
    np.testing.assert_array_equal(encoders.chained(double, add)(np.ones((1, 2))), [[3.0, 3.0]])


def test_a_backbone_for_colour_gets_grey_images_and_its_maps_are_averaged():
    backbone = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    encoder = encoders.as_encoder(backbone, (20, 20))
    colour = np.repeat(IMAGES[..., None], 3, axis=-1)
    expected = np.asarray(backbone(colour)).mean(axis=(1, 2))
    np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-6)


def test_principal_axes_are_those_of_the_covariance():
    x = IMAGES.reshape(5, 400)[:, :7] * np.arange(1, 8)
    rows = np.asarray(encoders.principal_axes(x, 3)(x))
    _, values, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=0), values[:3], rtol=1e-4)
    np.testing.assert_allclose(np.abs(rows), np.abs((x - x.mean(axis=0)) @ axes[:3].T), atol=1e-4)


def test_there_are_no_more_principal_axes_than_points():
    x = np.random.default_rng(0).normal(size=(4, 30))
    assert encoders.principal_axes(x, 10)(x).shape == (4, 4)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("resnet", TypeError),
        (keras.Sequential([keras.Input((7,)), keras.layers.Dense(2)]), ValueError),
        (keras.Sequential([keras.Input((20, 20)), keras.layers.Rescaling(1.0)]), ValueError),
    ],
)
def test_models_that_do_not_fit_are_named(model, error):
    with pytest.raises(error, match="`features`"):
        encoders.as_encoder(model, (20, 20))
