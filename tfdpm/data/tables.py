"""Tables in files: how they are written, which columns are clustered, and which are not."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data.columns import Columns, is_nested, spread_lists

# Names of columns of known labels, the likeliest first; numbers and case do not count.
LABEL_NAMES = (
    "label", "labels", "target", "targets", "class", "classes", "species", "variety", "true_label",
    "class_label", "ground_truth", "groundtruth", "diagnosis", "category", "y",
)  # fmt: skip
_MISSING = ("", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>", "?", "-", ".")
_MISSING_MARKS = ["?", "-", "."]  # that pandas does not know
_SEPARATORS = ("\t", ";", "|", ",", " ")  # decimals may be commas, and text has spaces
_NO_SEPARATOR = "\x1f"  # which text does not hold
_SEPARATOR_NAMES = {"\t": "tabs", " ": "spaces"}
_ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")  # the last can read anything
_OPENERS: dict[str, Callable] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open,
    ".zip": lambda path, mode: zipfile.Path(path, zipfile.ZipFile(path).namelist()[0]).open(mode),
}  # fmt: skip
_BROKEN = (OSError, EOFError, IndexError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
_HEAD_BYTES = 2**18  # of a file, by which separator and header are found
_HEAD_ROWS = 200
_RAGGED = 0.1  # share of rows of another length, from which on a separator is none
_COUNTED_ROWS = 20  # fewest rows, of which a column that counts them says nothing else

_NUMBER = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_COMMA_NUMBER = r"[+-]?(\d+|\d{1,3}(\.\d{3})+)?(,\d+)?([eE][+-]?\d+)?"
_GROUPED_NUMBER = r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?([eE][+-]?\d+)?"
_DATE = (
    r"(\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4}/\d{1,2}/\d{1,2}"
    r"|[A-Z][a-z]{2,8}\.? \d{1,2},? \d{4}|\d{1,2}[ .-]+[A-Z][a-z]{2,8}[ .-]\d{2,4})([ T].*)?"
)
# Marks beside and within numbers: currencies, percent, and thousands apart by what is no comma.
_MARKS = r"(?<![^+-])[$€£¥]\s*|\s*[%€$£¥°]$|(?<=\d)['’ \u00a0\u2009\u202f](?=\d{3}(?!\d))"
# Names of columns that name or number rows.
ROW_NAME = re.compile(
    r"(?i:unnamed: 0(\.\d+)?|index|row[ _.]?(names?|id|no|number|index)?|#|nr|no)"
    r"|(?i:.*\bid|.*_id|id_.*)|.*[a-z]I[dD]|"
)


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
    return _reader_of(Path(path)) is not None


def read_table(
    path: Path, options: TableOptions, name: str, known: Columns | None = None
) -> tuple[Any, NDArray[Any] | None]:
    """Reads a table as a frame of what is clustered, and its known labels or `None`.

    `known` are the columns of a fit, which no guess leaves out. The frame's `attrs` say, for
    `Columns`, which columns were left out and how the file was read.
    """
    frame, form = _reader_of(path)(path, options.header, name)
    frame.columns = [" ".join(str(each).split()) for each in frame.columns]
    if len(frame) == 0:
        checks.fail(name, f"{str(path)!r}, which is empty", "rows of numbers or text")
    origin = f"from {path.name}; {form}" if form else f"from {path.name}"
    return choose_columns(frame, options, name, origin, known)


def choose_columns(
    frame: Any, options: TableOptions, name: str, origin: str, known: Columns | None = None
) -> tuple[Any, NDArray[Any] | None]:
    """What is clustered of a frame, and its known labels or `None`, as `read_table` gives them.

    `origin` says in words where the frame came from.
    """
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
    frame, note = _without_missing(frame, missing, fill, name)
    _check_texts(frame, name)
    frame.attrs["tfdpm"] = {
        "left_out": (*roles.left_out, *([] if roles.label is None else [roles.label])),
        "origin": "; ".join(filter(None, [origin, _describe(roles), note])),
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
    free = [each for each in names if each not in kept and names.count(each) == 1]
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
        values = frame[found]
        is_whole = values.dtype.kind != "f" or bool((values % 1 == 0).all())
        if is_whole and values.notna().all() and values.nunique() <= max(2, len(values) / 2):
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
    is_unnamed = re.fullmatch(r"(Unnamed: \d+(\.\d+)?)?", name) is not None
    if (is_unnamed or name.isdecimal()) and values.isna().all():
        return "empty"
    if values.dtype.kind == "f" or values.isna().any():
        return None
    is_whole = values.dtype.kind in "iu"
    is_counting = is_whole and bool((values.diff().iloc[1:] == 1).all())
    if is_counting and len(values) >= _COUNTED_ROWS:
        return "numbers the rows"
    if is_first and is_unnamed and (is_whole or values.is_unique):
        return "names the rows"
    if ROW_NAME.fullmatch(name) and values.is_unique:
        return "names the rows"
    return None


def _describe(roles: _Roles) -> str:
    parts = [] if roles.label is None else [f"labels: {roles.label}"]
    if roles.left_out:
        names = (f"{name or 'without a name'} ({why})" for name, why in roles.left_out.items())
        parts.append(f"left out: {', '.join(names)}")
    return "; ".join(parts)


# -- what is in them ----------------------------------------------------------------------------


def _without_missing(
    frame: Any, missing: str | None, fill: dict[str, Any], name: str
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
        where = ", ".join(f"{column} ({count})" for column, count in counts if count)
        got = f"missing values in columns {where}, the first in row {rows.argmax()}"
        wanted = "a value in each row: missing='drop' leaves those rows out, missing='mean' fills "
        wanted += "in means (--missing drop or mean), and drop=[...] (--drop) leaves a column out"
        checks.fail(name, got, wanted)
    if missing == "drop":
        if rows.all():
            checks.fail(name, "missing values in every row", "missing='mean', or other columns")
        frame = frame.loc[~rows].infer_objects()
        return frame, f"{rows.sum()} of {len(rows)} rows left out: missing values"
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


def _check_texts(frame: Any, name: str) -> None:
    """Raises for columns of dates, and for text amid numbers."""
    import pandas

    advice = "; or leave the column out by drop (--drop)"
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if values.dtype.kind in "biufc":
            continue
        text = values.astype(str)
        if values.dtype.kind in "mM" or text.str.fullmatch(_DATE).all():
            got = f"dates in column {column!r}, such as {text.iloc[0]!r}"
            checks.fail(name, got, "numbers or categories: make numbers of them" + advice)
        is_text = pandas.to_numeric(text, errors="coerce").isna().to_numpy()
        if 0 < is_text.sum() <= len(text) / 2:
            row = is_text.argmax()
            got = f"numbers and text in column {column!r}, such as {text.iloc[row]!r} in row {row}"
            checks.fail(name, got, "rows of numbers, or text throughout" + advice)


# -- how files are written ----------------------------------------------------------------------


def _read_text(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads text with separators; returns the frame and how it was written, where unusually."""
    try:
        with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except _BROKEN as error:
        checks.fail(name, f"{str(path)!r}, which cannot be read ({error})", "a table as text")
    if head.lstrip()[:1] == b"<":
        checks.fail(name, f"{str(path)!r}, which begins as HTML or XML does", "a table as text")
    encodings = ("utf-16",) if head[:2] in (b"\xff\xfe", b"\xfe\xff") else _ENCODINGS
    if b"\0" in head and len(encodings) > 1:
        encodings = ("utf-16-le",) if head[1:2] == b"\0" else ("utf-16-be",)
    for encoding in encodings:
        lines = head.decode(encoding, errors="replace").splitlines()
        if len(head) == _HEAD_BYTES:
            lines = lines[:-1]
        try:
            frame, form = _read_lines(path, lines[: 2 * _HEAD_ROWS], header, encoding, name)
        except UnicodeDecodeError:
            continue
        return frame, "; ".join(form + [f"encoding {encoding}"] * (encoding != "utf-8-sig"))
    checks.fail(name, f"{str(path)!r}, which cannot be decoded", "text in UTF-8")


