"""Ours and printed numbers as a table: a line for each method, two columns for each metric."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["show"]

_COARSE = ("K", "top-1")  # numbers, not shares
_WIDTH = 140  # columns of a table that goes into a file

Row = dict[str, Any]


def show(title: str, metrics: tuple[str, ...], results: Row) -> None:
    """Prints the table, the remarks on printed numbers, and what is missing.

    Args:
        title: of the table.
        metrics: its columns.
        results: what `run` writes.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    rows = results["rows"]
    remarks = list(dict.fromkeys(row["remark"] for row in rows if row["remark"]))
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in ("data", "method"):
        table.add_column(column)
    for metric in metrics:
        table.add_column(metric, justify="right")
        table.add_column("printed", justify="right", style="dim")
    cells = {(row["data"], row["method"], row["metric"]): row for row in rows}
    before = None
    for data, method in dict.fromkeys((row["data"], row["method"]) for row in rows):
        if before not in (None, data):
            table.add_section()
        own = (cells.get((data, method, metric)) for metric in metrics)
        values = [value for row in own for value in _values(row, remarks)]
        table.add_row(data if data != before else "", method, *values)
        before = data
    console.print(table)
    for number, remark in enumerate(remarks, 1):
        console.print(f"[{number}] {remark}", markup=False, highlight=False)
    for line in results["missing"]:
        console.print(f"missing: {line}", markup=False, highlight=False, soft_wrap=True)


def _values(row: Row | None, remarks: list[str]) -> tuple[str, str]:
    """Our number and the printed one; what was not run or not printed stays empty."""
    if row is None:
        return "", ""
    digits = 1 if row["metric"] in _COARSE else 3
    ours = _spread(row["ours"], digits, row["runs"]) if row["ours"] else "-"
    if row["printed"] is None:
        return ours, ""
    mark = f" \\[{remarks.index(row['remark']) + 1}]" if row["remark"] else ""
    return ours, _as_printed(row["printed"], row["metric"]) + mark


def _spread(value: dict[str, float], digits: int, runs: int) -> str:
    mean = f"{value['mean']:.{digits}f}"
    return mean if runs < 2 else f"{mean} ± {value['std']:.{digits}f}"


def _as_printed(value: dict[str, float | None], metric: str) -> str:
    form = {"K": "g", "top-1": ".1f"}.get(metric, ".2f")
    mean = f"{value['mean']:{form}}"
    if value["std"] is None:
        return mean
    std = f"{value['std']:g}" if metric in _COARSE else f"{value['std']:.2f}"
    return f"{mean} ± {std if float(std) == value['std'] else value['std']}"
