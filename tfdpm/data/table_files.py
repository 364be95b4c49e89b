"""Files of tables as frames, by the ends of their names."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.data.cells import MISSING_CELLS, is_text
from tfdpm.data.columns import listed
from tfdpm.data.csv_files import (
    HEAD_ROWS,
    OPENERS,
    count_titles,
    has_header,
    read_csv,
)


def _read_excel(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads the first sheet of a workbook that has some rows of two columns, or else its first."""
    import pandas

    options: dict[str, Any] = {"keep_default_na": False, "na_values": MISSING_CELLS}
    try:
        sheets = pandas.read_excel(path, sheet_name=None, header=None, dtype=object, **options)
    except ImportError as error:
        # openpyxl comes with the extra; what reads .ods and .xls depends on pandas' version.
        package = re.search(r"to install (?:the )?([\w-]+)", str(error))
        needed = package[1] if package and package[1] != "openpyxl" else "'tfdpm[tables]'"
        wanted = f"what reads it: pip install {needed}"
        checks.fail(name, repr(str(path)), wanted, ImportError)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if path.suffix.lower() == ".xls" and b"\0" not in path.read_bytes()[:4096]:
            return read_csv(path, header, name)  # text, as which many programs write .xls
        checks.fail(name, f"{str(path)!r}, which cannot be read ({error})", "an Excel file")
    sheets = {key: sheet.dropna(how="all") for key, sheet in sheets.items()}
    tables = (key for key, sheet in sheets.items() if len(sheet) > 2 and sheet.shape[1] > 1)
    chosen = next(tables, next(iter(sheets)))
    frame, form = sheets[chosen], f"sheet {chosen}" if len(sheets) > 1 else ""
    if frame.empty:
        return frame, form
    head = frame.head(HEAD_ROWS).to_numpy()
    rows = [["" if cell != cell else str(cell) for cell in row] for row in head]
    lines = io.StringIO()
    csv.writer(lines).writerows([[" ".join(cell.split()) for cell in row] for row in rows])
    skipped = count_titles(lines.getvalue().splitlines())
    frame, rows = frame.iloc[skipped:].reset_index(drop=True), rows[skipped:]
    if has_header(rows) if header is None else header:
        names = [f"Unnamed: {i}" if cell == "" else cell for i, cell in enumerate(rows[0])]
        frame = frame.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    return frame.infer_objects(), form


def _read_json(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads records or columns, or a record on each line."""
    import pandas

    del header
    lines = ".json" not in map(str.lower, path.suffixes)
    options: dict[str, Any] = {"dtype": False, "encoding": "utf-8-sig"}
    for has_lines in (lines, not lines):
        try:
            frame = pandas.read_json(path, lines=has_lines, **options)
            if {"columns", "data"} <= set(frame.columns):
                frame = pandas.read_json(path, orient="split", **options)
        except (ValueError, AttributeError, TypeError) as error:
            reason = checks.one_line(error)
            continue
        if frame.shape[1] == 1 and all(isinstance(each, dict) for each in frame.iloc[:, 0]):
            frame = pandas.DataFrame(frame.iloc[:, 0].tolist())  # records below one name
        form = ""
        if frame.index.dtype.kind not in "iu":
            form = f"rows: {listed([*map(str, frame.index)])}"
            is_mixed = all(is_text(each) and each.nunique() > 1 for _, each in frame.items())
            if is_mixed or list(frame.columns) == [*range(frame.shape[1])]:
                frame, form = frame.T, ""  # a record for each row by its name or number
        return frame.reset_index(drop=True).infer_objects(), form
    checks.fail(name, f"{str(path)!r}, which cannot be read ({reason})", "rows of a table in JSON")


def _read_arrow(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads Parquet and Feather files."""
    import pandas

    del header
    checks.import_optional("pyarrow", name, "tables")  # with which pandas reads the file
    suffix = path.suffix.lower()
    read = pandas.read_parquet if suffix == ".parquet" else pandas.read_feather
    try:
        frame = read(path)
        has_names = all(each is not None for each in frame.index.names)
        return frame.reset_index(drop=not has_names), ""
    except (OSError, ValueError):
        checks.fail(name, f"{str(path)!r}, which cannot be read", f"a {suffix} file")


def _read_arff(path: Path, header: bool | None, name: str) -> tuple[Any, str]:
    """Reads the files of Weka and OpenML."""
    import pandas
    from scipy.io import arff

    del header
    try:
        with open(path, encoding="utf-8-sig") as file:
            frame = pandas.DataFrame(arff.loadarff(file)[0])
    except (OSError, ValueError, NotImplementedError, arff.ArffError) as error:
        got = f"{str(path)!r}, which cannot be read ({checks.one_line(error)})"
        checks.fail(name, got, "an .arff file of numbers and categories")
    for column, dtype in frame.dtypes.items():
        if dtype.kind == "O":
            text = frame[column].str.decode("utf-8")
            frame[column] = text.mask(text.isin(MISSING_CELLS))
    return frame, ""


READERS: dict[str, Callable] = {
    ".csv": read_csv, ".tsv": read_csv, ".txt": read_csv, ".dat": read_csv,
    ".data": read_csv, ".zip": read_csv, ".xlsx": _read_excel, ".xls": _read_excel,
    ".ods": _read_excel, ".json": _read_json, ".jsonl": _read_json, ".ndjson": _read_json,
    ".parquet": _read_arrow, ".feather": _read_arrow, ".arff": _read_arff,
}  # fmt: skip


def reader_of(path: Path) -> Callable | None:
    """What reads a file of that name; text may be compressed."""
    *_, before, last = ["", "", *path.suffixes]
    inside = READERS.get(before.lower())
    if last.lower() in OPENERS and inside in (read_csv, _read_json):
        return inside
    return READERS.get(last.lower())
