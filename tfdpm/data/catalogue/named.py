"""Data sets by name: embedded ones, those of published files, and TensorFlow Datasets."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data.catalogue import imagenet, reuters, synthetic, usps

_IN_MEMORY_BYTES = 2**29  # 512 MiB; larger data sets stay streams

Labelled = tuple[NDArray[Any], NDArray[np.int64]]


def load(
    name: str,
    split: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    image_size: int | None = None,
    seed: int = 0,
) -> Labelled | tf.data.Dataset:
    """Loads a data set with its known labels.

    Args:
        name: one of
            - "digits" (1,797 handwritten digits, `[N, 64]`, scikit-learn's), "blobs" (five round
              blobs), "gaussians15" (15 Gaussians in the plane): embedded;
            - "usps": handwritten digits `[N, 16, 16, 1]` float32 in [0, 1], from their files;
            - "reuters10k": 10,000 news articles as tf-idf of 2,000 words in four topics, made from
              the files of RCV1-v2;
            - "imagenet", or "imagenet50" for the 50 classes on which [DeepDPM] compares;
            - a TensorFlow Datasets name such as "mnist", "fashion_mnist", "wine_quality/red" or
              "cifar10:3.0.2".
        split: part, such as "train", "test", "train+test" or, for TensorFlow Datasets,
            "train[:10%]". "all" is every labelled part; None is "train". Embedded data and
            "reuters10k" have no parts.
        data_dir: folder of the files; None for `~/tensorflow_datasets`. "usps" and "reuters10k" lie
            in a folder of that name below it.
        download: whether missing files may be downloaded from where their authors publish them.
        image_size: side, pixels, of the square at the centre of each image, whose shorter side is
            first brought to that size. None for 224 for ImageNet and the stored size for others.
        seed: random seed of the articles of "reuters10k"; the same seed gives the same articles.
    Returns:
        A pair of arrays `(x, y)`. Points of more than 512 MiB or without a single size become a
        `tf.data.Dataset` of pairs, unbatched, in a fixed order; so do those of several columns or
        without labels, whose elements are dictionaries.
    Raises:
        ValueError: if there is no data set or part of that name.
        FileNotFoundError: if files are missing; it names them and their addresses.
    """
    whole = {"reuters10k": (None, "all"), **dict.fromkeys(_EMBEDDED, (None,))}
    if name in whole and split not in whole[name]:
        checks.fail("split", repr(split), f"None: {name!r} has no parts")
    if name in _EMBEDDED:
        return _EMBEDDED[name]()
    checks.boolean(download, "download")
    folder = Path.home() / "tensorflow_datasets" if data_dir is None else Path(data_dir)
    folder /= name
    if name == "reuters10k":
        return reuters.load(folder, download=download, seed=seed)
    if name == "usps":
        x, y = usps.load(folder, split or "train", download=download)
        if image_size is not None:
            side = checks.integer(image_size, "image_size", minimum=1)
            x = tf.image.resize(x, (side, side), antialias=True).numpy()
        return x, y
    if name in imagenet.CLASSES:
        image_size = imagenet.IMAGE_SIZE if image_size is None else image_size
    return _load_tfds(name, split, data_dir, download, image_size)


def has_variant(name: str) -> bool:
    """Returns whether a name is a data set's of TensorFlow Datasets with one of its variants."""
    first, _, variant = name.partition("/")
    if not re.fullmatch(r"[\w.:*-]+", variant) or not first.isidentifier():
        return False
    import tensorflow_datasets as tfds

    return first in tfds.list_builders(with_community_datasets=False)


