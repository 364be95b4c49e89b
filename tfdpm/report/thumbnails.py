"""Sprite sheets: many small images in one, as a data URI for the page."""

from __future__ import annotations

import base64
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = ["Sprite", "make_sprite"]


class Sprite(NamedTuple):
    """A sheet of images side by side.

    Attributes:
        uri: data URI of the sheet.
        columns: number of images in a row of the sheet.
        height: height of one image, pixels.
        width: width of one image, pixels.
        count: number of images.
    """

    uri: str
    columns: int
    height: int
    width: int
    count: int


def make_sprite(images: np.ndarray, max_pixels: int) -> Sprite:
    """Puts all images into one sheet, in order, row by row.

    Args:
        images: `[n, H, W, C]` uint8, C 1 or 3, n >= 1.
        max_pixels: longest side of a thumbnail; larger images are reduced to it.
    """
    count, height, width, channels = images.shape
    factor = min(1.0, max_pixels / max(height, width))
    if factor < 1.0:
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        small = tf.image.resize(images.astype(np.float32), (height, width), method="area")
        images = np.uint8(np.rint(np.clip(small.numpy(), 0, 255)))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, channels)
    if channels == 3:
        kind, data = "jpeg", tf.io.encode_jpeg(sheet, quality=85).numpy()
    else:
        kind, data = "png", tf.io.encode_png(sheet).numpy()
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Sprite(uri, columns, height, width, count)
