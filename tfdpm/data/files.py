"""Reading of points and labels from .npy, .npz, .csv and .parquet files and image folders."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.progress.files import read_arrays

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
_LABEL_COLUMNS = ("y", "label")

Pair = tuple[Any, NDArray[Any] | None]


def looks_like_path(source: str) -> bool:
    """Returns whether `source` looks like a file or folder rather than a data set's name."""
    return source.lower().endswith(tuple(_READERS)) or os.sep in source


def read(path: str | os.PathLike[str], *, name: str = "path") -> Pair:
    """Reads points, with known labels where the file has them.

    Args:
        path: one of
            - .npy: one array of points;
            - .npz: arrays `x` and, if there are labels, `y`; or a single array of any name;
            - .csv: comma-separated numbers, with or without a header, or numbers and text with
              one (needs pandas); a column called "y" or "label" holds labels;
            - .parquet: columns of numbers and text, labels as in .csv (needs pandas and pyarrow);
            - a folder of images, see `read_images`.
        name: name of `path` in errors.
    Returns:
        `(x, y)`: points as an array (images as a stream, text in a frame), and labels `[N]` or
            None.
    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if the file is of another kind, or its contents are not as above.
        ImportError: without pandas, or pyarrow for .parquet; the error names the extra.
    """
    path = Path(path)
    if path.is_dir():
        return read_images(path, name=name)
    if not path.exists():
        wanted = "an existing file, folder of images, or data set name"
        checks.fail(name, repr(str(path)), wanted, FileNotFoundError)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        checks.fail(name, repr(str(path)), "a folder of images or one of " + ", ".join(_READERS))
    return reader(path, name)


def read_images(
    folder: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    name: str = "folder",
) -> tuple[tf.data.Dataset, NDArray[np.str_] | None]:
    """Returns a stream of the images below a folder, with sub-folder names as labels.

    Args:
        folder: folder with .png, .jpg, .jpeg, .bmp or .gif (first frame), also in sub-folders, read
            in the order of their paths. If every image lies in a sub-folder, the names of the
            sub-folders directly below `folder` are the labels.
        image_size: height and width, pixels, to which all images are resized; None for the size of
            the first image. The first image also decides between grey and colour.
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
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        wanted = "images in it: " + ", ".join(_IMAGE_SUFFIXES)
        checks.fail(name, f"folder {str(folder)!r} without images", wanted)
    try:
        first = tf.io.decode_image(paths[0].read_bytes(), expand_animations=False)
    except tf.errors.InvalidArgumentError:
        checks.fail(name, f"{str(paths[0])!r}, which cannot be decoded", "images")
    channels = 1 if first.shape[2] < 3 else 3
    height, width = first.shape[:2] if image_size is None else image_size

    def decode(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
        image = tf.image.resize(image, (height, width), antialias=True)
        image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
        return tf.ensure_shape(image, (height, width, channels))

    images = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    images = images.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    parents = [path.relative_to(folder).parts[:-1] for path in paths]
    return images, (np.array([p[0] for p in parents]) if all(parents) else None)


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
    if len(arrays) == 1:
        return next(iter(arrays.values())), None
    if "x" not in arrays:
        got = f"{str(path)!r} with arrays {list(arrays)}"
        checks.fail(name, got, "an array `x`, and `y` for labels")
    return arrays["x"], arrays.get("y")


def _read_csv(path: Path, name: str) -> Pair:
    """Reads numbers with NumPy, so that pandas, which is optional, is needed for text only."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        head, second = next(rows, []), next(rows, [])
    if not head:
        checks.fail(name, f"{str(path)!r}, which is empty", "rows of numbers")
    has_header = not all(map(_is_number, head))
    columns = head if has_header else [str(index) for index in range(len(head))]
    label = next((i for i, c in enumerate(columns) if c.strip().lower() in _LABEL_COLUMNS), None)
    used = [index for index in range(len(columns)) if index != label]
    sample = second if has_header else head
    if not all(_is_number(sample[i]) for i in used if i < len(sample)):
        pandas = checks.import_optional("pandas", name, "pandas")
        if len(second) > len(head):  # pandas would take the first cells for names of the rows
            got = f"{str(path)!r} with rows longer than the header"
            checks.fail(name, got, "rows, all of one length")
        try:
            frame = pandas.read_csv(path, skipinitialspace=True, encoding="utf-8-sig")
        except ValueError as error:
            reason = " ".join(str(error).split())
            checks.fail(name, f"{str(path)!r}: {reason}", "rows, all of one length")
        return _apart_from_labels(frame)
    options: dict[str, Any] = dict(
        delimiter=",", skiprows=int(has_header), quotechar='"', comments=None, ndmin=2,
        encoding="utf-8-sig",
    )  # fmt: skip
    try:
        x = np.loadtxt(path, usecols=used, **options)
        y = None if label is None else np.loadtxt(path, usecols=[label], dtype=str, **options)
    except ValueError as error:
        checks.fail(name, f"{str(path)!r}: {error}", "rows of numbers, all of one length")
    if y is None:
        return x, None
    try:
        return x, y[:, 0].astype(np.int64)  # so that 10 sorts after 9
    except ValueError:
        return x, y[:, 0]


def _read_parquet(path: Path, name: str) -> Pair:
    pandas = checks.import_optional("pandas", name, "pandas")
    checks.import_optional("pyarrow", name, "pandas")  # with which pandas reads the file
    try:
        frame = pandas.read_parquet(path)
    except (OSError, ValueError):
        checks.fail(name, f"{str(path)!r}, which cannot be read", "a .parquet file")
    return _apart_from_labels(frame)


def _apart_from_labels(frame: Any) -> Pair:
    label = next((c for c in frame if str(c).strip().lower() in _LABEL_COLUMNS), None)
    if label is None:
        return frame, None
    return frame.drop(columns=label), frame[label].to_numpy()


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


_READERS = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
