"""Checked streams: `tf.data.Dataset`s as float32 batches of known shape, one batch in memory."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.elements import as_pairs

_IMAGE_CHANNELS = (1, 3, 4)


class Stream(NamedTuple):
    """A checked stream of points."""

    batches: tf.data.Dataset  # of [B, *feature_shape] float32
    labelled: tf.data.Dataset | None  # of pairs of these and labels [B] as given
    num_points: int | None  # None where the length is unknown
    feature_shape: tuple[int, ...]  # (D,), (H, W) or (H, W, C)


def as_batches(dataset: tf.data.Dataset, *, name: str = "x", batch_size: int = 1024) -> Stream:
    """Returns a dataset of x or `(x, y)` as float32 batches that are checked as they are read.

    Dictionaries become either, see `elements.as_pairs`.

    Labels of rank 0 mark points, labels of rank 1 mark batches. Without labels, rank 1 is a point,
    rank 2 a batch of features and rank 4 a batch of images. Rank 3 is one image if its first axis
    is known and its last is 1, 3 or 4, else a batch of `[H, W]` images. One element is read where
    the static shape or the length is unknown. Batched streams keep their batches.

    Raises:
        ValueError: if the dataset is endless, empty, or its shapes cannot be clustered. NaN and
            infinity raise `tf.errors.InvalidArgumentError` when their batch is read.
        TypeError: if elements are not x or `(x, y)` tensors of real numbers.
    """
    checks.integer(batch_size, "batch_size", minimum=1)
    dataset, _ = as_pairs(dataset, None, name)
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    if len(parts) not in (1, 2) or not all(isinstance(part, tf.TensorSpec) for part in parts):
        wanted = "a tf.data.Dataset of x or (x, y), dense tensors"
        checks.fail(name, f"elements {spec}", wanted, TypeError)
    dtype = parts[0].dtype
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool) or dtype.is_quantized:
        checks.fail(name, f"dtype {dtype.name}", "real numbers", TypeError)
    length = int(dataset.cardinality())
    if length == tf.data.INFINITE_CARDINALITY:
        checks.fail(name, "an endless dataset", "a finite one, such as `dataset.take(n)`")
    dataset = _set_shapes(dataset, length, name)
    x_spec, y_spec = _specs(dataset)
    rows = 1
    if _is_batched(x_spec.shape, y_spec):
        rows = x_spec.shape[0]
    else:
        dataset = dataset.batch(batch_size)
    num_points = length * rows if length >= 0 and rows is not None else None
    shape = _specs(dataset)[0].shape[1:]
    if not shape.is_fully_defined() or shape.rank not in (1, 2, 3) or 0 in shape:
        wanted = "[D] features or [H, W] or [H, W, C] images, all of one known size"
        checks.fail(name, f"points of shape {shape}", wanted)
    checked = dataset.enumerate().map(
        lambda index, element: _check_batch(index, element, name),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    labelled = None if y_spec is None else checked
    batches = checked if labelled is None else checked.map(lambda x, _: x)
    return Stream(batches, labelled, num_points, tuple(shape))


def draw_rows(
    batches: tf.data.Dataset, count: int, generator: np.random.Generator, *, name: str = "x"
) -> np.ndarray:
    """Draws at most `count` rows of `[B, ...]` batches in one pass, all rows equally likely.

    They come in the order of the stream. At most twice as many and a batch are held in memory.
    """
    keys, kept = np.zeros(0), []
    for batch in batches:
        kept.append(batch.numpy())
        # Those with the smallest of one random key per row are kept.
        keys = np.concatenate([keys, generator.uniform(size=len(kept[-1]))])
        if len(keys) > 2 * count:
            keys, kept = _smallest(keys, kept, count)
    if not kept:
        checks.fail(name, "a stream without batches", "at least 2 points")
    return _smallest(keys, kept, count)[1][0]


def _smallest(keys: np.ndarray, rows: list, count: int) -> tuple[np.ndarray, list]:
    """The `count` smallest keys and their rows (all, if they are fewer), in their order."""
    joined = np.concatenate(rows)
    if len(keys) <= count:
        return keys, [joined]
    chosen = np.sort(np.argpartition(keys, count)[:count])
    return keys[chosen], [joined[chosen]]


def reading_error(error: Exception) -> ValueError | None:
    """Returns one line for a mistake that TensorFlow found while it read a stream, else None."""
    if not isinstance(error, tf.errors.OpError) or "Iterator" not in error.message:
        return None
    found = re.search(r"`\w+`: got .* wanted finite numbers only\.", error.message)
    if found:
        return ValueError(found.group())
    reason = re.sub(r"\{\{.*?\}\} ?|\[Op:.*", "", error.message.strip().splitlines()[0]).strip()
    return ValueError(f"The data could not be read: {reason}")


def _specs(dataset: tf.data.Dataset) -> tuple[tf.TensorSpec, tf.TensorSpec | None]:
    """Returns the specs of x and of y; the latter is None without labels."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple):
        return spec, None
    return spec[0], (spec[1] if len(spec) == 2 else None)


