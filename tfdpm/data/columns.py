"""Columns of tables by their names, and text in them as zeros and ones, one for each category."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.data.cells import join_spellings, read_numbers, spellings_of

_MOST_CATEGORIES = 30  # of a column
_ROWS_PER_CATEGORY = 2  # least number on average; a name is in one row only
_MOST_NAMES = 20  # of columns, in words
_ROWS_LOOKED_AT, _VALUES_LOOKED_AT = 4096, 2**22
# Between the tenths of the values: with fewer, rounding is a hundredth of their deviation.
_FEWEST_STEPS = 64
_TEXT = ("string", "boolean", "categorical", "empty")  # as pandas calls what is not a number


@dataclass(frozen=True)
class Columns:
    """Columns of the frame of a fit, by which later frames are read.

    Attributes:
        names: names of the columns; none where points were no frame.
        categories: categories of each column in sorted order, none for a column of numbers.
        truths: names of columns of True and False.
        left_out: names of columns of the file of the fit that were not clustered.
        origin: how that file was read, in words; empty where points came from no table in a file.
        missing: "mean" where missing values of that file were filled in, "drop" where left out.
        fill: mean of each column, or the most frequent text, for missing values of later files.
    """

    names: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    truths: tuple[str, ...] = field(default=(), compare=False)
    left_out: tuple[str, ...] = field(default=(), compare=False)
    origin: str = field(default="", compare=False)
    missing: str = field(default="", compare=False)
    fill: tuple[float | str, ...] = field(default=(), compare=False)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers of a point, such as "size" and "island=Biscoe".

        Columns of numbers come first. Of two categories the second is a number, one or zero.
        """
        pairs = list(zip(self.names, self.categories, strict=True))
        numbers = [name for name, categories in pairs if not categories]
        flags = [f"{name}={each}" for name, found in pairs for each in found[len(found) == 2 :]]
        return (*numbers, *flags)

    @property
    def variables(self) -> tuple[int, ...]:
        """Categorical variable of each of `features`, numbered from 1, and 0 of numbers.

        Without any categories there are none.
        """
        pairs = list(zip(self.names, self.categories, strict=True))
        numbers = [(name in self.truths, 1) for name, categories in pairs if not categories]
        flags = [(True, len(found) - (len(found) == 2)) for _, found in pairs if found]
        if not self.truths and not flags:
            return ()
        firsts = np.cumsum([is_flag for is_flag, _ in numbers + flags])
        parts = zip(firsts, numbers + flags, strict=True)
        return tuple(int(each * is_flag) for each, (is_flag, n) in parts for _ in range(n))

    def __str__(self) -> str:
        """Which columns of a table are used as what."""
        pairs = list(zip(self.names, self.categories, strict=True))
        numbers = listed([name for name, categories in pairs if not categories])
        texts = listed([f"{name} ({len(found)} categories)" for name, found in pairs if found])
        used = "; ".join(filter(None, [numbers, texts]))
        return "; ".join(filter(None, [f"columns: {used}" if used else "", self.origin]))

    def describe(self, num_values: int) -> str:
        """What points of a fit with these columns are, for errors."""
        names = f": {', '.join(self.features)}" if any(self.categories) else ""
        return f"{num_values} values as in fit{names}"

    def to_json(self) -> str:
        """Text that `from_json` takes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Columns:
        """The columns of `to_json`'s result.

        Raises:
            ValueError, TypeError, KeyError: for another text.
        """
        found = json.loads(text)
        found.pop("has_flags", None)  # of files of before
        for name in ("names", "left_out", "fill", "truths"):
            found[name] = tuple(found.get(name, ()))
        columns = cls(**found | {"categories": tuple(map(tuple, found["categories"]))})
        texts = [
            *columns.names,
            *columns.left_out,
            *columns.truths,
            columns.origin,
            columns.missing,
        ]
        texts += [each for group in columns.categories for each in group]
        fills = all(isinstance(each, (int, float, str)) for each in columns.fill)
        if not fills or not all(isinstance(each, str) for each in texts):
            raise ValueError("columns whose names or categories are no text")
        if len(columns.categories) != len(columns.names):
            got = f"{len(columns.categories)} lists of categories"
            raise ValueError(f"{got} for {len(columns.names)} columns")
        return columns


def listed(names: Sequence[str]) -> str:
    """Names between commas, of many the first and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def read_frame(frame: Any, columns: Columns | None, name: str) -> tuple[np.ndarray, Columns]:
    """Returns `[N, D]` values of a pandas frame, missing numbers as NaN, and its columns.

    Columns of a frame are numbers, Booleans, text or categories. Order and categories are those of
    the fit's `columns`; without names they are numbers in any order. `None` learns them.
    """
    if any(dtype.name == "object" for dtype in frame.dtypes):
        frame = spread_lists(frame.infer_objects(), name)
    found = columns
    if columns is None:
        frame = frame.copy(deep=False)
        join_spellings(frame)
        categories = _categories(frame, name)
        read = frame.attrs.get("tfdpm", {})  # of a table in a file
        names = tuple(map(str, frame.columns))
        is_truth = [dtype.kind == "b" for dtype in frame.dtypes]
        truths = tuple(name for name, is_own in zip(names, is_truth, strict=True) if is_own)
        found = Columns(names, categories, truths, fill=_fill_of(frame, categories), **read)
    elif columns.names:
        others = set(columns.left_out).difference(columns.names)
        frame = frame.loc[:, [str(each) not in others for each in frame.columns]]
        places = find_places(tuple(map(str, frame.columns)), columns.names, name)
        frame = frame if places == list(range(frame.shape[1])) else frame.iloc[:, places]
        if columns.missing == "mean" and columns.fill:
            frame = frame.fillna(dict(zip(frame.columns, columns.fill, strict=True)))
    is_text = [bool(each) for each in found.categories] or [False] * frame.shape[1]
    numbers = frame.iloc[:, np.flatnonzero(np.logical_not(is_text))] if any(is_text) else frame
    # Categories may be numbers elsewhere.
    if any(dtype.name == "category" for dtype in numbers.dtypes):
        numbers = numbers.astype(object).infer_objects()
    if columns is not None and any(dtype.kind not in "biuf" for dtype in numbers.dtypes):
        numbers = numbers.copy(deep=False)
        read_numbers(numbers)
    other = [c for c, dtype in numbers.dtypes.items() if dtype.kind not in "biuf"]
    if other:
        checks.fail(name, f"columns that are not numbers: {other}", "columns of numbers", TypeError)
    is_narrow = np.array([dtype == np.float32 for dtype in numbers.dtypes], bool)
    narrow = bool(is_narrow.all())
    values = numbers.to_numpy(np.float32 if narrow else np.float64, na_value=np.nan)
    _check_missing(values, numbers.columns, name)
    for dtype, is_own in ((np.float32, is_narrow), (np.float64, ~is_narrow)):
        if columns is None and is_own.any() and len(values):
            warn_of_steps(values[:, is_own].astype(dtype), list(numbers.columns[is_own]))
    flags = [
        _flags(frame.iloc[:, i], each, name) for i, each in enumerate(found.categories) if each
    ]
    if flags:
        values = np.concatenate([values, *flags], axis=1, dtype=values.dtype)
    return values, found


