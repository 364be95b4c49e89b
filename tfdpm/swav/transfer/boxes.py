"""Boxes of objects: their overlap, anchors, coordinates relative to anchors, and precision.

Boxes are `[y_min, x_min, y_max, x_max]` as shares of the image's height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdpm import checks

_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # of the anchors of a place, [RetinaNet] section 4
_RATIOS = (0.5, 1.0, 2.0)  # of height to width
_SIDE = 4.0  # of the smallest square anchor in steps of its grid
_UNITS = (0.1, 0.1, 0.2, 0.2)  # of the coordinates, so that all have about unit variance
ANCHORS_PER_PLACE = len(_SCALES) * len(_RATIOS)


def make_anchors(grids: Sequence[int]) -> np.ndarray:
    """Returns the anchors `[A, 4]` of square grids, row by row, place by place."""
    anchors = []
    for grid in grids:
        places = (np.arange(grid) + 0.5) / grid
        centres = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1)
        sides = [
            (_SIDE / grid * scale * ratio**0.5, _SIDE / grid * scale / ratio**0.5)
            for scale in _SCALES
            for ratio in _RATIOS
        ]
        halves = np.array(sides) / 2
        centres = centres[:, :, np.newaxis]
        anchors.append(np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4))
    return np.concatenate(anchors).astype(np.float32)


def overlaps(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns intersection over union `[..., N, M]` of boxes `[..., N, 4]` and `[..., M, 4]`."""
    first, second = first[..., :, tf.newaxis, :], second[..., tf.newaxis, :, :]
    low, high = (
        tf.maximum(first[..., :2], second[..., :2]),
        tf.minimum(first[..., 2:], second[..., 2:]),
    )
    shared = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    areas = [tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (first, second)]
    return tf.math.divide_no_nan(shared, areas[0] + areas[1] - shared)


def encode_boxes(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns boxes `[..., 4]` as shifts and log sizes relative to their anchors."""
    (centre, size), (place, side) = _centred(boxes), _centred(anchors)
    shifts = tf.concat([(centre - place) / side, tf.math.log(size / side)], axis=-1)
    return shifts / _UNITS


def decode_boxes(shifts: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns the boxes `[..., 4]` whose coordinates relative to anchors are given."""
    place, side = _centred(anchors)
    shifts *= _UNITS
    centre, size = place + shifts[..., :2] * side, side * tf.exp(shifts[..., 2:])
    return tf.concat([centre - size / 2, centre + size / 2], axis=-1)


def _centred(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns centres and sizes `[..., 2]`; sizes are positive, as logarithms need them."""
    size = tf.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
    return (boxes[..., :2] + boxes[..., 2:]) / 2, size


def mean_average_precision(
    found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    truth: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    min_overlap: float = 0.5,
) -> float:
    """Returns the mean over classes of the average precision of detected boxes.

    Detections are taken by falling score. One is right if it overlaps an object of its class that
    no earlier one has taken; precision is averaged over the recall of each object.

    Args:
        found: boxes `[n, 4]`, scores `[n]` and labels `[n]` of each image.
        truth: boxes `[m, 4]` and labels `[m]` of each image.
        min_overlap: least intersection over union of a right detection, in (0, 1].
    Returns:
        Mean over the classes that occur, in [0, 1].
    Raises:
        ValueError: if there is no object, or another number of images in `found`.
    """
    min_overlap = checks.number(min_overlap, "min_overlap", above=0.0, maximum=1.0)
    if len(found) != len(truth):
        checks.fail("found", f"{len(found)} images", f"{len(truth)}, as many as in `truth`")
    if not any(len(labels) for _, labels in truth):
        checks.fail("truth", "no object", "at least one")
    precisions = []
    for label in np.unique(np.concatenate([labels for _, labels in truth])):
        hits, scores, count = [], [], 0
        for (boxes, values, labels), (wanted, known) in zip(found, truth, strict=True):
            wanted, chosen = wanted[known == label], np.flatnonzero(labels == label)
            count += len(wanted)
            is_free = np.ones(len(wanted), bool)
            for each in chosen[np.argsort(-values[chosen], kind="stable")]:
                shared = overlaps(tf.constant(boxes[None, each]), tf.constant(wanted)).numpy()[0]
                best = int(np.argmax(shared)) if len(wanted) else -1
                is_hit = best >= 0 and shared[best] >= min_overlap and is_free[best]
                if is_hit:
                    is_free[best] = False
                hits.append(is_hit)
                scores.append(values[each])
        right = np.array(hits, float)[np.argsort(-np.array(scores), kind="stable")]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        # The best precision at this recall or a higher one, as VOC and COCO count it.
        best_later = np.maximum.accumulate(precision[::-1])[::-1]
        precisions.append((best_later * right).sum() / count)
    return float(np.mean(precisions))
