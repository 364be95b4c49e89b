"""Sources of images: arrays, files, TFRecords and data sets behind one interface.

A source knows its number of images and yields them as float32 in [0, 1], in an order that follows
a seed.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data import files
from tfdpm.data.catalogue import named
from tfdpm.data.images.augment import grayscale
from tfdpm.data.images.decoding import decode_image
from tfdpm.data.streams import is_endless

_LOGGER = logging.getLogger(__name__)


class SkippedImages:
    """List of the files that could not be read; each counts once."""

    def __init__(self):
        self.paths: list[str] = []
        self._known: set[str] = set()

    @property
    def count(self) -> int:
        """Returns the number of different files that were skipped."""
        return len(self.paths)

    def add(self, path: bytes | str) -> np.int64:
        """Adds a file and returns the count."""
        name = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
        if name not in self._known:
            self._known.add(name)
            self.paths.append(name)
            _LOGGER.warning("skipped %s: not a readable image", name)
        return np.int64(self.count)


def to_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    """Converts images `[..., C]`, C 1, 3 or 4, to 1 or 3 channels; C channels stay.

    Grey images are repeated, colour images become luma, transparency is dropped.
    """
    have = images.shape[-1]
    if have == channels:
        return images
    if have not in (1, 3, 4) or channels not in (1, 3):
        checks.fail("data", f"{have} channels", f"1, 3 or 4 to make {channels} of")
    if have == 4:
        images = images[..., :3]
    if channels == 1 and have != 1:
        return grayscale(images)
    return images if have != 1 else tf.repeat(images, channels, axis=-1)


class ArraySource:
    """Images of one size in memory, read in batches."""

    is_batched = True

    def __init__(self, images: Any, channels: int, shuffle: bool):
        kind = type(images).__name__
        try:
            images = np.asarray(images)
        except ValueError:
            got = "arrays of different shapes"
            checks.fail("data", got, "images of one size; or files, or a tf.data.Dataset of any")
        if images.ndim == 3:
            images = images[..., np.newaxis]
        if images.ndim != 4:
            got = f"a {kind}" if images.dtype == object else f"an array of shape {images.shape}"
            checks.fail("data", got, "[N, H, W] or [N, H, W, C]")
        if images.shape[-1] not in (1, 3, 4) and images.shape[-1] != channels:
            checks.fail("data", f"{images.shape[-1]} channels", "1, 3 or 4 on the last axis")
        _check_values(images)
        if images.dtype != np.uint8:
            images = images.astype(np.float32, copy=False)
        self.num_images = len(images)
        self._images = tf.constant(images)
        self._channels = channels
        self._shuffle = shuffle

    def batches(
        self, seed: tf.Tensor, batch_size: int, with_index: bool = False
    ) -> tf.data.Dataset:
        """Returns an epoch of batches `[batch_size, H, W, channels]` without the remainder.

        `with_index` puts the images' places in the array `[batch_size]` before each batch.
        """
        order = _order(seed, self.num_images, self._shuffle)
        indices = tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)

        def load(index):
            images = tf.gather(self._images, index)
            images = to_channels(tf.image.convert_image_dtype(images, tf.float32), self._channels)
            return (index, images) if with_index else images

        return indices.map(load, num_parallel_calls=tf.data.AUTOTUNE)


class FileSource:
    """Image files of any size, upright; the decoder converts channels."""

    is_batched = False

    def __init__(self, paths: list[str], channels: int, shuffle: bool, skipped: SkippedImages):
        if not paths:
            checks.fail(
                "data", "no image files", "at least one of " + ", ".join(files.IMAGE_SUFFIXES)
            )
        self.num_images = len(paths)
        self._paths = tf.constant(sorted(paths))
        self._channels = channels
        self._shuffle = shuffle
        self._skipped = skipped
        # An epoch without a readable image would never end.
        for path in paths[:64]:
            with contextlib.suppress(tf.errors.OpError):
                self._load(tf.constant(path))
                return
        checks.fail("data", f"no readable image among {paths[0]!r} and others", "image files")

    def _load(self, path):
        image = decode_image(tf.io.read_file(path), self._channels)
        image = tf.ensure_shape(image, [None, None, self._channels])
        return tf.image.convert_image_dtype(image, tf.float32)

    def images(self, seed: tf.Tensor, with_index: bool = False) -> tf.data.Dataset:
        """Returns an epoch of images `[H, W, channels]` without the unreadable ones.

        `with_index` puts a file's place among the sorted paths before each image.
        """
        order = _order(seed, self.num_images, self._shuffle)
        missing = tf.zeros([0, 0, self._channels])

        def one_or_missing(index):
            path = self._paths[index]
            image = tf.data.Dataset.from_tensors(path).map(self._load).ignore_errors()
            fallback = tf.data.Dataset.from_tensors(missing)
            result = image.concatenate(fallback).take(1)
            return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(index), result))

        def note(index, image):
            # Python is entered only for files that failed.
            tf.cond(
                tf.equal(tf.size(image), 0),
                lambda: tf.numpy_function(self._skipped.add, [self._paths[index]], tf.int64),
                lambda: tf.constant(0, tf.int64),
            )
            return index, image

        images = tf.data.Dataset.from_tensor_slices(order).interleave(
            one_or_missing, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        images = images.map(note).filter(lambda index, image: tf.size(image) > 0)
        return images if with_index else images.map(lambda index, image: image)


class StreamSource:
    """A `tf.data.Dataset` of images, read in order and shuffled in blocks.

    Its elements are images `[H, W]` or `[H, W, C]`, or batches of them, tuples that start with one,
    or dictionaries with an "image".
    """

    is_batched = False

    def __init__(self, dataset: tf.data.Dataset, channels: int, shuffle: bool, shuffle_buffer: int):
        if is_endless(dataset):
            checks.fail("data", "an endless data set", "one that ends; use its `take`")
        self._images = _single_images(dataset)
        self._channels = channels
        self._buffer = shuffle_buffer if shuffle else 0
        size = int(self._images.cardinality())
        if size == tf.data.UNKNOWN_CARDINALITY:
            size = int(self._images.reduce(np.int64(0), lambda total, _: total + 1))
        self.num_images = size
        for image in self._images.take(1):
            _check_values(image.numpy())

    def images(self, seed: tf.Tensor, with_index: bool = False) -> tf.data.Dataset:
        """Returns an epoch of images `[H, W, channels]`.

        `with_index` puts an image's place in the data set before each image.
        """
        images = self._images.enumerate()
        if self._buffer:
            images = _shuffled_in_blocks(images, self._buffer, seed)

        def prepare(index, image):
            image = to_channels(tf.image.convert_image_dtype(image, tf.float32), self._channels)
            image = tf.ensure_shape(image, [None, None, self._channels])
            return (tf.cast(index, tf.int32), image) if with_index else image

        return images.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)


def _single_images(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The images `[H, W, C]` of a data set of images, batches, pairs or dictionaries."""

    @tf.autograph.experimental.do_not_convert
    def first(*element) -> tf.Tensor:
        image = element[0]
        if isinstance(image, dict):
            if "image" not in image:
                checks.fail("data", f"elements with {sorted(image)}", "an 'image' among them")
            image = image["image"]
        return image

    images = dataset.map(first, num_parallel_calls=tf.data.AUTOTUNE)
    shape = getattr(images.element_spec, "shape", tf.TensorShape(None))
    # Three axes are one image, unless the last cannot be its channels.
    if shape.rank == 4 or shape.rank == 3 and shape[2] not in (1, 2, 3, 4, None):
        images = images.unbatch()
        shape = shape[1:]
    if shape.rank == 2:
        return images.map(lambda image: image[..., tf.newaxis])
    if shape.rank != 3:
        checks.fail("data", f"elements of shape {shape}", "images [H, W, C], or batches of them")
    return images