def _read_lines(
    path: Path, lines: list[str], header: bool | None, encoding: str, name: str
) -> tuple[Any, list[str]]:
    import pandas

    skipped = _count_comments(lines)
    skipped += _count_titles(lines[skipped:])
    rows, separator = _split(lines[skipped:])
    if not rows:
        checks.fail(name, f"{str(path)!r}, which is empty", "rows of numbers or text")
    has_names = _has_header(rows) if header is None else header
    width = len(rows[0])
    more = Counter(map(len, rows)).most_common(1)[0][0] - width if has_names else 0
    options: dict[str, Any] = {}
    if more > 0 and all(row[-1] == "" for row in rows if len(row) > width):
        options = {"index_col": False, "usecols": range(width)}  # separators end the rows
    elif more > 1 or (more == 1 and not _names_rows(rows)):
        checks.fail(name, f"{str(path)!r} with rows longer than the header", "rows of one length")
    options |= dict(
        sep=r"\s+" if separator == " " else separator, header=0 if has_names else None,
        skiprows=skipped, skipinitialspace=True, encoding=encoding, na_values=_MISSING_MARKS,
        low_memory=False,
    )  # fmt: skip
    form = []
    if separator not in (",", _NO_SEPARATOR):
        form.append(f"separator {_SEPARATOR_NAMES.get(separator, separator)}")
    source: Any = path
    try:
        cells = width + max(more, 0)
        has_comments = any(_is_comment(each, separator, cells) for each in lines[skipped + 1 :])
        frame = None if has_comments else _unless_of_comments(path, options)
        if frame is None:
            source = _without_comments(path, encoding, skipped, separator, cells)
            frame = pandas.read_csv(source, **options)
        notation = _notation(frame, separator)
        if notation:
            if source is not path:
                source.seek(0)
            frame = pandas.read_csv(source, **options, **notation)
            form.append(", ".join(f"{kind} {mark}" for kind, mark in notation.items()))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        checks.fail(name, f"{str(path)!r}: {checks.one_line(error)}", "rows, all of one length")
    marked = _take_off_marks(frame, notation or {})
    _read_lists(frame)
    if marked:
        form.append(f"numbers with marks: {', '.join(map(str, marked))}")
    if has_names:
        frame = frame.rename(columns=lambda each: str(each).removeprefix("#").strip())
    if more > 0 and "index_col" not in options:
        form.append("names of the rows left out")
    return frame.reset_index(drop=True), form


