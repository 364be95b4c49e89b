"""Reading of points and labels from arrays and tables in files, and from folders of images."""

from __future__ import annotations

import glob
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data import elements, table_files, tables
from tfdpm.data.columns import Columns
from tfdpm.data.images.decoding import IMAGE_SUFFIXES, decode_image
from tfdpm.data.tables import TableOptions
from tfdpm.progress.files import read_arrays

_OTHER_SUFFIXES = (".webp", ".heic", ".heif", ".tif", ".tiff", ".avif", ".jfif", ".jp2", ".jxl")

Pair = tuple[Any, NDArray[Any] | None]


def looks_like_path(source: str) -> bool:
    """Returns whether `source` looks like a file or folder rather than a data set's name."""
    is_file = source.lower().endswith((*_READERS, *IMAGE_SUFFIXES))
    return is_file or tables.looks_like_table(source) or os.sep in source or _has_magic(source)


def as_paths(data: Any) -> list[str] | None:
    """The paths in a list, array or Series of files; `None` for other data, such as texts."""
    kind = getattr(getattr(data, "dtype", None), "kind", None)
    if kind in ("O", "U", "S", "T") and hasattr(data, "tolist") and data.ndim == 1:
        data = data.tolist()
    if not isinstance(data, list) or not data:
        return None
    if not all(isinstance(each, (str, os.PathLike)) for each in data):
        return None
    paths = list(map(os.fspath, data))
    is_told = any(isinstance(each, os.PathLike) for each in data)
    return paths if is_told or all(map(_is_file_name, paths)) else None


def _is_file_name(text: str) -> bool:
    """Whether text is the path of something that exists, or ends as images and arrays do."""
    return text.lower().endswith((*_READERS, *IMAGE_SUFFIXES)) or os.path.exists(text)


def read(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    header: bool | None = None,
    missing: str | None = None,
    name: str = "path",
) -> Pair:
    """Reads points, with known labels where the file has them.

    Of tables, separator, decimal mark, header, encoding, and columns of labels and of row numbers
    are found out; the other arguments are for tables alone.

    Args:
        path: one of
            - .npy: one array of points;
            - .npz: arrays `x` and, if there are labels, `y`, or such as `data` and `labels`; or a
              single array of any name;
            - .csv, .tsv, .txt, .dat or .data (or these with .gz, .bz2 or .xz), or a .zip with one
              of them: a table as text;
            - .parquet, .feather, .json, .jsonl, .ndjson, .xlsx, .xls, .ods or .arff: a table;
              of lists of numbers, such as embeddings, each number becomes a column;
            - a folder of images, see `read_images`;
            - a pattern such as "photos/*.jpg" of images, or of tables or arrays of the same
              columns, which are read one after another in sorted order.
        label: name of the column of known labels; `None` for one called "label", "target",
            "class", "species", "y" or alike that holds whole numbers or text.
        columns: names of the columns to cluster; `None` for all but labels and row numbers.
        drop: names of columns to leave out.
        header: whether the first row holds names; `None` finds out.
        missing: "drop" leaves out rows with missing values, "mean" fills in the column's mean or
            most frequent text; `None` makes missing values an error. A model that was fitted to
            means fills in the same ones where `predict` takes a path.
        name: name of `path` in errors.
    Returns:
        `(x, y)`: points as an array (images as a stream, tables as a frame), and labels `[N]` or
            None.
    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if the file is of another kind, or its contents are not as above.
        ImportError: without what reads .parquet or Excel files; the error names the extra.
    """
    options = TableOptions(label, columns, drop, header, missing)
    return read_path(path, options, name=name)