def _check_values(images: np.ndarray) -> None:
    """Raises unless images are uint8, or floats in [0, 1]."""
    if np.issubdtype(images.dtype, np.floating):
        low, high = (images.min(), images.max()) if images.size else (0.0, 0.0)
        if not (np.isfinite(low) and np.isfinite(high) and low >= 0 and high <= 1):
            checks.fail("data", f"floats from {low} to {high}", "floats in [0, 1], or uint8")
    elif images.dtype != np.uint8:
        checks.fail("data", f"dtype {images.dtype}", "uint8, or floats in [0, 1]", TypeError)


def _shuffled_in_blocks(images: tf.data.Dataset, size: int, seed: tf.Tensor) -> tf.data.Dataset:
    """Shuffles numbered images within blocks of `size`; the same seed gives the same order."""
    # `Dataset.shuffle` would also follow the global seed of the process. Images of different
    # sizes share a block as serialised tensors.
    spec = images.element_spec[1]
    blocks = images.map(lambda index, image: (index, tf.io.serialize_tensor(image)))
    blocks = blocks.batch(size).enumerate()

    def permute(number, block):
        block_seed = tf.random.fold_in(seed, tf.cast(number, tf.int32))
        order = tf.argsort(tf.random.stateless_uniform(tf.shape(block[0]), block_seed))
        return tuple(tf.gather(part, order) for part in block)

    def restore(index, serialised):
        return index, tf.ensure_shape(tf.io.parse_tensor(serialised, spec.dtype), spec.shape)

    return blocks.map(permute).unbatch().map(restore, num_parallel_calls=tf.data.AUTOTUNE)


