"""Tables: which columns are clustered, which are labels, and which say nothing of the points."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data.cells import distinct_texts, join_spellings, read_cells, warn_of_codes
from tfdpm.data.columns import (
    Columns,
    is_nested,
    listed,
    most_categories,
    spread_lists,
    spread_records,
)
from tfdpm.data.csv_files import read_csv
from tfdpm.data.table_files import reader_of

# Names of columns of known labels, the likeliest first; numbers and case do not count.
LABEL_NAMES = (
    "label", "labels", "target", "targets", "class", "classes", "species", "variety", "true_label",
    "class_label", "ground_truth", "groundtruth", "diagnosis", "category", "y",
)  # fmt: skip
AMOUNT_NAMES = ("target", "targets", "y")  # of labels, which fractions are not
_COUNTED_ROWS = 20  # fewest rows, of which a column that counts them says nothing else
_MONTH = r"[A-Z][a-z]{2,8}"
_DATE = re.compile(
    rf"(({_MONTH},? )?"
    r"(\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4}[/.]\d{1,2}[/.]\d{1,2}"
    r"|(19|20)\d\d-?([WQ]\d{1,2}|(?<=-)(0\d|1[0-2]))|\d{8}(?=T)"
    r"|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}[ .-]+(\d\d|\d{4})"
    rf"|{_MONTH}\.? \d{{1,2}},? ([\d:]{{5,8}} )?\d{{4}}"
    rf"|\d{{1,2}}[ .-]+{_MONTH}[ .-]\d{{2,4}})|\d{{1,2}}:\d{{2}}(:\d{{2}})?)([ T].*)?"
)
_ID = (
    r"(?i:.*\bid|.*_id|id_.*|identifier|(.*[_ ])?(zip|plz|((zip|post|postal)[_ ]?code)|phone))"
    r"|.*[a-z]I[dD]"
)
_TIME = r"(?i:.*(time_?stamp|epoch|unix.?time)|ts|.*_ts|.*_at|(.*[_ ])?date(_?time)?)"
_FIRST_SECOND = 10**8  # of the year 1973, since 1970
_FIRST_SERIAL, _LAST_SERIAL = 18_000, 60_000  # days since 1900, in which spreadsheets count
_FIRST_DATE, _LAST_DATE = 1700_01_01, 2100_12_31  # as whole numbers
ROW_NAME = re.compile(
    r"(?i:unnamed: 0(\.\d+)?|index|row[ _.]?(names?|id|no|number|index)?|#|nr|no)|" + _ID + "|"
)
# What to do about missing values, and about a column, in files and in frames.
_IN_FILES = (
    "tfdpm.data.read(path, missing='drop') leaves those rows out, missing='mean' fills in means, "
    "drop=[...] leaves columns out (in a shell --missing and --drop)",
    "tfdpm.data.read(path, drop=[...]) leaves the column out (in a shell --drop)",
)
_IN_FRAMES = ("use dropna(), fillna() or drop(columns=[...])", "use drop(columns=[...])")
_ROWS_PER_CODE = 5  # least number on average, where numbers and text in a column are categories


@dataclass(frozen=True)
class TableOptions:
    """What is said of a table in a file; the rest is found out.

    Attributes:
        label: name of the column of known labels; `None` for one with a usual name, if any.
        columns: names of the columns that are clustered; `None` for all that are left.
        drop: names of columns that are left out.
        header: whether the first row holds names; `None` finds out.
        missing: what becomes of rows with missing values: "drop" leaves them out, "mean" fills in
            a column's mean, or its most frequent text; `None` makes them an error.
    """

    label: str | None = None
    columns: Sequence[str] | None = None
    drop: Sequence[str] = ()
    header: bool | None = None
    missing: str | None = None

    def __post_init__(self):
        if self.missing is not None:
            checks.one_of(self.missing, "missing", ("drop", "mean"))
        if self.header is not None:
            checks.boolean(self.header, "header")
        for name in ("columns", "drop"):
            if isinstance(getattr(self, name), str):
                checks.fail(name, repr(getattr(self, name)), "a list of names", TypeError)


@dataclass
class _Roles:
    """Names of the columns of a table that are not clustered, each with the reason."""

    left_out: dict[str, str] = field(default_factory=dict)
    label: str | None = None

    def leave_out(self, names: Iterable[str], reason: str) -> None:
        self.left_out |= {name: reason for name in names if name not in self.left_out}


def looks_like_table(path: str | Path) -> bool:
    """Returns whether a file's name ends as those of tables do, compressed or not."""
    return reader_of(Path(path)) is not None


