"""The one place that turns whatever users pass as data into one checked form, `Inputs`.

Arrays, tensors, frames and lists become NumPy arrays; `tf.data` stays a stream (`streams.py`);
names and paths are opened by `datasets.py` and `files.py`. Nothing is scaled or trained here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data import files, streams
from tfdpm.data.catalogue import named as datasets

__all__ = ["Inputs", "as_features"]

_WANTED_RANK = "[N, D] features or [N, H, W] or [N, H, W, C] images"
_DENSE_LIMIT = 2**27  # elements of a sparse matrix that are made dense: 1 GiB in float64
_EXACT_IN_FLOAT32 = 2**24
_CHECKED_ELEMENTS = 2**18  # values that are looked at together: no array is made for all of them


@dataclass(frozen=True, eq=False)
class Inputs:
    """Data in the one form that the rest of the library takes: an array or a stream.

    Exactly one of `array` and `dataset` is set.

    Attributes:
        array: `[N, ...]` float32 or float64, finite, C order; None for streams. Float64 (and
            integers beyond 2**24) stay float64: whoever scales them needs all their digits.
        dataset: stream of `[B, ...]` float32 batches, checked for NaN as it is read; None for
            arrays.
        labels: `[N]` int64 known labels for scores only, or None. Text is numbered in sorted
            order, other values are kept.
        labelled_dataset: for streams of pairs, the stream of `([B, ...], [B])` batches; else None.
            Labels that come in a stream stay in it: `labels` is None then, because a pass to
            collect them could see another order than the next pass (shuffling).
        num_points: N, or None for streams that do not know their length.
        feature_shape: `(D,)`, `(H, W)` or `(H, W, C)`.
    """

    array: NDArray[Any] | None
    dataset: tf.data.Dataset | None
    labels: NDArray[np.int64] | None
    num_points: int | None
    feature_shape: tuple[int, ...]
    labelled_dataset: tf.data.Dataset | None = None


def as_features(
    data: Any,
    y: Any = None,
    *,
    name: str = "x",
    minimum_points: int = 2,
    batch_size: int = 1024,
) -> Inputs:
    """Returns `data` in the one form used inside, or raises one error that says what is wrong.

    Args:
        data: one of
            - array-like, tensor or nested list of numbers, `[N, D]`, `[N, H, W]` or
              `[N, H, W, C]`; any real dtype, memory order, read-only or not; sparse matrices
              are made dense when small;
            - pandas DataFrame of numbers, or a Series (one feature);
            - a tuple `(x, y)` (a list is never a pair, but points);
            - `tf.data.Dataset` of x or `(x, y)`, batched or not, finite. It is streamed;
            - a path (.npy, .npz, .csv, .parquet, or a folder of images) or a data set's name.
        y: `[N]` known labels, integers or text, unless `data` brings them.
        name: what to call `data` in errors.
        minimum_points: fewest points accepted: 2 to fit, 1 to predict.
        batch_size: of unbatched streams; batched ones keep theirs.
    Returns:
        `Inputs`, with finite arrays or a stream that checks itself.
    Raises:
        ValueError: for values or shapes that cannot be clustered (NaN, infinity, no points, rank,
            ragged rows, text, another length of `y`, endless streams).
        TypeError: for types that are not numbers (objects, complex numbers, dates).
        FileNotFoundError: if `data` is a path to nothing.
    """
    if isinstance(data, (str, os.PathLike)):
        data = _open(data, name)
    if isinstance(data, tuple) and len(data) == 2:
        if y is not None and data[1] is not None:
            checks.fail("y", "labels twice", f"them in the pair `{name}` or in `y`, not in both")
        data, y = data[0], (data[1] if y is None else y)
    if isinstance(data, tf.data.Dataset):
        return _from_stream(data, y, name, minimum_points, batch_size)
    array = _as_floats(_as_numbers(data, name), name)
    _check_points(array, name, minimum_points)
    labels = None if y is None else as_labels(y, len(array))
    return Inputs(array, None, labels, len(array), array.shape[1:])


def as_labels(y: Any, num_points: int | None, *, name: str = "y") -> NDArray[np.int64]:
    """Returns known labels as `[N]` int64; text is numbered in sorted order.

    Args:
        y: integers, whole floats, booleans or text, `[N]` or `[N, 1]`.
        num_points: N that is wanted, or None if unknown.
        name: what to call `y` in errors.
    Raises:
        ValueError: for another shape or length, or numbers that are not whole.
        TypeError: for values that are neither numbers nor text.
    """
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        checks.fail(name, f"shape {array.shape}", "[N] labels, one integer or text for each point")
    if num_points is not None and len(array) != num_points:
        checks.fail(name, f"{len(array)} labels", f"{num_points}, one for each point")
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        if not np.all(np.isfinite(array)) or np.any(array != np.floor(array)):
            checks.fail(name, "numbers with NaN or fractions", "whole numbers or text")
        return array.astype(np.int64)
    if array.dtype.kind in "OUST" and all(isinstance(v, (str, bytes)) for v in array.tolist()):
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    checks.fail(name, f"dtype {array.dtype}", "integers or text", TypeError)


def _open(source: str | os.PathLike[str], name: str) -> Any:
    """Opens a path, or else a data set of that name."""
    if isinstance(source, str) and not os.path.exists(source) and not files.looks_like_path(source):
        return datasets.load(source)
    return files.read(source, name=name)


def _from_stream(
    data: tf.data.Dataset, y: Any, name: str, minimum_points: int, batch_size: int
) -> Inputs:
    """`Inputs` of a `tf.data.Dataset`, with labels from the side if `y` is not None."""
    stream = streams.as_batches(data, name=name, batch_size=batch_size)
    if y is not None and stream.labelled is not None:
        checks.fail("y", "labels twice", f"them in the pairs of `{name}` or in `y`, not in both")
    labels = None if y is None else as_labels(y, stream.num_points)
    num_points = stream.num_points if labels is None else len(labels)
    if num_points is not None:
        _check_enough(num_points, name, minimum_points)
    return Inputs(None, stream.batches, labels, num_points, stream.feature_shape, stream.labelled)


def _as_numbers(data: Any, name: str) -> NDArray[Any]:
    """`data` as an array of a real numeric dtype, of any rank."""
    if _is_pandas(data, "DataFrame"):
        return _frame_values(data, name)
    if _is_pandas(data, "Series"):
        return _frame_values(data.to_frame(), name)
    if scipy.sparse.issparse(data):
        if int(np.prod(data.shape)) > _DENSE_LIMIT:
            wanted = f"a dense array, or at most {_DENSE_LIMIT} elements to make it dense"
            checks.fail(name, f"a sparse matrix of shape {data.shape}", wanted, TypeError)
        return data.toarray()
    if isinstance(data, (tf.RaggedTensor, tf.SparseTensor)):
        checks.fail(name, f"a {type(data).__name__}", "a dense tensor, " + _WANTED_RANK, TypeError)
    if data is None or isinstance(data, (dict, set, frozenset)) or hasattr(data, "__next__"):
        wanted = "an array, DataFrame, tf.data.Dataset, (x, y) pair, path or data set name"
        checks.fail(name, f"{type(data).__name__}", wanted, TypeError)
    if np.ma.isMaskedArray(data) and np.ma.is_masked(data):
        checks.fail(name, f"{np.ma.count_masked(data)} masked values", "finite numbers only")
    try:
        array = np.asarray(data)
    except ValueError:
        checks.fail(name, "rows of different lengths", _WANTED_RANK)
    if array.dtype.name == "bfloat16":  # NumPy knows it as bytes
        array = array.astype(np.float32)
    kind = array.dtype.kind
    if kind in "UST" or (kind == "O" and any(isinstance(v, (str, bytes)) for v in array.flat)):
        checks.fail(name, "text", "numbers", TypeError)
    if kind == "O" and _is_ragged(array):
        checks.fail(name, "rows of different lengths", _WANTED_RANK)
    if kind not in "biuf":
        checks.fail(name, f"dtype {array.dtype}", "real numbers", TypeError)
    return array


def _as_floats(array: NDArray[Any], name: str) -> NDArray[Any]:
    """`array` in C order as float32, or as float64 where that would lose digits; see `Inputs`."""
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 4
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2 and array.size:
        # As Python integers: the absolute value of the smallest int64 does not fit an int64.
        wide = max(-int(array.min()), int(array.max())) > _EXACT_IN_FLOAT32
    return np.ascontiguousarray(array, dtype=np.float64 if wide else np.float32).reshape(
        array.shape
    )


def _check_points(array: NDArray[Any], name: str, minimum_points: int) -> None:
    """Raises unless `array` has a shape that can be clustered and finite values."""
    if array.ndim not in (2, 3, 4):
        hint = "; for one feature, reshape it to [N, 1]" if array.ndim == 1 else ""
        checks.fail(name, f"shape {array.shape}", _WANTED_RANK + hint)
    _check_enough(array.shape[0], name, minimum_points)
    if 0 in array.shape:
        checks.fail(name, f"shape {array.shape}", _WANTED_RANK + " with no axis of length 0")
    rows = array.reshape(len(array), -1)
    at_once = max(1, _CHECKED_ELEMENTS // rows.shape[1])
    bad = np.concatenate(
        [
            ~np.isfinite(rows[start : start + at_once]).all(axis=1)
            for start in range(0, len(rows), at_once)
        ]
    )
    if bad.any():
        nan, infinite = np.isnan(rows[bad]).sum(), np.isinf(rows[bad]).sum()
        got = f"{nan} NaN and {infinite} infinite values, the first in row {np.argmax(bad)}"
        checks.fail(name, got, "finite numbers only")


def _check_enough(num_points: int, name: str, minimum_points: int) -> None:
    """Raises if there are too few points."""
    if num_points < minimum_points:
        got = "1 point" if num_points == 1 else f"{num_points} points"
        checks.fail(name, got, f"at least {minimum_points}")


def _is_pandas(data: Any, kind: str) -> bool:
    """Whether `data` is a pandas object of that class, without importing pandas to find out."""
    return any(
        base.__name__ == kind and base.__module__.partition(".")[0] == "pandas"
        for base in type(data).__mro__
    )


def _frame_values(frame: Any, name: str) -> NDArray[Any]:
    """`[N, D]` values of a pandas frame, missing ones as NaN; float32 only if all columns are."""
    dtypes = list(frame.dtypes)
    other = [c for c, dtype in zip(frame.columns, dtypes, strict=True) if dtype.kind not in "biuf"]
    if other:
        checks.fail(name, f"columns that are not numbers: {other}", "columns of numbers", TypeError)
    narrow = bool(dtypes) and all(dtype == np.float32 for dtype in dtypes)
    return frame.to_numpy(dtype=np.float32 if narrow else np.float64, na_value=np.nan)


def _is_ragged(array: NDArray[Any]) -> bool:
    """Whether an object array holds rows rather than values."""
    return any(isinstance(value, (list, tuple, np.ndarray)) for value in array.flat)
