"""Checked streams: `tf.data.Dataset`s as batches of floats of known shape, one batch in memory."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.elements import as_pairs

_IMAGE_CHANNELS = (1, 3, 4)


class Stream(NamedTuple):
    """A checked stream of points."""

    batches: tf.data.Dataset  # of [B, *feature_shape], float32 or float64
    labelled: tf.data.Dataset | None  # of pairs of these and labels [B]
    weighted: tf.data.Dataset | None  # of these, weights [B], and labels where there are any
    num_points: int | None  # None where the length is unknown
    feature_shape: tuple[int, ...]  # (D,), (H, W) or (H, W, C)
    is_shuffled: bool  # whether it shuffles, so that its order is that of one pass


def as_batches(dataset: tf.data.Dataset, *, name: str = "x", batch_size: int = 1024) -> Stream:
    """Returns a dataset of x, `(x, y)` or `(x, y, weight)` as batches, checked as they are read.

    Dictionaries become either, see `elements.as_pairs`.

    They are float32, or float64 where float32 may lose digits. Labels of rank 0 mark points, and
    labels of rank 1 mark batches, unless they are as many as no axis of x says. Without labels,
    rank 1 is a point, rank 2 a batch of features and rank 4 a batch of images. Rank 3 is one image
    if its last axis is 1, 3 or 4 and its first is known or its second is not, else a batch of
    `[H, W]` images. One element is read where the static shape or the length is unknown, or where
    labels may be one-hot. Batched streams keep their batches, but for empty ones. Labels that are
    none are left out with a warning.

    Raises:
        ValueError: if the dataset is endless, empty, or its shapes cannot be clustered. NaN and
            infinity raise `tf.errors.InvalidArgumentError` when their batch is read.
        TypeError: if elements are not tensors of real numbers, as said above.
    """
    checks.integer(batch_size, "batch_size", minimum=1)
    dataset, _ = as_pairs(dataset, None, name)
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    if len(parts) not in (1, 2, 3) or not all(isinstance(part, tf.TensorSpec) for part in parts):
        wanted = "a tf.data.Dataset of x, (x, y) or (x, y, weight), dense tensors"
        checks.fail(name, f"elements {spec}", wanted, TypeError)
    dtype = parts[0].dtype
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool) or dtype.is_quantized:
        checks.fail(name, f"dtype {dtype.name}", "real numbers", TypeError)
    if is_endless(dataset):
        wanted = "a finite one, such as `dataset.take(n)`, or steps_per_epoch in `DeepDPM.fit`"
        checks.fail(name, "an endless dataset", wanted)
    is_shuffled, length = _shuffles(dataset), int(dataset.cardinality())
    dataset = _set_shapes(dataset, length, name)
    x_spec, y_spec = _specs(dataset)
    rows = 1
    if is_batched(x_spec.shape, y_spec):
        rows = x_spec.shape[0]
    else:
        dataset = dataset.batch(batch_size)
    num_points = length * rows if length >= 0 and rows is not None else None
    shape = _specs(dataset)[0].shape[1:]
    if not shape.is_fully_defined() or shape.rank not in (1, 2, 3) or 0 in shape:
        wanted = "[D] features or [H, W] or [H, W, C] images, all of one known size"
        checks.fail(name, f"points of shape {shape}", wanted)
    wide = dtype.size > 4 or dtype in (tf.int32, tf.uint32)
    dtype = tf.float64 if wide else tf.float32
    checked = dataset.enumerate().map(
        lambda index, element: _check_batch(index, element, name, dtype),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    if rows is None:
        checked = checked.filter(lambda *element: tf.shape(element[0])[0] > 0)
    if len(parts) == 1:
        return Stream(checked, None, None, num_points, tuple(shape), is_shuffled)
    read = _label_reader(dataset, name)
    labelled = None if read is None else checked.map(lambda x, y, *_: (x, read(y)))
    weighted = None
    if len(parts) == 3:
        if read is None:
            weighted = checked.map(lambda x, _, w: (x, w))
        else:
            weighted = checked.map(lambda x, y, w: (x, w, read(y)))
    batches = checked.map(lambda x, *_: x)
    return Stream(batches, labelled, weighted, num_points, tuple(shape), is_shuffled)


def is_endless(dataset: tf.data.Dataset) -> bool:
    """Whether a dataset says that it has no end, also where a filter follows its repetition."""
    length = int(dataset.cardinality())
    if length != tf.data.UNKNOWN_CARDINALITY:
        return length == tf.data.INFINITE_CARDINALITY
    inputs = dataset._inputs()
    return len(inputs) == 1 and "TakeWhile" not in type(dataset).__name__ and is_endless(inputs[0])


def _shuffles(dataset: tf.data.Dataset) -> bool:
    # Nothing public tells what a dataset was made of.
    return "Shuffle" in type(dataset).__name__ or any(map(_shuffles, dataset._inputs()))


def draw_rows(
    batches: tf.data.Dataset, count: int, generator: np.random.Generator, *, name: str = "x"
) -> np.ndarray:
    """Draws at most `count` rows of `[B, ...]` batches in one pass, all rows equally likely.

    Where batches are pairs with weights `[B]`, rows are drawn in proportion to these. They come in
    the order of the stream. At most twice as many and a batch are held in memory.
    """
    keys, kept = np.zeros(0), []
    for batch in batches:
        rows, weights = batch if isinstance(batch, tuple) else (batch, None)
        kept.append(rows.numpy())
        # Those with the smallest of one random key per row are kept.
        new = generator.uniform(size=len(kept[-1]))
        if weights is not None:  # [Efraimidis and Spirakis 2006]
            is_heavy = weights.numpy() > 0
            new = -np.log1p(-new[is_heavy]) / weights.numpy()[is_heavy]
            kept[-1] = kept[-1][is_heavy]
        keys = np.concatenate([keys, new])
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
    found = re.search(r"`\w+`: got .* wanted (finite numbers only|images)\.", error.message)
    if found:
        return ValueError(found.group())
    reason = re.sub(r"\{\{.*?\}\} ?|\[Op:.*", "", error.message.strip().splitlines()[0]).strip()
    return ValueError(f"The data could not be read: {reason}")


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Raises what TensorFlow finds wrong with a stream that is read as an error of one line."""
    try:
        yield
    except tf.errors.OpError as error:
        mistake = reading_error(error)
        if mistake is None:
            raise
        raise mistake from None