def read_tables(
    paths: Sequence[Path], options: TableOptions, name: str, known: Columns | None = None
) -> tuple[Any, NDArray[Any] | None]:
    """Reads tables of the same columns as one frame of what is clustered, and labels or `None`.

    `known` are the columns of a fit, which no guess leaves out. The frame's `attrs` say, for
    `Columns`, which columns were left out and how the files were read.
    """
    frame, form = _read_cells(paths[0], options, name)
    read, names = [frame], list(frame.columns)
    for path in paths[1:]:
        more, _ = _read_cells(path, options, name)
        if sorted(more.columns) != sorted(names) or len(set(names)) < len(names):
            got = f"{str(path)!r} with columns {list(more.columns)}"
            checks.fail(name, got, f"those of {str(paths[0])!r}, each once: {names}")
        read.append(more[names])
    origin = f"from {paths[0].name}"
    if len(paths) > 1:
        import pandas

        frame = pandas.concat(read, ignore_index=True)
        origin = f"from {len(paths)} files, {paths[0].name} to {paths[-1].name}"
    origin = "; ".join(filter(None, [origin, form]))
    return choose_columns(frame, options, name, origin, known, _IN_FILES)


def _read_cells(path: Path, options: TableOptions, name: str) -> tuple[Any, str]:
    """The table in a file with all its columns, and how it was written, in words."""
    reader = reader_of(path)
    frame, form = reader(path, options.header, name)
    if reader is not read_csv:
        frame, form = read_cells(frame, form)
    frame.columns = [" ".join(str(each).split()) for each in frame.columns]
    if len(frame) == 0:
        checks.fail(name, f"{str(path)!r}, which is empty", "rows of numbers or text")
    return frame, form


def choose_columns(
    frame: Any,
    options: TableOptions,
    name: str,
    origin: str,
    known: Columns | None = None,
    remedies: tuple[str, str] = _IN_FRAMES,
) -> tuple[Any, NDArray[Any] | None]:
    """What is clustered of a frame, and its known labels or `None`, as `read_tables` gives them.

    `origin` says in words where the frame came from, `remedies` what errors advise.
    """
    frame = spread_records(frame)
    spellings = join_spellings(frame)
    roles = _find_roles(frame, options, known or Columns())
    labels = None if roles.label is None else frame[roles.label]
    used = [each not in roles.left_out and each != roles.label for each in frame.columns]
    frame = frame.loc[:, used]
    if frame.shape[1] == 0:
        got = f"a table without a column of data ({_describe(roles)})"
        checks.fail(name, got, "columns to cluster; name them by `columns`")
    frame = spread_lists(frame, name)
    missing, fill = options.missing, {}
    if known is not None and known.fill and (missing == "mean" or known.missing == "mean"):
        missing, fill = "mean", dict(zip(known.names, known.fill, strict=True))
    frame, note = _without_missing(frame, missing, fill, name, remedies[0])
    _check_texts(frame, name, remedies[1])
    warn_of_codes(frame)
    frame.attrs["tfdpm"] = {
        "left_out": (*roles.left_out, *([] if roles.label is None else [roles.label])),
        "origin": "; ".join(filter(None, [origin, spellings, _describe(roles), note])),
        "missing": missing or "",
    }
    if labels is None:
        return frame.reset_index(drop=True), None
    labels = labels.loc[frame.index].to_numpy()
    return frame.reset_index(drop=True), labels


# -- which columns are what ---------------------------------------------------------------------


