"""Our numbers beside the printed ones as a plot."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path

from tfdpm.benchmarks.records import Record

_ROW_INCHES = 0.24
_PRINTED, _OURS = "0.45", "#2f6db5"
_WITH_K = re.compile(r"(.*?),? ?(?:from|with) K (\d+)$")


def plot_comparison(
    rows: list[Record], title: str, path: Path, *, by_k: bool = False
) -> Path | None:
    """Plots `rows` of an experiment to a PNG file, one panel for each metric.

    Methods have a line of dots each or, with `by_k`, are curves over the K in their names. Returns
    the path, or `None` where matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    lines = list(dict.fromkeys((row["data"], row["method"]) for row in rows))
    sets = list(dict.fromkeys(data for data, _ in lines))
    if not by_k or all(_read_k(method)[0] == "" for _, method in lines):
        sets = [""]  # all data in one row of panels, a line for each
    height = 3.4 * len(sets) if by_k else 1.2 + _ROW_INCHES * len(lines)
    width = 4 * len(metrics) if by_k else 2.5 + 3 * len(metrics)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(sets), len(metrics), sharey=not by_k, squeeze=False)
    for (data, panels), (index, metric) in itertools.product(
        zip(sets, grid, strict=True), enumerate(metrics)
    ):
        axes = panels[index]
        own = [row for row in rows if row["metric"] == metric and data in ("", row["data"])]
        (_plot_curves if by_k else _plot_dots)(axes, own, rows)
        axes.set_title(f"{data}: {metric}" if data else metric, fontsize=10)
        axes.grid(alpha=0.3, axis="both" if by_k else "x")
        counted = axes.yaxis if by_k else axes.xaxis
        if metric == "K":
            counted.get_major_locator().set_params(integer=True)
    told = (axes.get_legend_handles_labels() for axes in grid.ravel())
    handles = {name: handle for each in told for handle, name in zip(*each, strict=True)}
    if len(handles) > 1:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=4 + 2 * by_k, fontsize=7
        )
    figure.suptitle(title, fontsize=10 if len(metrics) > 1 else 8)
    figure.savefig(path, dpi=120)
    return path


def plot_epochs(records: list[Record], rows: list[Record], path: Path) -> Path | None:
    """Plots K by epoch: one panel for each data set, a line for each fit, printed K dotted.

    Of the records, those of fits have `clusters_by_epoch`; the rows tell the printed K. Returns
    the path, or `None` where matplotlib is not installed or no record tells K by epoch.
    """
    told = [each for each in records if "clusters_by_epoch" in each]
    if importlib.util.find_spec("matplotlib") is None or not told:
        return None
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(each["data"] for each in told))
    methods = list(dict.fromkeys(each["method"] for each in told))
    printed = {row["data"]: row["printed"] for row in rows if row["metric"] == "K"}
    count = -(-len(sets) // 3)
    figure = Figure(figsize=(3.4 * min(len(sets), 3), 0.6 + 2.4 * count), layout="constrained")
    panels = figure.subplots(count, min(len(sets), 3), squeeze=False).ravel()
    for axes in panels[len(sets) :]:
        axes.remove()
    for axes, data in zip(panels, sets, strict=False):
        for record in (each for each in told if each["data"] == data):
            history = record["clusters_by_epoch"]
            style = {"color": f"C{methods.index(record['method'])}", "alpha": 0.6}
            axes.step(
                range(1, len(history) + 1), history, "o-", where="post", markevery=[-1], **style
            )
        if printed.get(data):
            axes.axhline(printed[data]["mean"], color=_PRINTED, linestyle=":")
        axes.set(title=data, xscale="log", xlabel="epoch", ylabel="K")
    for index, method in enumerate(methods):
        panels[0].plot([], [], color=f"C{index}", label=method)
    figure.legend(loc="outside lower center", ncols=len(methods), fontsize=8)
    figure.savefig(path, dpi=120)
    return path


def _plot_dots(axes, rows: list[Record], every_row: list[Record]) -> None:
    """Plots dots with standard deviations; lines separate the data sets."""
    lines = list(dict.fromkeys((row["data"], row["method"]) for row in every_row))
    height = {line: index for index, line in enumerate(lines)}
    is_paired = any(row["printed"] for row in every_row)
    for key, label, style, shift in (
        ("printed", "printed", {"fmt": "s", "color": _PRINTED}, 0.16),
        ("flagged", "printed, see remarks", {"fmt": "s", "color": _PRINTED, "mfc": "white"}, 0.16),
        ("ours", "ours", {"fmt": "o", "color": _OURS}, -0.16),
    ):
        own = [row for row in rows if _has_number(row, key)]
        if not own:
            continue
        values = [row["ours" if key == "ours" else "printed"] for row in own]
        axes.errorbar(
            [value["mean"] for value in values],
            [height[row["data"], row["method"]] + shift * is_paired for row in own],
            xerr=[_read_std(row, value) for row, value in zip(own, values, strict=True)],
            markersize=4,
            label=label,
            **style,
        )
    for index in range(1, len(lines)):
        if lines[index][0] != lines[index - 1][0]:
            axes.axhline(index - 0.5, color="0.8", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [f"{data}: {method}" for data, method in lines], fontsize=7)
    axes.set_ylim(len(lines) - 0.5, -0.5)


def _read_std(row: Record, value: dict[str, float | None]) -> float:
    is_mistaken = value is row["printed"] and "standard deviation" in row["remark"]
    return 0.0 if is_mistaken else value["std"] or 0.0


def _has_number(row: Record, key: str) -> bool:
    if key == "ours":
        return bool(row["ours"])
    return bool(row["printed"]) and bool(row["remark"]) == (key == "flagged")


def _read_k(method: str) -> tuple[str | None, int]:
    """Returns what a method's name says besides K, or `None` where it has no K, and K."""
    match = _WITH_K.match(method)
    return (None, 0) if match is None else (match[1], int(match[2]))


def _plot_curves(axes, rows: list[Record], every_row: list[Record]) -> None:
    """Plots our values over the K in the methods' names, and other values as level lines."""
    names = list(dict.fromkeys(_name_curve(row) for row in every_row))
    # Of lines at one height all are seen, as the later ones have gaps.
    styles = {name: (f"C{index}", ("-", "--", "-.")[index % 3]) for index, name in enumerate(names)}
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for row in rows:
        name, (start, given_k) = _name_curve(row), _read_k(row["method"])
        color, style = styles[name]
        if start is None:
            for key, own_style in (("ours", style), ("printed", ":")):
                if row[key]:
                    label = f"{name}, {key}"
                    axes.axhline(row[key]["mean"], color=color, linestyle=own_style, label=label)
        elif row["ours"]:
            point = (given_k, row["ours"]["mean"], row["ours"]["std"])
            curves.setdefault(name, []).append(point)
            axes.set_xlabel("K that is given" if start else "initial K")
    for name, points in curves.items():
        color, style = styles[name]
        counts, means, deviations = zip(*sorted(points), strict=True)
        axes.plot(counts, means, f"o{style}", color=color, markersize=4, label=name)
        axes.errorbar(counts, means, deviations, fmt="none", ecolor=color)


def _name_curve(row: Record) -> str:
    name = _read_k(row["method"])[0]
    return row["method"] if name is None else name or row["data"]
