"""`Inputs`, the one checked form of data inside the library, and `as_features`, which makes it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data import csv_files, elements, files, sequences, streams
from tfdpm.data.catalogue import named
from tfdpm.data.cells import read_numbers
from tfdpm.data.columns import Columns, most_categories, read_frame, warn_of_steps
from tfdpm.data.tables import TableOptions, choose_columns
from tfdpm.metrics import UNKNOWN_LABEL

_WANTED_RANK = "[N, D] features or [N, H, W] or [N, H, W, C] images"
_DENSE_LIMIT = 2**27  # most elements of a sparse matrix that is made dense: 1 GiB in float64
_EXACT_IN_FLOAT32 = 2**24  # largest integer up to which float32 holds every integer
_NARROW = (np.float16, np.float32)
_LARGEST = 1e150  # sums of squares of more would be infinite
_HELD_ELEMENTS = 2**24  # of a stream that is read into memory: 64 MiB, or 128 in float64
_CHECKED_ELEMENTS = 2**18  # values checked at a time, so that no mask of all values is held


@dataclass(frozen=True, eq=False)
class Inputs:
    """Data in the form that the whole library takes: an array or a stream, exactly one of them.

    Attributes:
        array: `[N, ...]` finite values in C order; None for streams. Float32 where that keeps all
            digits, else float64 (float64 and integers beyond 2**24). Of texts `[N]` objects.
        dataset: stream of `[B, ...]` batches, float32 or float64, which raises an error at a batch
            with NaN or infinity; None for arrays.
        labels: `[N]` int64 known labels, for scores only; None without labels. Text is numbered in
            sorted order, other values are kept; `metrics.UNKNOWN_LABEL` where there is none.
        num_points: N; None for streams of unknown length.
        feature_shape: `(D,)`, `(H, W)` or `(H, W, C)`, shape of one point; `()` of a text.
        labelled_dataset: stream of `([B, ...], [B])` batches for streams of pairs; else None. Its
            labels are not in `labels`, because two passes over a shuffled stream differ in order.
        columns: names and categories of the columns of frames.
        weights: `[N]` float64 weights that came with the points; None without weights.
        weighted_dataset: stream of batches, weights `[B]`, and labels where there are any, for
            streams that bring weights; else None.
        is_shuffled: whether the data are a stream, or were one, that shuffles.
        encoded: `[N, F]` float32 rows that the encoder of a fit has made of the array; None where
            it has not, or there is none.
        classes: texts of the labels by their numbers; none where labels were numbers, or streamed.
        start: first mixture that was found of `encoded`; None where none was.
    """

    array: NDArray[Any] | None
    dataset: tf.data.Dataset | None
    labels: NDArray[np.int64] | None
    num_points: int | None
    feature_shape: tuple[int, ...]
    labelled_dataset: tf.data.Dataset | None = None
    columns: Columns = field(default_factory=Columns)
    weights: NDArray[np.float64] | None = None
    weighted_dataset: tf.data.Dataset | None = None
    is_shuffled: bool = False
    encoded: NDArray[np.float32] | None = None
    classes: tuple[str, ...] = ()
    start: Any = None

    def in_memory(self, minimum_points: int = 2) -> Inputs:
        """The same with a stream of few values as an array, read in one pass; else unchanged.

        The order of the points is that of this pass. Fewer points than the minimum are an error.
        """
        stream = self.weighted_dataset or self.labelled_dataset or self.dataset
        width, most = int(np.prod(self.feature_shape)), _HELD_ELEMENTS
        if stream is None or (self.num_points or 0) * width > most:
            return self
        batches, total = [], 0
        with streams.reading():
            for batch in stream:
                parts = [part.numpy() for part in tf.nest.flatten(batch)]
                batches.append(parts)
                total += parts[0].size
                if total > most:
                    return self
        _check_enough(sum(len(parts[0]) for parts in batches), "x", minimum_points)
        array, *rest = (np.concatenate(part) for part in zip(*batches, strict=True))
        if array.ndim == 2:
            warn_of_steps(array, self.columns.features)
        found = replace(self, array=array, dataset=None, num_points=len(array))
        if self.weighted_dataset is not None:
            weights = as_weights(rest.pop(0), len(array))
            found = replace(found, weights=weights, weighted_dataset=None)
        if rest:
            labels = labels_or_none(rest[0])
            found = replace(found, labels=labels, labelled_dataset=None)
        return found

    def warn_of_order(self) -> None:
        """Warns of results in the order of a pass over a stream that shuffles."""
        if self.is_shuffled:
            warnings.warn(
                "`x` is a stream that shuffles: results such as labels_ are in the order of one "
                "pass over it. To compare them with something else, leave out its shuffle.",
                stacklevel=4,
            )


def as_features(
    data: Any,
    y: Any = None,
    *,
    name: str = "x",
    minimum_points: int = 2,
    batch_size: int = 1024,
    columns: Columns | None = None,
    takes_text: bool = False,
) -> Inputs:
    """Returns `data` as checked `Inputs`, or raises one error that says what is wrong.

    Args:
        data: one of
            - array-like, tensor or nested list of numbers, `[N, D]`, `[N, H, W]` or
              `[N, H, W, C]`, of any real dtype; sparse matrices become dense where they are small;
            - pandas DataFrame or Series of numbers, text or categories, which become zeros and ones
              (one column for each category, or for the second of two), after all numbers; the
              columns of a frame alone are chosen as those of a file, in a pair all are used;
            - a tuple `(x, y)` or `(x, y, weights)`; a list is never a pair, but points;
            - a finite `tf.data.Dataset` of x, `(x, y)` or `(x, y, weight)`, batched or not, which
              stays a stream; a `keras.utils.PyDataset` or a generator of the same;
            - dictionaries of arrays, or a dataset of them, with one entry of points or numbers,
              and labels; a builder of TensorFlow Datasets; a dictionary or list of splits;
            - a path or pattern, as `tfdpm.data.read` takes it, or a list of files, also in a pair
              with labels; or a data set's name;
            - `Inputs`, which are returned unchanged.
        y: known labels, `[N]` integers or text; None where `data` brings them or has none.
        name: name of `data` in errors.
        minimum_points: smallest accepted N; fits need 2 points, predictions 1.
        batch_size: points in a batch of an unbatched stream; batched streams keep their batches.
        columns: those of the frame of a fit, by whose names and categories `data` is read where it
            is a frame; without names, columns are numbers. None learns them from `data`.
        takes_text: whether `[N]` texts are points, for an encoder that makes rows of them; a
            stream, a dictionary or a frame of one column may bring them.
    Returns:
        The checked data.
    Raises:
        ValueError: for values or shapes that cannot be clustered (NaN, infinity, no points, rank,
            ragged rows, another length of `y`, endless streams), columns of too many categories,
            and names or categories that `columns` lacks.
        TypeError: for types that are not numbers (text outside of frames, complex numbers, dates).
        FileNotFoundError: if `data` is a path to nothing.
    """
    if isinstance(data, Inputs):
        is_read = columns is None or data.columns == columns
        if not is_read and (any(data.columns.categories) or columns.names and data.columns.names):
            got = f"columns {list(data.columns.features)}"
            checks.fail(name, got, f"those of fit: {list(columns.features)}")
        return _with_labels(data, y, name, minimum_points)
    data, found = _opened(data, columns, name, takes_text, y is not None)
    weights = None
    if isinstance(data, tuple) and len(data) == 3 and np.ndim(data[2]) == 1 < np.ndim(data[0]):
        *data, weights = data
        data = tuple(data)
    if isinstance(data, tuple) and len(data) == 2:
        if y is not None and data[1] is not None:
            checks.fail("y", "labels twice", f"them in the pair `{name}` or in `y`, not in both")
        data, y = data[0], (data[1] if y is None else y)
    if isinstance(data, tf.data.Dataset):
        inputs = _of_stream(data, found, name, batch_size)
        return _with_labels(inputs, y, name, minimum_points)
    if takes_text:
        array = _as_texts(data, name)
        _check_enough(len(array), name, minimum_points)
    else:
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(data, (pandas.DataFrame, pandas.Series)):
            frame = data.to_frame() if isinstance(data, pandas.Series) else data
            data, found = read_frame(frame, columns, name)
        given = _as_numbers(data, name)
        array = _as_floats(given, name)
        _check_points(array, name, minimum_points)
        if columns is None and not found.names and array.ndim == 2:
            warn_of_steps(given if given.dtype in _NARROW else array.astype(np.float64, copy=False))
    count, shape = len(array), array.shape[1:]
    labels = None if y is None else as_labels(y, count)
    weights = None if weights is None else as_weights(weights, count)
    classes = _classes_of(y)
    return Inputs(
        array, None, labels, count, shape, columns=found, weights=weights, classes=classes
    )


def _opened(
    data: Any, columns: Columns | None, name: str, takes_text: bool, has_labels: bool
) -> tuple[Any, Columns]:
    """What a name, path, builder, sequence, frame, dictionary or splits stand for, and columns.

    That is an array-like, a frame, a stream, or a tuple of these and labels or weights. Columns of
    frames are chosen as those of files where there are neither labels nor `columns` of a fit.
    """
    if hasattr(data, "to_pandas") and not isinstance(data, tf.data.Dataset):
        data = data.to_pandas()  # a table of Arrow or Polars
    if isinstance(data, list) and data and all(isinstance(each, Mapping) for each in data):
        import pandas

        data = pandas.DataFrame(data)
    pandas = sys.modules.get("pandas")  # whoever has a frame has imported it
    is_frame = pandas is not None and isinstance(data, pandas.DataFrame)
    if is_frame and columns is None and not (takes_text or has_labels) and data.size:
        frame = data.set_axis(list(map(str, data.columns)), axis=1)
        read_numbers(frame, most_categories=most_categories(len(frame)))
        return choose_columns(frame, TableOptions(), name, ""), Columns()
    if (
        isinstance(data, str)
        and not os.path.exists(data)
        and (not files.looks_like_path(data) or named.has_variant(data))
    ):
        data = named.load(data)
    elif isinstance(data, (str, os.PathLike)):
        if takes_text and os.path.isfile(data) and os.fspath(data).lower().endswith(".txt"):
            with open(data, "rb") as file:
                lines = csv_files.decoded(file.read()).splitlines()
            data = [line.strip() for line in lines if line.strip()]
        else:
            data = files.read_path(data, TableOptions(), name=name, known=columns)
    elif not takes_text:
        data = _read_listed(data, columns, name)
    if takes_text:
        data = _read_texts(data, name)
    if sequences.is_sequence(data):
        data = sequences.as_dataset(data, name)
    data = elements.splits_of(data, name)
    if isinstance(data, tf.data.Dataset):
        return elements.as_pairs(data, columns, name)
    if isinstance(data, Mapping) and not scipy.sparse.issparse(data) and data:
        data = elements.of_arrays(data, columns, name)
    return data, Columns()


def _read_listed(data: Any, columns: Columns | None, name: str) -> Any:
    """What the files of a list hold, with labels where the list stands in a pair; else `data`."""
    parts = data if isinstance(data, tuple) and len(data) == 2 else (data,)
    paths = files.as_paths(parts[0])
    if paths is None:
        return data
    found, labels = files.read_files(paths, TableOptions(), name=name, known=columns)
    return (found, labels if len(parts) == 1 or parts[1] is None else parts[1])


def _of_stream(dataset: tf.data.Dataset, columns: Columns, name: str, batch_size: int) -> Inputs:
    with streams.reading():
        stream = streams.as_batches(dataset, name=name, batch_size=batch_size)
    return Inputs(
        None,
        stream.batches,
        None,
        stream.num_points,
        stream.feature_shape,
        stream.labelled,
        columns,
        weighted_dataset=stream.weighted,
        is_shuffled=stream.is_shuffled,
    )


def as_labels(y: Any, num_points: int | None) -> NDArray[np.int64]:
    """Returns labels `[N]`, `[N, 1]` or one-hot `[N, C]` as `[N]` int64.

    Text is numbered in sorted order. NaN and None become `metrics.UNKNOWN_LABEL`.
    """
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and array.dtype.kind in "biuf" and streams.is_one_hot(array):
        array = array.argmax(axis=1)
    if array.ndim != 1:
        checks.fail("y", f"shape {array.shape}", "[N] labels, one integer or text for each point")
    if num_points is not None and len(array) != num_points:
        checks.fail("y", f"{len(array)} labels", f"{num_points}, one for each point")
    missing = ("NoneType", "NAType", "NaTType")  # None and pandas' own
    if array.dtype.kind == "O":
        is_known = np.array([type(v).__name__ not in missing and v == v for v in array], bool)
        known = np.array(array[is_known].tolist())
    else:
        is_known = array == array  # but for NaN
        known = array[is_known]
    labels = np.full(len(array), UNKNOWN_LABEL, np.int64)
    if known.dtype.kind in "biuf":
        if known.dtype.kind == "f" and not np.all(np.isfinite(known) & (known == np.floor(known))):
            checks.fail("y", "numbers with infinity or fractions", "whole numbers or text")
        labels[is_known] = known
        return labels
    is_text = all(isinstance(v, (str, bytes)) for v in array[is_known].tolist())
    if known.dtype.kind in "UST" and is_text:
        labels[is_known] = np.unique(known, return_inverse=True)[1]
        return labels
    checks.fail("y", f"dtype {array.dtype}", "integers or text", TypeError)


def _classes_of(y: Any) -> tuple[str, ...]:
    """The texts that `as_labels` numbers, by their numbers; none of labels that are numbers."""
    array = np.asarray(y)
    values = array.ravel().tolist() if array.dtype.kind in "OUST" else []
    known = {each for each in values if isinstance(each, (str, bytes))}
    return tuple(each.decode() if isinstance(each, bytes) else each for each in sorted(known))


def as_weights(sample_weight: Any, num_points: int) -> NDArray[np.float64]:
    """Returns non-negative weights `[N]` or `[N, 1]` of N points as `[N]` float64, or raises."""
    weights = np.asarray(sample_weight, np.float64)
    weights = weights[:, 0] if weights.shape[1:] == (1,) else weights
    if weights.shape != (num_points,):
        checks.fail("sample_weight", f"shape {weights.shape}", f"[{num_points}]")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        checks.fail("sample_weight", "negative or infinite weights", "weights >= 0")
    return weights


def labels_or_none(y: NDArray[Any]) -> NDArray[np.int64] | None:
    """Labels `[N]` of a stream that was read; None, with a warning, where they are none."""
    try:
        return as_labels(y, None)
    except (ValueError, TypeError) as error:
        warnings.warn(f"{error} They are not used.", stacklevel=3)
        return None


def _with_labels(inputs: Inputs, y: Any, name: str, minimum_points: int) -> Inputs:
    """Returns the same object, or a copy with the labels `y` where that is not None."""
    if y is not None:
        if inputs.labels is not None or inputs.labelled_dataset is not None:
            checks.fail("y", "labels twice", f"them in `{name}` or in `y`, not in both")
        labels = as_labels(y, inputs.num_points)
        inputs = replace(inputs, labels=labels, num_points=len(labels), classes=_classes_of(y))
    if inputs.num_points is not None:
        _check_enough(inputs.num_points, name, minimum_points)
    return inputs


def _read_texts(data: Any, name: str) -> Any:
    """Texts, or they and labels, of a stream, a frame or a dictionary; else `data` itself."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame) and data.shape[1] == 1:
        return data.iloc[:, 0]
    data = elements.splits_of(data, name)
    if isinstance(data, tf.data.Dataset):
        if streams.is_endless(data):
            checks.fail(name, "an endless dataset", "one with an end, such as dataset.take(n)")
        data = data.as_numpy_iterator()
    if isinstance(data, Mapping):
        return elements.text_and_label(data, name)
    if not hasattr(data, "__next__"):
        return data
    columns: tuple[list[Any], ...] = ()
    with streams.reading():
        for element in data:
            if isinstance(element, Mapping):
                element = elements.text_and_label(element, name)
            parts = element if isinstance(element, tuple) else (element,)
            columns = columns or tuple([] for _ in parts)
            for column, part in zip(columns, parts, strict=True):
                column.extend(np.asarray(part, dtype=object).reshape(-1))
    return tuple(columns) if len(columns) > 1 else [] if not columns else columns[0]


