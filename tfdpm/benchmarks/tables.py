"""Records and summaries of benchmarks as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tfdpm.benchmarks.records import Record

_FILE_WIDTH = 140  # characters of a line where the output is not a terminal
# Digits after the point; other floats get three significant digits.
_DIGITS = {"nmi": 3, "ari": 3, "acc": 3, "clusters": 1, "seconds": 1, "cpu_seconds": 1}
_SCORES = {
    "data": "data",
    "method": "method",
    "nmi": "NMI",
    "ari": "ARI",
    "acc": "ACC",
    "clusters": "K",
    "each_clusters": "each K",
    "seconds": "seconds",
}


def make_console() -> Console:
    """Returns a console whose tables are not cut where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)


def print_table(title: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table whose first column is left-aligned; floats get three significant digits."""
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    make_console().print(table)


def print_records(title: str, records: Iterable[Record], columns: Mapping[str, str]) -> None:
    """Prints a row for each record; `columns` maps the keys that are shown to their headings."""
    rows = [[_format(key, record.get(key, "")) for key in columns] for record in records]
    print_table(title, columns.values(), rows)


def print_scores(title: str, summary: Sequence[Record]) -> None:
    """Prints scores, K and seconds of a summary by data set and method.

    Where there are several data sets, a last row for each method has its mean over them.
    """
    rows = list(summary)
    if len({row["data"] for row in summary}) > 1:
        for method in dict.fromkeys(row["method"] for row in summary):
            own = [row for row in summary if row["method"] == method]
            means = {key: sum(row[key]["mean"] for row in own) / len(own) for key in _DIGITS}
            rows.append({"data": "mean", "method": method, **means})
    print_records(title, rows, _SCORES)


def format_mean(value: Mapping[str, float], digits: int = 3) -> str:
    """Returns a mean with its standard deviation, such as "0.902 ± 0.013"."""
    return f"{value['mean']:.{digits}f} ± {value['std']:.{digits}f}"


def _format(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return format_mean(value, _DIGITS[key])
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return f"{value:.{_DIGITS[key]}f}" if isinstance(value, float) and key in _DIGITS else value