def open_source(
    data: Any, *, channels: int, shuffle: bool, shuffle_buffer: int, skipped: SkippedImages
):
    """Returns the source for `data`, which may be all that `tfdpm.data.multicrop` takes."""
    if isinstance(data, str | os.PathLike):
        data = _open_name(os.fspath(data))
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str | os.PathLike):
        data = data[0]  # labels stand beside the images
    if isinstance(data, list | tuple) and all(isinstance(path, str | os.PathLike) for path in data):
        paths = [os.fspath(path) for path in data]
        if not paths or ".tfrecord" not in os.path.basename(paths[0]):
            return FileSource(paths, channels, shuffle, skipped)
        data = tfrecord_images(paths, channels)
    if isinstance(data, tf.data.Dataset):
        return StreamSource(data, channels, shuffle, shuffle_buffer)
    return ArraySource(data, channels, shuffle)


def image_batches(data: Any, channels: int, batch_size: int) -> tf.data.Dataset:
    """Batches of all images of `data`, in their order, floats in [0, 1]; of one where sizes differ.

    `data` may be all that `tfdpm.data.multicrop` takes.
    """
    given = {"shuffle": False, "shuffle_buffer": 1, "skipped": SkippedImages()}
    source, seed = open_source(data, channels=channels, **given), tf.zeros([2], tf.int32)
    images = source.batches(seed, 1).unbatch() if source.is_batched else source.images(seed)
    is_one_size = images.element_spec.shape.is_fully_defined()
    return images.batch(checks.integer(batch_size, "batch_size", minimum=1) if is_one_size else 1)


def _open_name(name: str) -> Any:
    """Returns the array, the paths or the data set that a name stands for."""
    if os.path.isdir(name):
        return files.image_files(name)
    if name.endswith((".npy", ".npz")):
        return files.read(name, name="data")
    if paths := sorted(glob.glob(name)):
        return paths
    if os.sep in name:
        checks.fail("data", repr(name), "an existing file or folder, or the name of a data set")
    return named.load(name)


def tfrecord_images(paths: list[str], channels: int) -> tf.data.Dataset:
    """Reads images from TFRecord files whose examples have an encoded image as "image"."""
    features = {"image": tf.io.FixedLenFeature([], tf.string)}

    def decode(record):
        encoded = tf.io.parse_single_example(record, features)["image"]
        image = decode_image(encoded, channels)
        return tf.ensure_shape(image, [None, None, channels])

    records = tf.data.TFRecordDataset(paths)
    total = int(records.reduce(np.int64(0), lambda count, _: count + 1))
    images = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    return images.repeat().take(total) if total else images


def _order(seed: tf.Tensor, size: int, shuffle: bool) -> tf.Tensor:
    if not shuffle:
        return tf.range(size)
    return tf.random.experimental.stateless_shuffle(tf.range(size), seed=tf.cast(seed, tf.int64))
