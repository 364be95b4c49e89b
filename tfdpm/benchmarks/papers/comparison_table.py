"""Our numbers beside the printed ones as a table, with two columns for each metric."""

from __future__ import annotations

from rich import box
from rich.table import Table

from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.tables import format_mean, make_console


def print_comparison(title: str, metrics: tuple[str, ...], results: Record) -> None:
    """Prints `rows` of an experiment, remarks on printed numbers, and the `missing` data sets."""
    console = make_console()
    rows = results["rows"]
    remarks = list(dict.fromkeys(row["remark"] for row in rows if row["remark"]))
    tables, count = [_make_table(title, metrics, rows, remarks)], len(metrics)
    # Side by side as far as they fit, and else below one another.
    unlimited = console.options.update_width(10_000)
    while count > 1 and any(
        console.measure(each, options=unlimited).maximum > console.width for each in tables
    ):
        count -= 1
        parts = [metrics[first : first + count] for first in range(0, len(metrics), count)]
        tables = [_make_table(title, part, rows, remarks) for part in parts]
    for table in tables:
        console.print(table)
    for number, remark in enumerate(remarks, 1):
        console.print(f"[{number}] {remark}", markup=False, highlight=False)
    for line in results["missing"]:
        console.print(f"missing: {line}", markup=False, highlight=False, soft_wrap=True)


def _make_table(
    title: str, metrics: tuple[str, ...], rows: list[Record], remarks: list[str]
) -> Table:
    """Makes a table of some metrics, with the methods that have any of them."""
    rows = [row for row in rows if row["metric"] in metrics]
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in ("data", "method"):
        table.add_column(column)
    for metric in metrics:
        table.add_column(metric, justify="right")
        table.add_column("printed", justify="right", style="dim")
    table.add_column("runs", justify="right")
    cells = {(row["data"], row["method"], row["metric"]): row for row in rows}
    before = None
    for data, method in dict.fromkeys((row["data"], row["method"]) for row in rows):
        if before not in (None, data):
            table.add_section()
        own = [cells.get((data, method, metric)) for metric in metrics]
        values = [value for row in own for value in _format_pair(row, remarks)]
        runs = max(row["runs"] for row in own if row is not None)
        table.add_row(data if data != before else "", method, *values, str(runs or ""))
        before = data
    return table


def _format_pair(row: Record | None, remarks: list[str]) -> tuple[str, str]:
    """Formats our number and the printed one; a number that does not exist stays empty."""
    if row is None:
        return "", ""
    digits = 1 if _is_coarse(row["metric"]) else 3
    ours = _format_ours(row["ours"], digits, row["runs"]) if row["ours"] else "-"
    if row["printed"] is None:
        return ours, ""
    mark = f" \\[{remarks.index(row['remark']) + 1}]" if row["remark"] else ""
    return ours, _format_printed(row["printed"], row["metric"]) + mark


def _is_coarse(metric: str) -> bool:
    """Returns whether a metric has one digit after the point: K and what is in per cent."""
    return metric in ("K", "mAP") or "top-" in metric


def _format_ours(value: dict[str, float], digits: int, runs: int) -> str:
    return f"{value['mean']:.{digits}f}" if runs < 2 else format_mean(value, digits)


def _format_printed(value: dict[str, float | None], metric: str) -> str:
    form = "g" if metric == "K" else ".1f" if _is_coarse(metric) else ".2f"
    mean = f"{value['mean']:{form}}"
    if value["std"] is None:
        return mean
    std = f"{value['std']:g}" if _is_coarse(metric) else f"{value['std']:.2f}"
    return f"{mean} ± {std if float(std) == value['std'] else value['std']}"
