"""Data sets by name: a few that need no download, and every name of TensorFlow Datasets.

Files and folders are in `files.py`; nothing is scaled or thinned here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data import synthetic

__all__ = ["embedded_names", "load"]

_IN_MEMORY_BYTES = 2**29


def load(
    name: str, split: str | None = None, data_dir: str | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]] | tf.data.Dataset:
    """Loads a data set with its known labels.

    Args:
        name: "digits" (1,797 handwritten digits, `[N, 64]`, scikit-learn's), "blobs" (five round
            blobs), "gaussians15" (15 Gaussians in the plane), or a TensorFlow Datasets name such
            as "mnist" or "cifar10:3.0.2", which is downloaded on first use.
        split: which part of a TensorFlow Datasets name, such as "train" (the default), "test",
            "train+test" or "train[:10%]". Embedded data sets have no parts.
        data_dir: where TensorFlow Datasets keeps its files; its own default if None.
    Returns:
        A pair of arrays `(x, y)`; or, where images have no single size or the points exceed
        512 MiB, a `tf.data.Dataset` of such pairs, unbatched, in a fixed order.
    Raises:
        ValueError: if there is no data set of that name, or it has no labelled form.
        ImportError: if the name is not embedded and tensorflow-datasets is not installed.
    """
    embedded = _EMBEDDED.get(name)
    if embedded is None:
        return _load_tfds(name, "train" if split is None else split, data_dir)
    if split is not None:
        checks.fail("split", repr(split), f"None: {name!r} has no parts")
    return embedded()


def embedded_names() -> tuple[str, ...]:
    """Returns the names that `load` knows without any download."""
    return tuple(_EMBEDDED)


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's handwritten digits: `[1797, 64]` grey levels from 0 to 16."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


_EMBEDDED: dict[str, Callable[[], tuple[NDArray[np.float32], NDArray[np.int64]]]] = {
    "blobs": synthetic.blobs,
    "digits": _digits,
    "gaussians15": synthetic.gaussians15,
}


def _load_tfds(name: str, split: str, data_dir: str | None) -> Any:
    """`load` for TensorFlow Datasets names."""
    # Not at the top: it takes seconds to import, and embedded names need none of it.
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = ", ".join(repr(known) for known in _EMBEDDED)
        wanted = f"a file, a folder, {known}, or a TensorFlow Datasets name"
        raise ValueError(f"`data`: got {name!r}, wanted {wanted}.") from error
    keys = builder.info.supervised_keys
    if keys is None or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        wanted = "a data set with labels (`supervised_keys`), or its own tf.data pipeline"
        checks.fail("data", repr(name), wanted)
    builder.download_and_prepare()
    dataset = builder.as_dataset(split=split, as_supervised=True, shuffle_files=False)
    shape, dtype = dataset.element_spec[0].shape, dataset.element_spec[0].dtype
    length = int(dataset.cardinality())
    if not shape.is_fully_defined() or length < 0:
        return dataset
    if length * math.prod(shape) * dtype.size > _IN_MEMORY_BYTES:
        return dataset
    batches = list(dataset.batch(1024).as_numpy_iterator())
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    return x, y.astype(np.int64)