def _find_roles(frame: Any, options: TableOptions, known: Columns) -> _Roles:
    """Which columns are labels, and which say nothing of the points."""
    names, roles = list(frame.columns), _Roles()
    wanted = list(options.columns or ())
    asked = {"label": [options.label], "columns": wanted, "drop": list(options.drop)}
    for argument, values in asked.items():
        for value in values:
            if value is not None and str(value) not in names:
                checks.fail(argument, repr(value), f"one of the columns {names}")
    roles.leave_out(map(str, options.drop), "asked for")
    kept = {*known.names, *map(str, wanted)}
    counts = Counter(names)
    free = [each for each in names if each not in kept and counts[each] == 1]
    free = [each for each in free if not is_nested(frame[each])]
    roles.label = None if options.label is None else str(options.label)
    if roles.label is None and len(names) > 1:
        roles.label = _find_label(frame, [each for each in free if each not in roles.left_out])
    if roles.label is not None:
        same = (each for each in free if _says_the_same(frame[each], frame[roles.label]))
        roles.leave_out((each for each in same if each != roles.label), "the labels again")
    if wanted:
        others = [each for each in names if each not in map(str, wanted) and each != roles.label]
        roles.leave_out(others, "not asked for")
    roles.leave_out((e for e in known.left_out if e in free and e != roles.label), "as in the fit")
    rest = [each for each in free if each not in roles.left_out and each != roles.label]
    if any(is_nested(frame.iloc[:, i]) for i in range(len(names))):
        texts = [each for each in rest if frame[each].dtype.kind not in "biuf"]
        roles.leave_out(texts, "text beside lists of numbers")
        rest = [each for each in rest if each not in texts]
    for each in rest:
        reason = _reason_to_leave_out(frame[each], each, each == names[0])
        # A table of one column is not left without any.
        if reason and len(names) - len(roles.left_out) - (roles.label is not None) > 1:
            roles.leave_out([each], reason)
    return roles


def _find_label(frame: Any, names: list[str]) -> str | None:
    """The column that is called as labels are and holds such: whole numbers or text, repeated."""
    lower = {each.lower().replace(" ", "_"): each for each in reversed(names)}
    for wanted in LABEL_NAMES:
        found = lower.get(wanted)
        if found is None or (wanted == "y" and "x" in map(str.lower, frame.columns)):
            continue  # x and y are coordinates
        values = frame[found].dropna()  # of some points the label may be unknown
        is_number = values.dtype.kind in "iuf"
        is_whole = values.dtype.kind != "f" or bool((values % 1 == 0).all())
        # Whole numbers called as amounts are may be counts, which take many values.
        most = len(values) ** 0.5 if is_number and wanted in AMOUNT_NAMES else len(values) / 2
        if is_whole and 0 < values.nunique() <= max(2, most):
            return found
    # Without names, text beside numbers is a class, as the tables of UCI have it.
    texts = [each for each in names if frame[each].dtype.kind not in "biufmM"]
    if list(frame.columns) == [str(i) for i in range(frame.shape[1])] and len(texts) == 1:
        values = frame[texts[0]]
        is_at_end = texts[0] in (frame.columns[0], frame.columns[-1])
        if is_at_end and values.notna().all() and 1 < values.nunique() <= len(values) / 4:
            return texts[0]
    return None


def _says_the_same(values: Any, labels: Any) -> bool:
    """Whether text tells points apart as labels do."""
    if values.dtype.kind in "biufmM" or getattr(labels, "ndim", 1) != 1:
        return False
    counts = (values.nunique(), labels.nunique(), len(set(zip(values, labels, strict=True))))
    return len(set(counts)) == 1


def _reason_to_leave_out(values: Any, name: str, is_first: bool) -> str | None:
    """Why a column says nothing of the points, if so."""
    if values.isna().all():
        return "empty"
    is_whole = values.dtype.kind in "iu" and not values.isna().any()
    is_text = values.dtype.kind not in "biuf"
    is_unnamed = re.fullmatch(r"(Unnamed: \d+(\.\d+)?)?", name) is not None
    if is_whole and len(values) >= _COUNTED_ROWS and bool((values.diff().iloc[1:] == 1).all()):
        return "numbers the rows"
    if is_whole and is_first and is_unnamed:
        return "names the rows"
    if values.dtype.kind == "f" and (values % 1 == 0).all() and values.abs().max() < 2**53:
        values, is_whole = values.astype(np.int64), True  # as pandas has them beside missing ones
    is_name = (is_first and is_unnamed) or ROW_NAME.fullmatch(name)
    if is_name and (is_whole or is_text) and values.is_unique:
        return "names the rows"
    if is_text:
        return _reason_of_text(values)
    if is_whole and _are_written_dates(values, name):
        return "dates"
    if is_whole and re.fullmatch(_TIME, name) and values.min() > _FIRST_SECOND:
        return "dates"
    if is_whole and re.fullmatch(_ID, name) and values.nunique() > most_categories(len(values)):
        return "numbers what rows belong to"
    return None


def _reason_of_text(values: Any) -> str | None:
    """Why a column of text or times says nothing of the points, if so."""
    texts = distinct_texts(values)
    if _are_dates(values, texts):
        return "dates"
    if len(texts) == 1 and values.notna().all():
        return "the same in each row"
    is_many = len(texts) > most_categories(len(values))
    if is_many and not _is_stray_text(values.dropna(), texts).any():
        return f"{len(texts)} different texts"
    return None