def _set_shapes(dataset: tf.data.Dataset, length: int, name: str) -> tf.data.Dataset:
    """Returns `dataset` with static shapes of points, read from its first element if need be."""
    x_spec, y_spec = _specs(dataset)
    known = x_spec.shape.rank is not None and (y_spec is None or y_spec.shape.rank is not None)
    if known:
        points = x_spec.shape[1:] if _is_batched(x_spec.shape, y_spec) else x_spec.shape
        known = points.is_fully_defined()
    if known and length > 0:
        return dataset
    first = next(iter(dataset.take(1)), None)
    if first is None:
        checks.fail(name, "an empty dataset", "at least 1 point")
    if known:
        return dataset
    x, y = (first[0], first[1:]) if isinstance(first, tuple) else (first, ())
    # Only the number of points in a batch may differ from element to element.
    x_shape = x.shape
    if _is_batched(x_shape, tf.TensorSpec(y[0].shape) if y else None):
        x_shape = tf.TensorShape([None]).concatenate(x_shape[1:])
    ranks = [[None] * label.shape.rank for label in y]

    def with_shape(x: tf.Tensor, *y: tf.Tensor) -> Any:
        x = tf.ensure_shape(x, x_shape)
        return (x, *map(tf.ensure_shape, y, ranks)) if y else x

    return dataset.map(with_shape)


def _is_batched(shape: tf.TensorShape, y_spec: tf.TensorSpec | None) -> bool:
    """Returns whether elements hold many points, by the rule in `as_batches`."""
    if shape.rank == 0:
        return False
    if y_spec is not None:
        return y_spec.shape.rank > 0
    if shape.rank == 3:
        return shape[0] is None or shape[2] not in _IMAGE_CHANNELS
    return shape.rank != 1


def _check_batch(index: tf.Tensor, element: Any, name: str) -> Any:
    """Returns `element` with float32 x, or raises with the batch's number for NaN and infinity."""
    x, rest = (element[0], element[1:]) if isinstance(element, tuple) else (element, ())
    x = tf.cast(x, tf.float32)
    bad = tf.logical_not(tf.reduce_all(tf.math.is_finite(x), axis=tf.range(1, tf.rank(x))))
    message = tf.strings.format(
        "`" + name + "`: got {} points with NaN or infinite values in batch {}, the first in row "
        "{} of it, wanted finite numbers only.",
        (tf.reduce_sum(tf.cast(bad, tf.int32)), index, tf.argmax(tf.cast(bad, tf.int32))),
    )
    check = tf.debugging.Assert(tf.logical_not(tf.reduce_any(bad)), [message])
    with tf.control_dependencies([check]):
        x = tf.identity(x)
    return (x, *rest) if rest else x