def _count_comments(lines: list[str]) -> int:
    """Number of leading lines that are no rows; the last line with # may hold the names."""
    if lines and re.fullmatch(r"sep=.", lines[0]):
        return 1  # for spreadsheets
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if 0 < count < len(lines):
        pair, _ = _split(lines[count - 1 : count + 1])
        count -= len(pair[0]) == len(pair[-1]) > 1
    return count


def _count_titles(lines: list[str]) -> int:
    """Number of leading lines of words above a table, which have one cell where rows have more."""
    rows, separator = _split(lines)
    if separator == _NO_SEPARATOR or not rows:
        return 0
    width = Counter(map(len, rows)).most_common(1)[0][0]
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    count, is_short = 0, False
    for row in reader:
        filled = [cell.strip() for cell in row if cell.strip()]
        if len(row) >= width > 1 and any(map(_is_number, filled)):
            return count if is_short else 0  # the first row of numbers
        if len(filled) == 1 and not _is_number(filled[0]):
            count, is_short = reader.line_num, len(row) == 1 < width - 1
        elif filled:
            is_short = True  # names of columns below the titles
        elif count == reader.line_num - 1:
            count += 1  # an empty row below a title
    return 0


def _unless_of_comments(path: Path, options: dict[str, Any]) -> Any:
    """The frame of a file; `None` where lines between its rows may be comments."""
    import pandas

    try:
        frame = pandas.read_csv(path, **options)
    except UnicodeDecodeError:
        raise
    except ValueError:
        return None
    first, last = frame.iloc[:, 0], frame.iloc[:, -1]
    if frame.shape[1] == 1 or first.dtype.kind in "biuf":
        return frame
    return None if (first.astype(str).str.startswith("#") & last.isna()).any() else frame


def _without_comments(
    path: Path, encoding: str, skipped: int, separator: str, width: int
) -> io.StringIO:
    """The text of a file without lines that begin with # below its header and are no rows."""
    with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
        lines = file.read().decode(encoding).splitlines(keepends=True)
    kept = [
        line
        for i, line in enumerate(lines)
        if i <= skipped or not _is_comment(line, separator, width)
    ]
    return io.StringIO("".join(kept))


