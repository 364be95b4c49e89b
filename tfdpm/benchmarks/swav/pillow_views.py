"""The published views made image by image with Pillow, with which those of `tf.data` are compared.

Only this module needs `PIL`.
"""

from __future__ import annotations

import importlib.util
import math

import numpy as np

from tfdpm.data.images.view_config import ViewConfig

_TRIES, _RATIO = 10, (3 / 4, 4 / 3)


def has_pillow() -> bool:
    """Returns whether `PIL` can be imported."""
    return importlib.util.find_spec("PIL") is not None


def pillow_views(
    image: np.ndarray, views: ViewConfig, rng: np.random.Generator
) -> list[np.ndarray]:
    """Standardised views `[S, S, 3]` of an image `[H, W, 3]` uint8, of all resolutions in turn."""
    from PIL import Image, ImageEnhance, ImageFilter

    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    whole, results = Image.fromarray(image), []
    for size, count, scale in views.resolutions():
        for _ in range(count):
            box = _draw_box(whole.size, scale, rng)
            view = whole.resize((size, size), Image.Resampling.BILINEAR, box=box)
            if rng.random() < views.flip_prob:
                view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if rng.random() < views.jitter_prob:
                for index in rng.permutation(4):
                    strength = views.jitter[index]
                    if index < 3:
                        factor = rng.uniform(max(1.0 - strength, 0.0), 1.0 + strength)
                        view = enhancers[index](view).enhance(factor)
                    else:
                        hue, saturation, value = view.convert("HSV").split()
                        turn = int(256 * rng.uniform(-strength, strength)) % 256
                        hue = Image.fromarray(np.asarray(hue) + np.uint8(turn))
                        view = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
            if rng.random() < views.gray_prob:
                view = view.convert("L").convert("RGB")
            if rng.random() < views.blur_prob:
                view = view.filter(ImageFilter.GaussianBlur(rng.uniform(*views.blur_sigma)))
            pixels = np.asarray(view, np.float32) / 255.0
            results.append((pixels - np.float32(views.mean)) / np.float32(views.std))
    return results


def _draw_box(extent: tuple[int, int], scale: tuple[float, float], rng) -> tuple[int, ...]:
    """A box of left, top, right and bottom, whose area and ratio are random; else the whole."""
    width, height = extent
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(*map(math.log, _RATIO)))
        box = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box[0] <= width and 0 < box[1] <= height:
            left, top = rng.integers(width - box[0] + 1), rng.integers(height - box[1] + 1)
            return int(left), int(top), int(left + box[0]), int(top + box[1])
    return 0, 0, width, height