def _as_texts(data: Any, name: str) -> NDArray[np.object_]:
    """Returns `[N]` or `[N, 1]` texts as `[N]` strings."""
    array = np.asarray(data, dtype=object)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    try:
        texts = [each.decode() if isinstance(each, bytes) else each for each in array.flat]
        "".join(each for each in texts if isinstance(each, str)).encode()
    except UnicodeError as error:
        checks.fail(name, checks.one_line(error), "texts in UTF-8")
    wrong = next((i for i, each in enumerate(texts) if not isinstance(each, str)), None)
    if array.ndim != 1 or wrong is not None:
        got = (
            f"shape {array.shape}"
            if wrong is None
            else f"{repr(array.flat[wrong])[:80]} at {wrong}"
        )
        checks.fail(name, got, "[N] texts, as the encoder takes", TypeError)
    result = np.empty(len(texts), dtype=object)
    result[:] = texts
    return result


def _as_numbers(data: Any, name: str) -> NDArray[Any]:
    """Returns `data` as an array of a real numeric dtype, of any rank."""
    if scipy.sparse.issparse(data):
        if int(np.prod(data.shape)) > _DENSE_LIMIT:
            wanted = f"a dense array, or at most {_DENSE_LIMIT} elements to make it dense"
            checks.fail(name, f"a sparse matrix of shape {data.shape}", wanted, TypeError)
        return data.toarray()
    if isinstance(data, (tf.RaggedTensor, tf.SparseTensor)):
        checks.fail(name, f"a {type(data).__name__}", "a dense tensor, " + _WANTED_RANK, TypeError)
    if data is None or isinstance(data, (dict, set, frozenset)):
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
        wanted = "numbers, or features= a Keras model that makes rows of texts"
        if array.ndim == 2 and array.shape[1] > 1:
            wanted = "numbers, or a pandas.DataFrame, whose columns of text are categories"
        checks.fail(name, "text", wanted, TypeError)
    if kind == "O" and any(isinstance(v, (list, tuple, np.ndarray)) for v in array.flat):
        checks.fail(name, "rows of different lengths", _WANTED_RANK)
    if kind == "O":  # Python's numbers of several kinds, as the values of frames may be
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            checks.fail(name, f"dtype {array.dtype}", "real numbers", TypeError)
    if kind not in "biuf":
        checks.fail(name, f"dtype {array.dtype}", "real numbers", TypeError)
    return array