def _label_reader(dataset: tf.data.Dataset, name: str) -> Any:
    """The function from labels of a batch as they come to labels `[B]`; `None` if they are none."""
    spec = _specs(dataset)[1]
    shape, reason = spec.shape, f"shape {spec.shape} and dtype {spec.dtype.name}"
    if shape.rank == 2 and shape[1] == 1:
        return lambda y: y[:, 0]
    has_type = spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype in (tf.bool, tf.string)
    if shape.rank == 1 and has_type and not spec.dtype.is_floating:
        return lambda y: y
    if shape.rank in (1, 2) and has_type and spec.dtype != tf.string:
        first = next(iter(dataset.take(1)))[1].numpy()
        if shape.rank == 2 and is_one_hot(first):
            return lambda y: tf.argmax(tf.cast(y, tf.float32), axis=1)
        if shape.rank == 1 and np.array_equal(first, np.floor(first), equal_nan=True):
            return lambda y: y
        reason = f"{reason}, such as {first[0]}"
    wanted = "wanted [B] whole numbers or text, or [B, classes] one-hot; they are not used"
    warnings.warn(f"labels of `{name}`: got {reason}, {wanted}.", stacklevel=6)
    return None


def is_one_hot(labels: np.ndarray) -> bool:
    """Whether each row of `[N, C]` has a single one, and zeros."""
    return bool(np.isin(labels, (0, 1)).all() and (np.sum(labels, axis=1) == 1).all())


def _specs(dataset: tf.data.Dataset) -> tuple[tf.TensorSpec, tf.TensorSpec | None]:
    """Returns the specs of x and of y; the latter is None without labels."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple):
        return spec, None
    return spec[0], (spec[1] if len(spec) > 1 else None)


def _set_shapes(dataset: tf.data.Dataset, length: int, name: str) -> tf.data.Dataset:
    """Returns `dataset` with static shapes of points, read from its first element if need be."""
    x_spec, y_spec = _specs(dataset)
    known = x_spec.shape.rank is not None and (y_spec is None or y_spec.shape.rank is not None)
    if known:
        points = x_spec.shape[1:] if is_batched(x_spec.shape, y_spec) else x_spec.shape
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
    if is_batched(x_shape, tf.TensorSpec(y[0].shape) if y else None):
        x_shape = tf.TensorShape([None]).concatenate(x_shape[1:])
    ranks = [[None] * label.shape.rank for label in y]

    def with_shape(x: tf.Tensor, *y: tf.Tensor) -> Any:
        x = tf.ensure_shape(x, x_shape)
        return (x, *map(tf.ensure_shape, y, ranks)) if y else x

    return dataset.map(with_shape)


def is_batched(shape: tf.TensorShape, y_spec: tf.TensorSpec | None) -> bool:
    """Returns whether elements hold many points, by the rule in `as_batches`."""
    if shape.rank < 2:
        return False
    labels = None if y_spec is None else y_spec.shape
    if labels is not None:
        if labels.rank == 0 or (None not in (labels[0], shape[0]) and labels[0] != shape[0]):
            return False  # such as a one-hot label beside an image
        if labels.rank == 1:
            return True
    if shape.rank == 3 and shape[2] in _IMAGE_CHANNELS:
        return shape[0] is None and shape[1] is not None
    return True


def _check_batch(index: tf.Tensor, element: Any, name: str, dtype: tf.DType) -> Any:
    """Returns `element` with x as floats, or raises with the number of a batch with NaN."""
    x, rest = (element[0], element[1:]) if isinstance(element, tuple) else (element, ())
    x = tf.cast(x, dtype)
    bad = tf.logical_not(tf.reduce_all(tf.math.is_finite(x), axis=tf.range(1, tf.rank(x))))
    message = tf.strings.format(
        "`" + name + "`: got {} points with NaN or infinite values in batch {}, the first in row "
        "{} of it, wanted finite numbers only.",
        # The axis of an empty batch has no largest element.
        (tf.math.count_nonzero(bad), index, tf.reduce_min(tf.where(bad)[:, 0])),
    )
    check = tf.debugging.Assert(tf.logical_not(tf.reduce_any(bad)), [message])
    with tf.control_dependencies([check]):
        x = tf.identity(x)
    return (x, *rest) if rest else x
