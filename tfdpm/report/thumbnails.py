"""Many small images as one, so that a page holds thousands of them: a sprite sheet in base64."""

from __future__ import annotations

import base64
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = ["Sprite", "sprite"]


class Sprite(NamedTuple):
    """Images side by side.

    Attributes:
        uri: the sheet, as a data URI.
        columns: images in a row of the sheet.
        height, width: pixels of one image.
        count: number of images.
    """

    uri: str
    columns: int
    height: int
    width: int
    count: int


def sprite(images: np.ndarray, most_pixels: int) -> Sprite:
    """One sheet of all images, in order, row by row.

    Args:
        images: `[n, H, W, C]` uint8, C 1 or 3, n >= 1.
        most_pixels: longest side of a thumbnail; larger images are made smaller.
    """
    count, height, width, channels = images.shape
    factor = min(1.0, most_pixels / max(height, width))
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