def _describe(roles: _Roles) -> str:
    parts = [] if roles.label is None else [f"labels: {roles.label}"]
    if roles.left_out:
        names = [f"{name or 'without a name'} ({why})" for name, why in roles.left_out.items()]
        parts.append(f"left out: {listed(names)}")
    return "; ".join(parts)


# -- what is in them ----------------------------------------------------------------------------


def _without_missing(
    frame: Any, missing: str | None, fill: dict[str, Any], name: str, remedy: str
) -> tuple[Any, str]:
    """The frame without missing values, and what was done; raises unless that was asked for.

    `fill` are values by the names of columns; others are filled with what they hold themselves.
    """
    holes = frame.isna()
    if not holes.to_numpy().any():
        return frame, ""
    rows = holes.any(axis=1).to_numpy()
    if missing is None:
        counts = zip(frame.columns, holes.sum().tolist(), strict=True)
        where = listed([f"{column} ({count})" for column, count in counts if count])
        got = f"missing values in columns {where}, the first in row {rows.argmax()}"
        checks.fail(name, got, f"a value in each row: {remedy}")
    if missing == "drop":
        if rows.all():
            checks.fail(name, "missing values in every row", "missing='mean', or other columns")
        frame = frame.loc[~rows].infer_objects()
        note = f"{rows.sum()} of {len(rows)} rows left out, and not counted: missing values"
        return frame, note
    filled = {}
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if column in fill:
            filled[place] = values.fillna(fill[column])
            continue
        if values.isna().all():
            checks.fail(name, f"no value in column {column!r}", "some; drop that column")
        is_number = values.dtype.kind in "iuf"
        filled[place] = values.fillna(values.mean() if is_number else values.mode().iloc[0])
    import pandas

    result = pandas.DataFrame(filled, index=frame.index).infer_objects()
    result.columns = frame.columns
    return result, f"{holes.to_numpy().sum()} missing values filled in"


def _check_texts(frame: Any, name: str, remedy: str) -> None:
    """Raises for columns of dates, and for text amid numbers."""
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if values.dtype.kind in "biufc":
            continue
        texts = distinct_texts(values)
        if _are_dates(values, texts):
            got = f"dates in column {column!r}, such as {str(values.iloc[0])!r}"
            checks.fail(name, got, f"numbers or categories: make such of it; {remedy}")
        is_stray = _is_stray_text(values, texts)
        if is_stray.any():
            row = is_stray.argmax()
            text = str(values.iloc[row])
            got = f"numbers and text in column {column!r}, such as {text!r} in row {row}"
            checks.fail(name, got, f"rows of numbers, or text throughout; {remedy}")


def _are_written_dates(values: Any, name: str) -> bool:
    """Whether whole numbers are dates such as 20240131, or 240131 where the name says so."""
    import pandas

    is_date, is_month = (re.search(each, name.lower()) for each in ("date", "month|period|yyyymm"))
    if is_date and _FIRST_SERIAL <= values.min() and values.max() <= _LAST_SERIAL:
        return True
    form = "%Y%m%d" if values.min() >= _FIRST_DATE else "%Y%m" if is_month else "%y%m%d"
    if form == "%y%m%d" and not is_date or values.max() > _LAST_DATE:
        return False
    text = values.astype(str).str.zfill(6)
    return bool(pandas.to_datetime(text, format=form, errors="coerce").notna().all())


def _are_dates(values: Any, texts: Sequence[str]) -> bool:
    """Whether a column, whose different values are given as text, too, holds dates or times."""
    return values.dtype.kind in "mM" or (bool(texts) and all(map(_DATE.fullmatch, texts)))


def _is_stray_text(values: Any, texts: Sequence[str]) -> NDArray[np.bool_]:
    """`[N]` whether a value is none of the numbers that most of a column is; codes are no numbers.

    Codes are few values, such as 0, 1, 2 and "3+". `texts` are the different values.
    """
    none = np.zeros(len(values), dtype=bool)
    if len(texts) <= min(most_categories(len(values)), len(values) / _ROWS_PER_CODE):
        return none
    others = {text for text in texts if not _is_float(text)}
    is_text = values.map(str).isin(others).to_numpy()
    return is_text if is_text.sum() <= len(values) / 2 else none


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
