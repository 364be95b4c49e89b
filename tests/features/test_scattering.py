"""Scattering: what it is blind to, what it sees, and that it lasts."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.features.scattering import Scattering, wavelet

IMAGES = np.zeros((2, 24, 24), np.float32)
IMAGES[0, 8:16, 10:13] = 1.0  # an upright bar
IMAGES[1, 10:13, 8:16] = 1.0  # a lying one


def describe(images, **options):
    return np.asarray(Scattering(images.shape[1:], **options)(images))


def angle(one, two):
    return np.arccos(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_wavelets_have_mean_zero_and_answer_waves_of_their_direction():
    along = wavelet(0, 0.0)
    assert abs(along.sum()) < 1e-12
    radius = len(along) // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    wave = np.exp(1j * 0.75 * np.pi * x)
    across = np.exp(1j * 0.75 * np.pi * y)
    assert abs(np.sum(wave.conj() * along)) > 5 * abs(np.sum(across.conj() * along))


def test_a_shift_by_a_pixel_changes_descriptors_less_than_pixels():
    shifted = np.roll(IMAGES, 1, axis=2)
    before, after = describe(IMAGES)[0], describe(shifted)[0]
    pixels = angle(IMAGES[0].ravel(), shifted[0].ravel())
    assert angle(before, after) < 0.6 * pixels


def test_directions_are_told_apart():
    upright, lying = describe(IMAGES)
    shifted = describe(np.roll(IMAGES, 1, axis=2))[0]
    assert angle(upright, lying) > 1.5 * angle(upright, shifted)


def test_contrast_scales_and_the_level_of_the_margin_is_ignored():
    plain = describe(IMAGES)
    np.testing.assert_allclose(describe(3 * IMAGES + 5), 3 * plain, atol=2e-4)


def test_moduli_do_not_know_ink_from_paper():
    plain, inverse = describe(IMAGES), describe(1 - IMAGES)
    # Order zero, the first of 17 maps, changes its sign; the others stay.
    plain, inverse = (rows.reshape(2, -1, 17) for rows in (plain, inverse))
    np.testing.assert_allclose(inverse[..., 0], -plain[..., 0], atol=1e-5)
    np.testing.assert_allclose(inverse[..., 1:], plain[..., 1:], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "scales", "count"),
    [((24, 24), 2, 6 * 6 * 17), ((16, 20, 3), 2, 4 * 5 * 17 * 3), ((9, 8, 1), 1, 4 * 4 * 9)],
)
def test_descriptors_have_a_value_per_place_scale_direction_and_channel(shape, scales, count):
    model = keras.Sequential([keras.Input(shape), Scattering(shape, scales)])
    assert model.output_shape == (None, count)


def test_saved_descriptors_are_the_same(tmp_path):
    model = keras.Sequential([keras.Input((24, 24)), Scattering((24, 24))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(loaded(IMAGES)), np.asarray(model(IMAGES)))


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="`image_shape`"):
        Scattering((8,))
