"""Streams as TensorFlow Datasets gives them: builders, splits, dictionaries and weights."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.columns import Columns, find_places
from tfdpm.data.tables import (
    AMOUNT_NAMES,
    LABEL_NAMES,
    ROW_NAME,
    TableOptions,
    choose_columns,
)

FEATURE_NAMES = (
    "image", "images", "features", "feature", "x", "input", "inputs", "data", "embedding",
    "embeddings", "vector", "points",
)  # fmt: skip
_FILE_NAME = re.compile(r".*(file_?name|path|url)", re.IGNORECASE)
_ORIGIN = "from a dictionary"

Key = tuple[str, ...]


class _Choice(NamedTuple):
    """Which entries of a dictionary are points and labels.

    `x` is one entry, or several that make a row; `y` the labels, `rest` what is neither.
    """

    x: list[Key]
    y: Key | None
    rest: list[Key]
    is_table: bool


def splits_of(data: Any, name: str) -> Any:
    """One dataset of a builder, or of splits in a dictionary, list or tuple; else `data` itself.

    A pair of data and a `DatasetInfo` are the data.
    """
    tfds = sys.modules.get("tensorflow_datasets")  # whoever has a builder has imported it
    if tfds is not None:
        if isinstance(data, tuple) and isinstance(data[-1], tfds.core.DatasetInfo):
            data = data[0]
        if isinstance(data, tfds.core.DatasetBuilder):
            from tfdpm.data.catalogue.named import load_builder

            return load_builder(data)
    splits = list(data.values()) if isinstance(data, Mapping) else data
    if not isinstance(splits, (list, tuple)) or not splits:
        return data
    if not all(isinstance(each, tf.data.Dataset) for each in splits):
        return data
    joined = splits[0]
    for each in splits[1:]:
        try:
            joined = joined.concatenate(each)
        except (TypeError, ValueError):
            got = f"splits of different elements, {joined.element_spec} and {each.element_spec}"
            checks.fail(name, got, "the same in all, or one of the splits")
    return joined


def as_pairs(
    dataset: tf.data.Dataset, known: Columns | None, name: str
) -> tuple[tf.data.Dataset, Columns]:
    """A stream of x, `(x, y)` or `(x, y, weight)` of one whose x or elements are dictionaries.

    Of several numbers rows are made, whose columns are named; `known` names are those of a fit.
    """
    spec = dataset.element_spec
    if isinstance(spec, Mapping):
        x_spec, has_pairs = spec, False
    elif isinstance(spec, tuple) and spec and isinstance(spec[0], Mapping):
        x_spec, has_pairs = spec[0], True
    else:
        return dataset, Columns()
    specs = _flatten(x_spec)
    choice = _choose(specs, known, name, has_labels=not has_pairs)
    columns = _columns_of(choice, specs)

    def convert(*parts: Any) -> Any:
        entries = _flatten(parts[0])
        x = entries[choice.x[0]]
        if choice.is_table:
            x = tf.stack([tf.cast(entries[key], tf.float64) for key in choice.x], axis=-1)
        if has_pairs:
            return (x, *parts[1:])
        return x if choice.y is None else (x, entries[choice.y])

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE), columns


def of_arrays(data: Mapping[str, Any], known: Columns | None, name: str) -> tuple[Any, Any]:
    """Points and labels of a dictionary of arrays with one entry for each point."""
    try:
        arrays = {key: _as_text(np.asarray(value)) for key, value in _flatten(data).items()}
    except ValueError:  # rows of different lengths
        kinds = {key: type(value).__name__ for key, value in data.items()}
        checks.fail(name, f"a dictionary of {kinds}", "arrays, or datasets as splits")
    if not arrays or len({value.shape[:1] for value in arrays.values()}) > 1:
        lengths = {"/".join(key): value.shape for key, value in arrays.items()}
        checks.fail(name, f"a dictionary of shapes {lengths}", "arrays, one entry for each point")
    if all(each.ndim == 1 for each in arrays.values()):
        import pandas

        frame = pandas.DataFrame({"/".join(key): each for key, each in arrays.items()})
        return choose_columns(frame, TableOptions(), name, _ORIGIN, known)
    specs = {
        key: tf.TensorSpec([None, *each.shape[1:]], _dtype(each)) for key, each in arrays.items()
    }
    choice = _choose(specs, known, name)
    if choice.is_table:
        _fail(specs, name)
    return arrays[choice.x[0]], None if choice.y is None else arrays[choice.y]


def text_and_label(entries: Mapping[str, Any], name: str) -> Any:
    """The one entry of texts of a dictionary, with its labels where there are any."""
    lower = {key.lower(): key for key in entries}
    label = next((lower[each] for each in LABEL_NAMES if each in lower), None)
    texts = [
        key
        for key, value in entries.items()
        if key != label and np.asarray(value, dtype=object).size
        if isinstance(np.asarray(value, dtype=object).flat[0], (str, bytes))
    ]
    if len(texts) > 1 and "text" in lower:
        texts = [lower["text"]]
    if len(texts) != 1:
        got = f"a dictionary with the entries {list(entries)}, of which {texts} are texts"
        checks.fail(name, got, "one entry of texts, or (texts, labels)")
    found = entries[texts[0]]
    return found if label is None else (found, entries[label])


def _as_text(array: np.ndarray) -> np.ndarray:
    """Arrays of bytes, as which TensorFlow knows text, as text."""
    if array.dtype.kind not in "OS" or not all(isinstance(each, bytes) for each in array.flat):
        return array
    return np.array([each.decode(errors="replace") for each in array.flat]).reshape(array.shape)


def _dtype(array: np.ndarray) -> tf.DType:
    return tf.as_dtype(array.dtype) if array.dtype.kind in "biuf" else tf.string


def _flatten(entries: Mapping[str, Any], before: Key = ()) -> dict[Key, Any]:
    """The leaves of nested dictionaries by their paths."""
    found: dict[Key, Any] = {}
    for key, value in entries.items():
        path = (*before, str(key))
        found |= _flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return found


def _choose(
    specs: dict[Key, Any], known: Columns | None, name: str, has_labels: bool = True
) -> _Choice:
    """Which entries are points and labels, by names and shapes; raises where that is open."""
    usable = {
        key: spec
        for key, spec in specs.items()
        if isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None
    }
    y = found = _find_label(usable, set(known.names) if known else set())
    if not has_labels:
        y = None  # they are beside the dictionary, and again in it
    numeric = {
        key: spec.shape
        for key, spec in usable.items()
        if key != found and (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool)
    }
    rank = _scalar_rank(numeric, None if found is None else usable[found].shape.rank)
    vectors = [key for key, shape in numeric.items() if shape.rank > rank]
    named = [key for key in vectors if len(key) == 1 and key[0].lower() in FEATURE_NAMES]
    scalars = [key for key, shape in numeric.items() if shape.rank == rank]
    x = named if len(named) == 1 else vectors
    if len(x) == 1 and (named or numeric[x[0]].rank - rank > 1 or not scalars):
        return _Choice(x, y, [key for key in specs if key not in (y, x[0])], False)
    # Numbers below one name, such as "features", and beside them what is to be predicted.
    below = [key for key in scalars if len(key) > 1]
    beside = [key for key in scalars if len(key) == 1]
    groups = {key[0] for key in below}
    if len(groups) == 1 and groups <= set(FEATURE_NAMES):
        if y is None and has_labels and len(beside) == 1 and usable[beside[0]].dtype.is_integer:
            y, beside = beside[0], []
        scalars = below + beside
    x = _choose_columns(scalars, known, name)
    ignored = (ROW_NAME, _FILE_NAME)
    texts = [
        key
        for key, spec in specs.items()
        if key not in numeric and key != found and not any(p.fullmatch(key[-1]) for p in ignored)
    ]
    if vectors or texts or not x:
        _fail(specs, name, [] if vectors or not texts else x)
    return _Choice(x, y, [key for key in specs if key != y and key not in x], True)


def _choose_columns(scalars: list[Key], known: Columns | None, name: str) -> list[Key]:
    """The numbers that make a row: those of a fit in its order, or all but row numbers."""
    if not (known and known.names):
        return [key for key in scalars if not ROW_NAME.fullmatch(key[-1])]
    keys = dict(zip(_names(scalars), scalars, strict=True))
    wanted = [each for each in keys if each not in known.left_out or each in known.names]
    return [keys[wanted[place]] for place in find_places(tuple(wanted), known.names, name)]


def _find_label(specs: dict[Key, Any], known: set[str]) -> Key | None:
    """The entry that is called as labels are."""
    lower = {key[0].lower(): key for key in specs if len(key) == 1 and key[0] not in known}
    for wanted in LABEL_NAMES:
        key = lower.get(wanted)
        if key is None or (wanted in AMOUNT_NAMES and specs[key].dtype.is_floating):
            continue
        if wanted == "y" and "x" in lower and specs[lower["x"]].shape.rank == specs[key].shape.rank:
            continue  # x and y are coordinates
        return key
    return None


def _names(keys: list[Key]) -> list[str]:
    """Names of columns: the last parts of their paths where these differ."""
    last = [key[-1] for key in keys]
    return last if len(set(last)) == len(last) else ["/".join(key) for key in keys]


def _scalar_rank(shapes: dict[Key, Any], label_rank: int | None) -> int:
    """0 where one element is one point, 1 where it is a batch."""
    if label_rank is not None:
        return min(label_rank, 1)
    found = list(shapes.values())
    if len(found) == 1:
        return int(found[0].rank == 1 and found[0][0] is None)
    has_scalars = any(shape.rank == 0 for shape in found)
    has_columns = any(shape.rank == 1 for shape in found)
    # Where sizes are fixed, vectors of one size look like batches of numbers.
    return int(not has_scalars and has_columns and all(shape[0] is None for shape in found))


def _describe(choice: _Choice) -> str:
    parts = [_ORIGIN]
    if not choice.is_table:
        parts.append(f"points: {'/'.join(choice.x[0])}")
    if choice.y is not None:
        parts.append(f"labels: {'/'.join(choice.y)}")
    if choice.rest:
        parts.append(f"left out: {', '.join('/'.join(key) for key in choice.rest)}")
    return "; ".join(parts)


def _columns_of(choice: _Choice, specs: dict[Key, Any]) -> Columns:
    if not choice.is_table:
        return Columns(origin=_describe(choice))
    names = tuple(_names(choice.x))
    pairs = zip(names, choice.x, strict=True)
    truths = tuple(name for name, key in pairs if specs[key].dtype.is_bool)
    left_out = tuple(map("/".join, choice.rest if choice.y is None else [*choice.rest, choice.y]))
    return Columns(names, ((),) * len(names), truths, left_out, _describe(choice))


def _fail(specs: dict[Key, Any], name: str, numbers: Sequence[Key] = ()) -> NoReturn:
    """Raises an error that names the entries and says what to write."""
    entries = []
    for key, spec in specs.items():
        kind = getattr(getattr(spec, "dtype", None), "name", type(spec).__name__)
        entries.append(f"{'/'.join(key)!r} ({kind} {getattr(spec, 'shape', '')})")
    paths = ["".join(f"[{part!r}]" for part in key) for key in numbers or [next(iter(specs))]]
    example = f"each{paths[0]}"
    if numbers:
        pairs = zip(numbers, paths, strict=True)
        example = "{" + ", ".join(f"{key[-1]!r}: each{path}" for key, path in pairs) + "}"
    wanted = "one entry of points, or numbers alone: choose them and labels, such as "
    wanted += f"dataset.map(lambda each: {example}), or (points, labels)"
    checks.fail(name, f"dictionaries with the entries {', '.join(entries)}", wanted)
