"""Photographs stand upright as Pillow turns them, wherever files are decoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tfdpm.data import multicrop, read_images
from tfdpm.data.images.decoding import IMAGE_SUFFIXES, decode_image, orientation

WEBP = pytest.param(
    "webp",
    marks=pytest.mark.skipif(".webp" not in IMAGE_SUFFIXES, reason="this TensorFlow reads no WebP"),
)

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encode(pixels, turn: int, kind="png", endian="<", number=0x0112) -> bytes:
    """An encoded image with that EXIF orientation among other entries."""
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Model", "2020:01:01 00:00:00"
    exif[number] = turn
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif.tobytes(), lossless=True)
    return file.getvalue()


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", ["png", "jpeg", WEBP])
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_as_by_pillow(turn, kind, endian) -> None:
    encoded = encode(PIXELS, turn, kind, endian)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    assert int(orientation(encoded)) == turn
    got = decode_image(encoded).numpy()
    assert got.shape == upright.shape
    np.testing.assert_allclose(got.astype(int), upright, atol=3 * (kind == "jpeg"))


@pytest.mark.parametrize(
    "encoded",
    [
        encode(PIXELS, 9),  # no orientation
        encode(PIXELS, 0),
        encode(PIXELS, 6, number=0x0128),  # the unit of the resolution
        tf.io.encode_png(PIXELS).numpy(),
        encode(PIXELS, 1) + encode(PIXELS, 6),
        b"",
    ],
)
def test_other_images_stay_as_they_are(encoded) -> None:
    assert int(orientation(encoded)) == 1
    if encoded:
        np.testing.assert_array_equal(decode_image(encoded), PIXELS)


def test_folders_and_views_show_photographs_upright(tmp_path) -> None:
    # The right half is bright once the image stands upright, whichever way the camera was held.
    upright = np.zeros((8, 12, 3), np.uint8)
    upright[:, 6:] = 240
    to_camera = {1: 0, 3: 2, 6: 1, 8: 3}
    for turn, quarters in to_camera.items():
        (tmp_path / f"{turn}.png").write_bytes(encode(np.rot90(upright, quarters), turn))
    images, _ = read_images(tmp_path)
    for image in images:
        np.testing.assert_array_equal(image, upright)
    whole = {"crop_sizes": (8,), "crop_counts": (1,), "crop_scales": ((0.99, 1.0),)}
    plain = {"jitter_prob": 0.0, "gray_prob": 0.0, "blur_prob": 0.0, "flip_prob": 0.0}
    ((views,),) = multicrop(
        str(tmp_path), batch_size=4, mean=(0.0,), std=(1.0,), **whole, **plain
    ).take(1)
    means = views.numpy()[:, 0, :, :, 0].mean(axis=1)
    assert (means[:, :3] < 0.1).all() and (means[:, 5:] > 0.85).all()


def test_webp_keeps_its_orientation_behind_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    encoded = encode(pixels, 8, "webp")
    assert encoded.index(b"EXIF") > 2**16
    assert int(orientation(encoded)) == 8