def read_path(
    path: str | os.PathLike[str],
    options: TableOptions,
    *,
    name: str,
    known: Columns | None = None,
) -> Pair:
    """Reads as `read` does; `known` are the columns of a fit, which tables are searched for."""
    given, path = os.fspath(path), Path(path).expanduser()
    if not path.exists():
        found = sorted(glob.glob(str(path), recursive=True)) if _has_magic(given) else []
        if found:
            return read_files(found, options, name=name, known=known)
        wanted = "an existing file, folder of images, or data set name"
        if "://" in given:
            wanted = "a path on this machine: copy the files first"
        elif _has_magic(given):
            wanted = "a pattern that some file matches"
        checks.fail(name, repr(given), wanted, FileNotFoundError)
    if path.is_dir():
        _check_no_options(options, given)
        return read_images(path, name=name)
    return read_files([str(path)], options, name=name, known=known)


def read_files(
    paths: Sequence[str], options: TableOptions, *, name: str, known: Columns | None = None
) -> Pair:
    """Reads files of one kind, images, tables or arrays, as `read_path` does one after another."""
    files = [Path(path) for path in paths]
    missing = [path for path in files if not path.is_file()]
    if missing:
        error = ValueError if missing[0].is_dir() else FileNotFoundError
        checks.fail(name, repr(str(missing[0])), "existing files, or one folder of images", error)
    if all(map(tables.looks_like_table, files)):
        return tables.read_tables(files, options, name, known)
    _check_no_options(options, paths[0])
    are_images = [path.suffix.lower() in IMAGE_SUFFIXES for path in files]
    if all(are_images):
        return _image_stream(files, None, name), None
    readers = [_READERS.get(path.suffix.lower()) for path in files]
    if any(are_images) or None in readers:
        kinds = sorted({path.suffix.lower() or "no ending" for path in files})
        got = repr(paths[0]) if len(kinds) == 1 else f"files with {', '.join(kinds)}"
        readable = ", ".join([*_READERS, *table_files.READERS, *IMAGE_SUFFIXES])
        checks.fail(name, got, f"a folder of images, or files of one kind of {readable}")
    pairs = [reader(path, name) for reader, path in zip(readers, files, strict=True)]
    if len(pairs) == 1:
        return pairs[0]
    points, labels = zip(*pairs, strict=True)
    has_labels = {each is not None for each in labels}
    try:
        joined = np.concatenate(points)
    except ValueError as error:
        checks.fail(name, f"arrays that cannot be joined ({error})", "points of one shape")
    if len(has_labels) > 1:
        checks.fail(name, "labels in some of the files", "them in all files, or in none")
    return joined, np.concatenate(labels) if has_labels == {True} else None


def _has_magic(path: str) -> bool:
    """Whether a path is a pattern."""
    return any(each in path for each in "*?[")


def _check_no_options(options: TableOptions, path: str) -> None:
    for argument, value in asdict(options).items():
        if value not in (None, ()):
            checks.fail(argument, f"{value!r} for {path!r}", "it for tables alone")


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """Lists all image files below a folder, sorted, without hidden ones."""
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    )


def read_images(
    folder: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    name: str = "folder",
) -> tuple[tf.data.Dataset, NDArray[np.str_] | None]:
    """Returns a stream of the images below a folder, with sub-folder names as labels.

    Args:
        folder: folder with .png, .jpg, .jpeg, .bmp, .gif (first frame) and, where TensorFlow knows
            it, .webp, also in sub-folders, read in the order of their paths. If every image lies in
            a sub-folder, the names of the sub-folders directly below `folder` are the labels.
        image_size: height and width, pixels, to which all images are resized; None for the size of
            the first image. The first image also decides between grey and colour. What is
            transparent becomes white; photographs are turned as their EXIF orientation says.
        name: name of `folder` in errors.
    Returns:
        `(images, labels)`: a `tf.data.Dataset` of `[H, W, C]` uint8 that knows its length, and
        `[N]` text or None.
    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no images, or the first cannot be decoded.
    """
    folder = Path(folder)
    if not folder.is_dir():
        checks.fail(name, repr(str(folder)), "an existing folder of images", FileNotFoundError)
    paths = [Path(path) for path in image_files(folder)]
    if not paths:
        wanted = f"images in it: {', '.join(IMAGE_SUFFIXES)}; of other files a pattern: *.csv"
        checks.fail(name, f"folder {str(folder)!r} without images", wanted)
    suffixes = (path.suffix.lower() for path in folder.rglob("[!.]*"))
    unread = set(_OTHER_SUFFIXES).difference(IMAGE_SUFFIXES)
    others = Counter(suffix for suffix in suffixes if suffix in unread)
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        read_kinds = ", ".join(IMAGE_SUFFIXES)
        warnings.warn(
            f"Images left out of {str(folder)!r}: {kinds}; {read_kinds} are read.", stacklevel=2
        )
    images = _image_stream(paths, image_size, name)
    parents = [path.relative_to(folder).parts[:-1] for path in paths]
    return images, (np.array([p[0] for p in parents]) if all(parents) else None)