def _is_comment(line: str, separator: str, width: int) -> bool:
    """Whether a line below the header begins with # and has not as many cells as rows have."""
    return line.startswith("#") and len(line.split(separator)) != width


def _split(lines: list[str]) -> tuple[list[list[str]], str]:
    """Cells of the first rows, and the separator between them."""
    best: tuple[float, list[list[str]], str] | None = None
    for separator in _SEPARATORS:
        cut = [line.strip(" ") for line in lines] if separator == " " else lines
        rows = list(csv.reader(cut, delimiter=separator, skipinitialspace=True))
        rows = [[cell.strip() for cell in row] for row in rows]
        rows = [row for row in rows if any(row)][:_HEAD_ROWS]
        if not rows:
            continue
        widths = Counter(map(len, rows))
        width = max(widths, key=lambda each: (widths[each], each))
        is_header_short = len(rows[0]) == width - 1
        share = widths[width] / max(1, len(rows) - is_header_short)
        if width == 1 or (len(rows[0]) == 1 and is_header_short and not _names_rows(rows)):
            continue
        if share >= 1 - _RAGGED and (len(rows[0]) == width or is_header_short):
            return rows, separator
        if best is None or share > best[0]:
            best = share, rows, separator
    if best is not None:
        return best[1:]
    rows = list(csv.reader(lines, delimiter=_NO_SEPARATOR))
    return [[row[0].strip()] for row in rows if "".join(row).strip()][:_HEAD_ROWS], _NO_SEPARATOR


def _names_rows(rows: list[list[str]]) -> bool:
    """Whether the first cells of rows that are longer than the header differ, as names do."""
    firsts = [row[0] for row in rows[1:]]
    return len(set(firsts)) == len(firsts)


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row holds names: text above numbers, or numbers that count columns."""
    first, rest = rows[0], [row for row in rows[1:] if len(row) >= len(rows[0])]
    if not rest:
        return not any(map(_is_number, first))
    if len(rest[0]) > len(first):
        return True  # names of rows have no name
    columns = list(zip(*rest, strict=False))
    is_numeric = [
        any(map(_is_number, column)) and all(_is_number(c) or _is_missing(c) for c in column)
        for column in columns
    ]
    pairs = list(zip(first, is_numeric, strict=False))
    if any(numeric and not _is_number(c) and not _is_missing(c) for c, numeric in pairs):
        return True
    if not any(is_numeric):
        cells = zip(first, columns, strict=False)
        return len(set(first)) == len(first) and not any(cell in below for cell, below in cells)
    names = first[first[0] == "" :]
    if not all(re.fullmatch(r"\d+", cell) for cell in names):
        return False
    steps = np.diff(np.array(names, np.int64)).tolist()
    if len(set(steps)) > 1 or min(steps, default=1) <= 0 or (not steps and names != ["0"]):
        return False
    has_fractions = all(
        np.mean([bool(re.search("[.,]", cell)) for cell in column]) > 0.5
        for column, numeric in zip(columns[first[0] == "" :], is_numeric[first[0] == "" :],
                                   strict=True)
        if numeric
    )  # fmt: skip
    if has_fractions:
        return len(names) > 2 or steps in ([], [1])
    return first[0] == "" or (len(names) > 3 and steps[0] == 1 and int(names[0]) in (0, 1))


def _notation(frame: Any, separator: str) -> dict[str, str] | None:
    """How text columns that are numbers with commas are to be read; `None` without any."""
    notations: list[dict[str, str]] = []
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        if values.dtype.kind in "biuf":
            continue
        text = _take_marks_off(values.dropna())
        if not text.str.contains(",", regex=False).any():
            continue
        is_grouped = text.str.fullmatch(_GROUPED_NUMBER).all()
        if text.str.fullmatch(_COMMA_NUMBER).all() and not (is_grouped and separator == ","):
            has_groups = text.str.contains(".", regex=False).any()
            notations.append({"decimal": ",", **({"thousands": "."} if has_groups else {})})
        elif is_grouped:
            notations.append({"decimal": ".", "thousands": ","})
    # Of two notations commas before decimals are the surer one, and so is one with groups.
    return max(notations, key=lambda each: (each["decimal"] == ",", len(each)), default=None)


def _read_lists(frame: Any) -> None:
    """Puts arrays for text such as "[0.5, 1]", as which lists and arrays are written."""
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        if values.dtype.kind in "biuf" or not values.map(str).str.fullmatch(r"(?s)\[.*\]").all():
            continue
        cells = [text.strip("[]").replace(",", " ").split() for text in values]
        if all(_is_number(cell) for row in cells for cell in row):
            arrays = np.empty(len(cells), dtype=object)
            arrays[:] = [np.array(row, np.float64) for row in cells]
            frame.isetitem(place, arrays)


def _take_marks_off(values: Any) -> Any:
    """Text without what stands beside and within numbers, such as % and spaces."""
    text = values.astype(str).str.strip().str.replace(_MARKS, "", regex=True)
    return text.str.replace("\N{MINUS SIGN}", "-")


def _take_off_marks(frame: Any, notation: dict[str, str]) -> list[str]:
    """Puts numbers for text that is numbers but for marks; returns the names of those columns."""
    import pandas

    found = []
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if values.dtype.kind in "biuf" or values.isna().all():
            continue
        text = _take_marks_off(values.dropna())
        if notation.get("decimal") == ",":
            text = text.str.replace(".", "").str.replace(",", ".")
        elif "thousands" in notation:
            text = text.str.replace(",", "")
        if text.str.fullmatch(_NUMBER.pattern, case=False).all():
            numbers = pandas.to_numeric(text, errors="coerce")
            if numbers.notna().all():
                frame.isetitem(place, numbers.reindex(values.index))
                found.append(column)
    return found


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _is_missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _read_excel(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads the first sheet of a workbook."""
    import pandas

    try:
        frame = pandas.read_excel(path, header=None, dtype=object, na_values=_MISSING_MARKS)
    except ImportError as error:
        wanted = f"what reads it: pip install 'tfdpm[tables]' ({error})"
        checks.fail(name, repr(str(path)), wanted, ImportError)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        checks.fail(name, f"{str(path)!r}, which cannot be read ({error})", "an Excel file")
    frame = frame.dropna(how="all").reset_index(drop=True)
    if frame.empty:
        return frame, ""
    head = frame.head(_HEAD_ROWS).to_numpy()
    rows = [["" if cell != cell else str(cell) for cell in row] for row in head]
    if _has_header(rows) if header is None else header:
        names = [f"Unnamed: {i}" if cell == "" else cell for i, cell in enumerate(rows[0])]
        frame = frame.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    return frame.infer_objects(), ""