def _as_floats(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Returns `array` in C order as float32, or as float64 where float32 would lose digits."""
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 4
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2 and array.size:
        # As Python integers: the absolute value of the smallest int64 does not fit an int64.
        wide = max(-int(array.min()), int(array.max())) > _EXACT_IN_FLOAT32
    return np.require(array, np.float64 if wide else np.float32, "C")


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
    pieces = (rows[start : start + at_once] for start in range(0, len(rows), at_once))
    bad = np.concatenate([~np.isfinite(piece).all(axis=1) for piece in pieces])
    if bad.any():
        nan, infinite = np.isnan(rows[bad]).sum(), np.isinf(rows[bad]).sum()
        got = f"{nan} NaN and {infinite} infinite values, the first in row {np.argmax(bad)}"
        checks.fail(name, got, "finite numbers only")
    if array.dtype == np.float64:  # others are smaller
        largest = max(-float(array.min()), float(array.max()))
        if largest > _LARGEST:
            got = f"values as large as {largest:.3g}"
            checks.fail(name, got, f"{_LARGEST:g} at most, whose squares float64 holds: divide it")


def _check_enough(num_points: int, name: str, minimum_points: int) -> None:
    if num_points < minimum_points:
        got = "1 point" if num_points == 1 else f"{num_points} points"
        checks.fail(name, got, f"at least {minimum_points}")
