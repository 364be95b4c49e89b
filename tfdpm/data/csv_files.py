"""Tables as text, such as CSV: separators, headers, decimals and encodings are found out."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.data.cells import (
    MISSING_CELLS,
    distinct_texts,
    is_missing,
    is_number,
    is_text,
    read_numbers,
    strip_texts,
    without_notes,
    without_sum,
)

_SEPARATORS = ("\t", ";", "|", ",", " ")  # decimals may be commas, and text has spaces
_NO_SEPARATOR = "\x1f"  # which text does not hold
_SEPARATOR_NAMES = {"\t": "tabs", " ": "spaces"}
_WESTERN = ("cp1252", "latin-1")  # the last can read anything
_OTHER_SCRIPTS = (
    "gb18030", "cp932", "big5", "cp949", "cp1251", "cp1253", "cp1255", "cp1256",
)  # fmt: skip
_WORD = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")
_FOREIGN_CELL = re.compile(rb"[^,;\t|\r\n\"]*[\x80-\xff][^,;\t|\r\n\"]*")
_CELLS_LOOKED_AT = 2000
# Of the bytes of words that are not ASCII alone. Accents of Western words leave it below a half.
_FOREIGN_SHARE = 0.7
OPENERS: dict[str, Callable] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open,
    ".zip": lambda path, mode: zipfile.ZipFile(path).open(_member_of(path)),
}  # fmt: skip
_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data")
# What files of text may be, whatever the ends of their names.
_OTHER_KINDS = {
    "HTML or XML": re.compile(rb"\s*<"),
    "JSON, whatever its name": re.compile(rb"(\xef\xbb\xbf)?\s*(\{|\[\s*[\[{])"),
    "in LIBSVM's format, of which load_svmlight_file in sklearn.datasets makes (x, y)": re.compile(
        rb"[+-]?[\d.]+( qid:\d+)?( \d+:[\d.eE+-]+)+ *\r?\n"
    ),
}
_NO_FILE = re.compile(r"__MACOSX/|(.*/)?\.|.*/$")
_BROKEN = (OSError, EOFError, IndexError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
_HEAD_BYTES = 2**18  # of a file, by which separator and header are found
HEAD_ROWS = 200
_RAGGED = 0.1  # share of rows of another length, from which on a separator is none
_YEAR = re.compile(r"(19|20)\d\d")
_DIGIT = re.compile(r".*\d")
_LIST = re.compile(r"(?s)\[([^,].*[^,])?\]|\[[^,]\]")


def _member_of(path: Path) -> str:
    """The one table of text in an archive, or its one file."""
    names = [each for each in zipfile.ZipFile(path).namelist() if not _NO_FILE.match(each)]
    tables = [each for each in names if Path(each).suffix.lower() in _SUFFIXES]
    found = [each for each in tables if Path(each).suffix.lower() == ".csv"] or tables or names
    if len(found) != 1:
        raise OSError(f"it holds {len(found)} files of tables: {', '.join(found[:5])}")
    return found[0]


def read_csv(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads text with separators; returns the frame and how it was written, where unusually."""
    try:
        with _open(path) as file:
            head = file.read(_HEAD_BYTES)
    except _BROKEN as error:
        checks.fail(name, f"{str(path)!r}, which cannot be read ({error})", "a table as text")
    for kind, beginning in _OTHER_KINDS.items():
        if beginning.match(head):
            checks.fail(name, f"{str(path)!r}, which is {kind}", "a table as text")
    for encoding in _encodings_of(head):
        lines = head.decode(encoding, errors="replace").splitlines()
        if len(head) == _HEAD_BYTES:
            lines = lines[:-1]
        try:
            frame, form = _read_lines(path, lines[: 2 * HEAD_ROWS], header, encoding, name)
        except UnicodeDecodeError:
            continue
        return frame, "; ".join(form + [f"encoding {encoding}"] * (encoding != "utf-8-sig"))
    checks.fail(name, f"{str(path)!r}, which cannot be decoded", "text in UTF-8")


def decoded(text: bytes) -> str:
    """Text in one of the encodings in which tables are read."""
    for encoding in _encodings_of(text[:_HEAD_BYTES]):
        with contextlib.suppress(UnicodeDecodeError):
            return text.decode(encoding)
    return text.decode(errors="replace")


def _encodings_of(head: bytes) -> tuple[str, ...]:
    """Encodings that a file which begins so may have, the likeliest first."""
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return ("utf-32",)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ("utf-16",)
    if 4 * head.count(b"\0") > len(head):
        return ("utf-16-le",) if head[1:2] == b"\0" else ("utf-16-be",)
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # where no character was cut off
            return (*_script_of(head), *_WESTERN)
    return ("utf-8-sig", *_WESTERN)