def warn_of_steps(values: np.ndarray, names: Sequence[str] = (), given: str = "") -> None:
    """Warns of columns of `values [N, D]` whose spread is near the steps of floats of their size.

    `names` are those of the columns, by default their numbers. Values that came in float64 are
    warned of as float32, where `given` says what makes such of them.
    """
    dtype = np.dtype(np.float32) if given else values.dtype
    most = min(_ROWS_LOOKED_AT, max(_FEWEST_STEPS, _VALUES_LOOKED_AT // values.shape[1]))
    rows = values[:: -(-len(values) // most) or 1].astype(np.float64)
    low, high = np.quantile(rows, (0.1, 0.9), axis=0)
    size, spread = np.maximum(abs(low), abs(high)), high - low
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.spacing(size.astype(dtype)).astype(np.float64)
    all_exact = 2.0 / np.finfo(dtype).eps  # largest integer up to which all integers are held
    is_coarse = (spread < _FEWEST_STEPS * steps) & ((spread > 0) | (size >= all_exact))
    if not is_coarse.any():
        return
    coarse = np.flatnonzero(is_coarse)
    widest = coarse[steps[coarse].argmax()]
    shown = listed([str(names[i] if names else i) for i in coarse])
    where = f"{given} computes in" if given else "held in"
    wider = "" if given or dtype == np.float64 else "give float64, or "
    warnings.warn(
        f"Column{'s' * (len(coarse) > 1)} {shown}: {where} {dtype.name}, whose steps are "
        f"{steps[widest]:.3g} at {size[widest]:.3g}, near the spread of the values; {wider}"
        "subtract an offset before.",
        stacklevel=2,
    )


def is_nested(values: Any) -> bool:
    """Whether cells of a column of a frame are lists, arrays or dictionaries."""
    return values.dtype.kind == "O" and any(
        isinstance(each, (list, tuple, dict, np.ndarray)) for each in values.array
    )


def spread_records(frame: Any) -> Any:
    """The frame with a column for each entry of cells that are dictionaries, as JSON has them."""
    import pandas

    pieces = []
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        cells = values.dropna().tolist() if values.dtype.kind == "O" else []
        if cells and all(isinstance(each, dict) for each in cells):
            records = [each if isinstance(each, dict) else {} for each in values]
            entries = pandas.json_normalize(records).set_index(frame.index)
            pieces.append(entries.add_prefix(f"{column}.").infer_objects())
        else:
            pieces.append(values)
    if all(piece.ndim == 1 for piece in pieces):
        return frame
    return pandas.concat(pieces, axis=1)


def spread_lists(frame: Any, name: str) -> Any:
    """The frame with a column for each number of cells that are lists, such as embeddings."""
    nested = [is_nested(frame.iloc[:, i]) for i in range(frame.shape[1])]
    if not any(nested):
        return frame
    import pandas

    pieces = []
    for place, (column, is_list) in enumerate(zip(frame.columns, nested, strict=True)):
        values = frame.iloc[:, place]
        if not is_list:
            pieces.append(values)
            continue
        try:
            array = np.array([np.asarray(each, np.float64) for each in values])
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.ndim != 2:
            got = f"lists in column {column!r} that are not numbers, or not of one length"
            checks.fail(name, got, "lists of as many numbers in each row, or no lists")
        names = [f"{column}[{i}]" for i in range(array.shape[1])]
        pieces.append(pandas.DataFrame(array, index=frame.index, columns=names))
    result = pandas.concat(pieces, axis=1)
    result.attrs = frame.attrs
    return result


def _fill_of(frame: Any, categories: tuple[tuple[str, ...], ...]) -> tuple[float | str, ...]:
    """What stands for a missing value in each column, as text where the column has categories."""
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    return tuple(
        str(values.mode().iloc[0]) if found else float(values.mean())
        for values, found in zip(columns, categories, strict=True)
    )


def _check_missing(values: np.ndarray, names: Any, name: str) -> None:
    counts = np.isnan(values).sum(axis=0)
    if counts.any():
        where = listed([f"{names[i]} ({counts[i]})" for i in np.flatnonzero(counts)])
        row = np.isnan(values).any(axis=1).argmax()
        got = f"{counts.sum()} NaN in columns {where}, the first in row {row}"
        checks.fail(name, got, "finite numbers only, as frame.dropna() or frame.fillna() leave")


def _categories(frame: Any, name: str) -> tuple[tuple[str, ...], ...]:
    """Categories of each column, none for numbers; raises for columns of other things."""
    import pandas

    kinds = [
        "" if each.dtype.kind in "biuf" else pandas.api.types.infer_dtype(each, skipna=True)
        for _, each in frame.items()
    ]
    other = [c for c, kind in zip(frame.columns, kinds, strict=True) if kind not in ("", *_TEXT)]
    if other:
        wanted = "columns of numbers, text or categories; drop the others, or make numbers of them"
        checks.fail(name, f"columns that are neither numbers nor text: {other}", wanted, TypeError)
    most = most_categories(len(frame))
    found = []
    for i, kind in enumerate(kinds):
        found.append(tuple(sorted(set(_texts(frame.iloc[:, i], name)[1]))) if kind else ())
        if len(found[-1]) > most:
            got = f"{len(found[-1])} categories in column {frame.columns[i]!r}"
            wanted = f"at most {most} for {len(frame)} rows; drop the column (--drop), or encode it"
            if frame.shape[1] == 1 and set(";|\t,") & set(str(frame.columns[i])):
                wanted += "; of a file, fit its path: then the separator is found out"
            elif frame.shape[1] == 1:
                wanted += " by features= a Keras model that takes texts"
            checks.fail(name, got, wanted)
    return tuple(found)


def most_categories(num_rows: int) -> int:
    """Largest number of categories of a column; more are names, codes or sentences."""
    return max(2, min(_MOST_CATEGORIES, num_rows // _ROWS_PER_CATEGORY))


def find_places(names: tuple[str, ...], wanted: tuple[str, ...], name: str) -> list[int]:
    """Where each wanted column is, by name; by position where names are missing or repeated."""
    if sorted(names) == sorted(wanted) and len(set(names)) == len(names):
        return [names.index(each) for each in wanted]
    has_no_names = any(each == tuple(map(str, range(len(each)))) for each in (names, wanted))
    if len(names) == len(wanted) and (has_no_names or names == wanted):
        return list(range(len(names)))
    missing, other = ([e for e in a if e not in b] for a, b in ((wanted, names), (names, wanted)))
    found = {"missing": missing, "unknown": other}
    got = " and ".join(f"{kind} columns {each}" for kind, each in found.items() if each)
    if not got:
        got = f"columns {[e for e in wanted if names.count(e) != wanted.count(e)]} more than once"
    checks.fail(name, got, f"those of fit, each once: {list(wanted)}")


def _texts(column: Any, name: str) -> tuple[np.ndarray, list[str]]:
    """Codes `[N]` of the values of a column, and the values as text."""
    codes, values = column.factorize()
    if (codes < 0).any():
        got = f"{(codes < 0).sum()} missing values in column {column.name!r}"
        got += f", the first in row {np.argmin(codes)}"
        checks.fail(name, got, "a category in each row; fill or drop those rows")
    # The same for 3, 3.0 and "3", which files and frames take for each other.
    return codes, [
        f"{v:.0f}" if isinstance(v, (float, np.floating)) and v == v // 1 else str(v).strip()
        for v in values
    ]


def _flags(column: Any, categories: tuple[str, ...], name: str) -> np.ndarray:
    """Zeros and ones `[N, C]` for the categories of a column, `[N, 1]` of the second of two."""
    codes, texts = _texts(column, name)
    others = dict.fromkeys(texts, 1) | dict.fromkeys(categories, 2)
    spellings = spellings_of(others)
    texts = [each if each in categories else spellings.get(each, each) for each in texts]
    unseen = sorted(set(texts).difference(categories))
    if unseen:
        got = f"{', '.join(map(repr, unseen))} in column {column.name!r}"
        checks.fail(name, got, f"a category of fit: {', '.join(map(repr, categories))}")
    flags = np.eye(len(categories))[[categories.index(text) for text in texts]]
    return flags[codes, int(len(categories) == 2) :]