def _read_json(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads records or columns, or a record on each line."""
    import pandas

    del header
    lines = path.suffix.lower() != ".json"
    options: dict[str, Any] = {"dtype": False, "encoding": "utf-8-sig"}
    for has_lines in (lines, not lines):
        try:
            frame = pandas.read_json(path, lines=has_lines, **options)
            if {"columns", "data"} <= set(frame.columns):
                frame = pandas.read_json(path, orient="split", **options)
        except (ValueError, AttributeError, TypeError) as error:
            reason = checks.one_line(error)
            continue
        if frame.index.dtype.kind not in "iu" and list(frame.columns) == [*range(frame.shape[1])]:
            frame = frame.T  # a record for each row by its number
        return frame.reset_index(drop=True).infer_objects(), ""
    checks.fail(name, f"{str(path)!r}, which cannot be read ({reason})", "rows of a table in JSON")


def _read_parquet(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    import pandas

    del header
    checks.import_optional("pyarrow", name, "tables")  # with which pandas reads the file
    try:
        return pandas.read_parquet(path).reset_index(drop=True), ""
    except (OSError, ValueError):
        checks.fail(name, f"{str(path)!r}, which cannot be read", "a .parquet file")


READERS: dict[str, Callable] = {
    ".csv": _read_text, ".tsv": _read_text, ".txt": _read_text, ".dat": _read_text,
    ".data": _read_text, ".xlsx": _read_excel, ".xls": _read_excel, ".json": _read_json,
    ".jsonl": _read_json, ".ndjson": _read_json, ".parquet": _read_parquet,
}  # fmt: skip


def _reader_of(path: Path) -> Callable | None:
    """What reads a file of that name; text may be compressed."""
    *_, before, last = ["", "", *path.suffixes]
    if last.lower() in _OPENERS and READERS.get(before.lower()) is _read_text:
        return _read_text
    return READERS.get(last.lower())