def _script_of(head: bytes) -> tuple[str, ...]:
    """The encoding of text in letters other than Latin ones; none where they are these."""
    words = _WORD.findall(head)
    high = [len(re.sub(rb"[A-Za-z]", b"", word)) for word in words]
    if sum(high) < _FOREIGN_SHARE * sum(map(len, words)) or 2 * high.count(1) > sum(high):
        return ()
    from charset_normalizer import from_bytes

    cells = b"\n".join(_FOREIGN_CELL.findall(head)[:_CELLS_LOOKED_AT])
    found = from_bytes(cells, cp_isolation=list(_OTHER_SCRIPTS), enable_fallback=False).best()
    return () if found is None else (found.encoding,)


def _read_lines(
    path: Path, lines: list[str], header: bool | None, encoding: str, name: str
) -> tuple[Any, list[str]]:
    skipped = _count_comments(lines)
    skipped += count_titles(lines[skipped:])
    rows, separator = _split(lines[skipped:])
    if not rows:
        checks.fail(name, f"{str(path)!r}, which is empty", "rows of numbers or text")
    has_names = has_header(rows) if header is None else header
    is_words = not has_names and not any(is_number(cell) for row in rows for cell in row)
    if is_words and path.suffix.lower() == ".txt":
        wanted = "numbers, or features= a Keras model that makes rows of texts"
        checks.fail(name, "text", wanted, TypeError)
    width = len(rows[0])
    more = Counter(map(len, rows)).most_common(1)[0][0] - width if has_names else 0
    options: dict[str, Any] = {}
    if more > 0 and all(row[-1] == "" for row in rows if len(row) > width):
        options = {"index_col": False, "usecols": range(width)}  # separators end the rows
    elif (
        more > 1
        or (more == 1 and not _names_rows(rows))
        # pandas would take the first cells of all rows for their names
        or (more <= 0 and has_names and width < _first_width(rows[1:]))
    ):
        checks.fail(name, f"{str(path)!r} with rows longer than the header", "rows of one length")
    options |= dict(
        sep=r"\s+" if separator == " " else separator, header=0 if has_names else None,
        skiprows=skipped, skipinitialspace=True, encoding=encoding, keep_default_na=False,
        na_values=MISSING_CELLS, low_memory=False,
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
            frame = _frame_of(source, options)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        checks.fail(name, f"{str(path)!r}: {checks.one_line(error)}", "rows, all of one length")
    if has_names:
        frame = frame.rename(columns=lambda each: str(each).removeprefix("#").strip())
    frame = frame.reset_index(drop=True)
    has_units = has_names and _are_units(rows[1:])
    if has_units:
        frame = frame.iloc[1:]
        form.append(f"units left out: {', '.join(filter(None, rows[1]))}")
    if more > 0 and "index_col" not in options:
        form.append("names of the rows left out")
    strip_texts(frame)
    is_empty = frame.isna().all(axis=1)
    if width > 1 and is_empty.any():  # as spreadsheets leave them
        frame = frame.loc[~is_empty]
        form.append(f"{is_empty.sum()} empty rows left out, and not counted")
    frame, note = without_notes(frame)
    if width > 1 and (note or is_empty.any()):
        frame = frame.copy()
        for place in range(width):  # whole numbers, which stood beside missing values
            values = frame.iloc[:, place]
            if values.dtype.kind == "f" and (values % 1 == 0).all():
                frame.isetitem(place, values.astype(np.int64))
    shift = 0 if "index_col" in options else max(more, 0)
    body = [row[shift:] for row in rows[has_names + has_units :]]
    heads = [[row[i] for row in body if i < len(row)] for i in range(frame.shape[1])]
    marked, notation, again = read_numbers(frame, heads, separator)
    if again:  # floats for pandas, such as 1.200, whose points stand between thousands
        text = _frame_of(source, options | {"dtype": str}).reset_index(drop=True)
        for place in again:
            frame.isetitem(place, text.iloc[:, place].loc[frame.index])
        more_marked, notation, _ = read_numbers(frame, heads, separator)
        marked += more_marked
    frame, total = without_sum(frame)
    _read_lists(frame)
    form += filter(None, [notation, note, total])
    if marked:
        form.append(f"numbers with marks: {', '.join(marked)}")
    return frame.reset_index(drop=True), form


def _first_width(rows: list[list[str]]) -> int:
    """Number of cells of the first row that is no comment."""
    return next((len(row) for row in rows if not row[0].startswith("#")), 0)


def _are_units(rows: list[list[str]]) -> bool:
    """Whether the first row below the names holds words above numbers alone, such as units."""
    if len(rows) < 2:
        return False
    words = []
    for first, *rest in zip(*rows, strict=False):
        if any(map(is_number, rest)) and all(is_number(c) or is_missing(c) for c in rest):
            words.append(first)
    known = [cell for cell in words if not is_missing(cell)]
    is_many = len(words) > 1 or len(words) == len(rows[0])
    return (
        len(rows) > 1
        and is_many
        and 2 * len(known) >= len(words)
        and not any(map(_DIGIT.match, known))
    )


def _count_comments(lines: list[str]) -> int:
    """Number of leading lines that are no rows; the last line with # may hold the names."""
    if lines and re.fullmatch(r"sep=.", lines[0]):
        return 1  # for spreadsheets
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if 0 < count < len(lines):
        pair, _ = _split(lines[count - 1 : count + 1])
        count -= len(pair[0]) == len(pair[-1]) > 1
    return count


def count_titles(lines: list[str]) -> int:
    """Number of leading lines of words above a table, which have one cell where rows have more."""
    rows, separator = _split(lines)
    if separator == _NO_SEPARATOR or not rows:
        return 0
    width = Counter(map(len, rows)).most_common(1)[0][0]
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    count, is_short = 0, False
    for row in reader:
        filled = [cell.strip() for cell in row if cell.strip()]
        if len(row) >= width > 1 and any(map(is_number, filled)):
            return count if is_short else 0  # the first row of numbers
        if len(filled) == 1 and not is_number(filled[0]):
            count, is_short = reader.line_num, len(row) == 1 < width - 1
        elif filled:
            is_short = True  # names of columns below the titles
        elif count == reader.line_num - 1:
            count += 1  # an empty row below a title
    return 0


def _frame_of(source: Path | io.StringIO, options: dict[str, Any]) -> Any:
    import pandas

    if isinstance(source, Path):
        with _open(source) as file:
            return pandas.read_csv(file, **options)
    source.seek(0)
    return pandas.read_csv(source, **options)


def _open(path: Path) -> Any:
    """The bytes of a file, decompressed as its name or its first bytes say."""
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        with open(path, "rb") as file:
            opener = gzip.open if file.read(2) == b"\x1f\x8b" else open
    return opener(path, "rb")


def _unless_of_comments(path: Path, options: dict[str, Any]) -> Any:
    """The frame of a file; `None` where lines between its rows may be comments."""
    try:
        frame = _frame_of(path, options)
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
    with _open(path) as file:
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
        rows = [row for row in rows if any(row)][:HEAD_ROWS]
        if not rows:
            continue
        widths = Counter(map(len, rows))
        width = max(widths, key=lambda each: (widths[each], each))
        is_header_short = len(rows[0]) == width - 1
        share = widths[width] / max(1, len(rows) - is_header_short)
        if width == 1 or (len(rows[0]) == 1 and is_header_short and not _names_rows(rows)):
            continue
        if separator == " " and _are_sentences(rows, width):
            continue
        if share >= 1 - _RAGGED and (len(rows[0]) == width or is_header_short):
            return rows, separator
        if best is None or share > best[0]:
            best = share, rows, separator
    if best is not None:
        return best[1:]
    rows = list(csv.reader(lines, delimiter=_NO_SEPARATOR))
    return [[row[0].strip()] for row in rows if "".join(row).strip()][:HEAD_ROWS], _NO_SEPARATOR


def _are_sentences(rows: list[list[str]], width: int) -> bool:
    """Whether rows of `width` cells, cut at spaces, are words whose number differs, as in texts."""
    cells = [cell for row in rows[1:] for cell in row]
    if 2 * sum(map(is_number, cells)) >= len(cells):
        return False
    has_row_names = len(rows[0]) == width - 1 and _names_rows(rows)
    is_table = all(len(row) == width for row in rows[has_row_names:])
    return not is_table


def _names_rows(rows: list[list[str]]) -> bool:
    """Whether the first cells of rows that are longer than the header differ, as names do."""
    firsts = [row[0] for row in rows[1:]]
    return len(set(firsts)) == len(firsts)


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row holds names: text above numbers, or numbers that count columns."""
    first, rest = rows[0], [row for row in rows[1:] if len(row) >= len(rows[0])]
    if not rest:
        return not any(map(is_number, first))
    if len(rest[0]) > len(first):
        return True  # names of rows have no name
    columns = list(zip(*rest, strict=False))
    is_numeric = [
        any(map(is_number, column)) and all(is_number(c) or is_missing(c) for c in column)
        for column in columns
    ]
    pairs = list(zip(first, is_numeric, strict=False))
    if any(numeric and not is_number(c) and not is_missing(c) for c, numeric in pairs):
        return True
    if not any(is_numeric):
        cells = zip(first, columns, strict=False)
        return len(set(first)) == len(first) and not any(cell in below for cell, below in cells)
    names = first[first[0] == "" :]
    if not all(re.fullmatch(r"\d+", cell) for cell in names):
        return False
    are_years = [all(map(_YEAR.fullmatch, row[first[0] == "" :])) for row in (first, *rest)]
    if are_years[0] and len(names) > 2 and not any(are_years[1:]):
        return len(set(np.diff(np.array(names, np.int64)))) == 1
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


def _read_lists(frame: Any) -> None:
    """Puts arrays for text such as "[0.5, 1]", as which lists and arrays are written."""
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        # R names rows of matrices "[1,]".
        if not is_text(values) or values.isna().any():
            continue
        if not all(map(_LIST.fullmatch, distinct_texts(values))):
            continue
        cells = [text.strip("[]").replace(",", " ").split() for text in values]
        if all(is_number(cell) for row in cells for cell in row):
            arrays = np.empty(len(cells), dtype=object)
            arrays[:] = [np.array(row, np.float64) for row in cells]
            frame.isetitem(place, arrays)