def _image_stream(
    paths: Sequence[Path], image_size: tuple[int, int] | None, name: str
) -> tf.data.Dataset:
    """The images of files, of one size and number of channels, as `read_images` gives them."""
    try:
        first = decode_image(paths[0].read_bytes())
    except tf.errors.InvalidArgumentError:
        checks.fail(name, f"{str(paths[0])!r}, which cannot be decoded", "images")
    channels = 1 if first.shape[2] < 3 else 3
    height, width = first.shape[:2] if image_size is None else image_size

    def decode(path: tf.Tensor) -> tf.Tensor:
        image = decode_image(tf.io.read_file(path))
        image = _without_alpha(tf.cast(image, tf.float32), channels)
        image = tf.image.resize(image, (height, width), antialias=True)
        image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
        return tf.ensure_shape(image, (height, width, channels))

    def refuse(path: tf.Tensor) -> tf.Tensor:
        line = [f"`{name}`: got ", path, ", which cannot be decoded, wanted images."]
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.strings.join(line)])]):
            return tf.zeros((height, width, channels), tf.uint8)

    def decode_or_refuse(path: tf.Tensor) -> tf.data.Dataset:
        own = tf.data.Dataset.from_tensors(path)
        return own.map(decode).ignore_errors().concatenate(own.map(refuse)).take(1)

    images = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    images = images.interleave(
        decode_or_refuse, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return images.apply(tf.data.experimental.assert_cardinality(len(paths)))


def _without_alpha(image: tf.Tensor, channels: int) -> tf.Tensor:
    """An image of any channels on white, where it is transparent, with so many channels."""
    count = tf.shape(image)[2]
    alpha = tf.where(count % 2 == 0, image[..., -1:] / 255.0, 1.0)
    color = image[..., : count - (count + 1) % 2]
    color = 255.0 + alpha * (color - 255.0)
    if channels == 3:
        return tf.repeat(color, 3 // tf.shape(color)[2], axis=2)
    is_gray = tf.shape(color)[2] == 1
    return tf.cond(is_gray, lambda: color, lambda: tf.image.rgb_to_grayscale(color))


def _read_npy(path: Path, name: str) -> Pair:
    try:
        return np.load(path, allow_pickle=False), None
    except (ValueError, EOFError):
        checks.fail(name, f"{str(path)!r}, which cannot be read", "an .npy file of numbers")


def _read_npz(path: Path, name: str) -> Pair:
    try:
        arrays = read_arrays(path)
    except ValueError:
        checks.fail(name, f"{str(path)!r}, which cannot be read", "an .npz file of numbers")
    if {"format", "shape", "data"} <= set(arrays):
        return scipy.sparse.load_npz(path), None
    if len(arrays) == 1:
        return next(iter(arrays.values())), None
    lower = {key.lower(): key for key in arrays}
    points = ["x"] if "x" in lower else [each for each in elements.FEATURE_NAMES if each in lower]
    if len(points) != 1:
        got = f"{str(path)!r} with arrays {list(arrays)}"
        checks.fail(name, got, "an array `x`, and `y` for labels")
    found = ["y"] if "y" in lower else [each for each in tables.LABEL_NAMES if each in lower]
    return arrays[lower[points[0]]], arrays[lower[found[0]]] if found else None


_READERS = {".npy": _read_npy, ".npz": _read_npz}