def _digits() -> Labelled:
    """Returns scikit-learn's handwritten digits, `[1797, 64]` grey levels from 0 to 16."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


_EMBEDDED = {
    "blobs": synthetic.blobs,
    "digits": _digits,
    "gaussians15": synthetic.gaussians15,
}


def _load_tfds(
    asked: str,
    split: str | None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    image_size: int | None,
) -> Any:
    """Loads a data set of TensorFlow Datasets; of ImageNet the classes that the name stands for."""
    # Not at the top: it takes seconds to import, and embedded names need none of it.
    import tensorflow_datasets as tfds

    name = "imagenet2012" if asked in imagenet.CLASSES else asked
    classes = imagenet.CLASSES.get(asked)
    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except (tfds.core.DatasetNotFoundError, ValueError):
        known = ", ".join(
            repr(known) for known in (*_EMBEDDED, "usps", "reuters10k", *imagenet.CLASSES)
        )
        wanted = f"a file, a folder, {known}, or a TensorFlow Datasets name"
        checks.fail("data", repr(asked), wanted)
    if download:
        _download(builder, asked)
    dataset = _as_dataset(builder, split, asked)
    if classes is not None:
        names = builder.info.features[builder.info.supervised_keys[1]].names
        dataset = imagenet.keep_classes(dataset, names, classes)
    if image_size is not None:
        side = checks.integer(image_size, "image_size", minimum=1)
        dataset = dataset.map(
            lambda image, label: (_cut_square(image, side), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return _load_if_small(dataset)


def load_builder(builder: Any) -> Any:
    """The training part of a builder of TensorFlow Datasets, as `load` gives it by name."""
    return _load_if_small(_as_dataset(builder, None, builder.name))


def _download(builder: Any, asked: str) -> None:
    """Downloads and prepares a data set, or names the file that users must download by hand."""
    try:
        builder.download_and_prepare()
    except (AssertionError, FileNotFoundError) as error:  # no file that users download by hand
        manual = os.path.join(builder._data_dir_root, "downloads", "manual")
        instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "its files"
        wanted = f"in {manual}: {' '.join(instructions.split())}"
        raise FileNotFoundError(f"`data`: got no files of {asked!r}, wanted {wanted}") from error


def _as_dataset(builder: Any, split: str | None, asked: str) -> tf.data.Dataset:
    """Returns the pairs of a part, or raises an error that names missing files or parts."""
    known = list(builder.info.splits) or ["train"]
    if split == "all":
        # Parts without labels mark them as -1; STL-10's "unlabelled" is the one in use.
        split = "+".join(part for part in known if part not in ("unlabelled", "unsupervised"))
    try:
        if split is None and "train" not in known:
            split = "+".join(known)
        is_paired = builder.info.supervised_keys is not None
        return builder.as_dataset(
            split=split or "train", as_supervised=is_paired, shuffle_files=False
        )
    except (AssertionError, FileNotFoundError, ValueError):
        if known != ["train"] and builder.is_prepared():
            checks.fail("split", repr(split), f"one of {known}")
        wanted = f"its files; tfdpm.fit or tfdpm.data.load({asked!r}, download=True) fetches them"
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
            wanted += ", after what its owners give out by hand was put where that call says"
        got = f"{asked!r}, which is not in {builder.data_path}"
        checks.fail("data", got, wanted, FileNotFoundError)


def _load_if_small(dataset: tf.data.Dataset) -> Any:
    """Returns arrays `(x, y)` where the points fit `_IN_MEMORY_BYTES`, else the dataset."""
    if not tf.nest.map_structure(lambda spec: 0, dataset.element_spec) == (0, 0):
        return dataset  # of dictionaries
    shape, dtype = dataset.element_spec[0].shape, dataset.element_spec[0].dtype
    length = int(dataset.cardinality())
    is_sized = shape.is_fully_defined() and length >= 0
    if not is_sized or length * math.prod(shape) * dtype.size > _IN_MEMORY_BYTES:
        return dataset
    batches = list(dataset.batch(1024).as_numpy_iterator())
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    return x, y.astype(np.int64)


def _cut_square(image: tf.Tensor, side: int) -> tf.Tensor:
    """Resizes the shorter side of an image to `side` pixels and returns the square centre."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scaled = tf.maximum(tf.cast(tf.round(size * side / tf.reduce_min(size)), tf.int32), side)
    resized = tf.image.resize(image, scaled, antialias=True)
    top, left = (scaled[0] - side) // 2, (scaled[1] - side) // 2
    cut = tf.image.crop_to_bounding_box(resized, top, left, side, side)
    cut = tf.ensure_shape(cut, [side, side, image.shape[-1]])
    if image.dtype.is_floating:
        return tf.cast(cut, image.dtype)
    return tf.cast(tf.clip_by_value(tf.round(cut), 0.0, 255.0), image.dtype)
