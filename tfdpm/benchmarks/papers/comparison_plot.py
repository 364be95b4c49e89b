"""Our numbers beside the printed ones as a plot."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from tfdpm.benchmarks.records import Record

__all__ = ["plot_comparison", "plot_epochs"]

_ROW_INCHES = 0.24
_PRINTED, _OURS = "0.45", "#2f6db5"
_WITH_K = re.compile(r"(.*?),? ?(?:from|with) K (\d+)$")


def plot_comparison(
    rows: list[Record], title: str, path: Path, *, by_k: bool = False
) -> Path | None:
    """Plots one panel for each metric.

    Args:
        rows: `rows` of an experiment.
        title: title of the plot.
        path: PNG file that is written.
        by_k: whether methods differ by the K in their names and become curves over K; otherwise
            each method has a line of dots.
    Returns:
        The path, or `None` where matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    count = len({(row["data"], row["method"]) for row in rows})
    size = (4 * len(metrics), 3.6) if by_k else (2.5 + 3 * len(metrics), 1.2 + _ROW_INCHES * count)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=not by_k, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        own = [row for row in rows if row["metric"] == metric]
        (_plot_curves if by_k else _plot_dots)(axes, own, rows)
        axes.set_title(metric)
        axes.grid(alpha=0.3, axis="both" if by_k else "x")
        counted = axes.yaxis if by_k else axes.xaxis
        if metric == "K":
            counted.get_major_locator().set_params(integer=True)
    if by_k or count > 1:
        handles, names = panels[-1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=7)
    figure.suptitle(title, fontsize=10 if len(metrics) > 1 else 8)
    figure.savefig(path, dpi=120)
    return path


def plot_epochs(records: list[Record], rows: list[Record], path: Path) -> Path | None:
    """Plots K by epoch: one panel for each data set, a line for each fit, printed K dotted.

    Args:
        records: `records` of an experiment, those of fits with `clusters_by_epoch`.
        rows: `rows` of the experiment, whose printed K is drawn.
        path: PNG file that is written.
    Returns:
        The path, or `None` where matplotlib is not installed or no record tells K by epoch.
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
            [height[row["data"], row["method"]] + shift for row in own],
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


def _plot_curves(axes, rows: list[Record], _: list[Record]) -> None:
    """Plots our values over the K in the methods' names, and other values as level lines."""
    curves: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    levels = []
    for row in rows:
        match = _WITH_K.match(row["method"])
        if match is None:
            levels.append(row)
        elif row["ours"]:
            key = (row["data"], match[1])
            point = (int(match[2]), row["ours"]["mean"], row["ours"]["std"])
            curves.setdefault(key, []).append(point)
    for (data, method), points in curves.items():
        label = f"{data}: {method}" if method else data
        axes.errorbar(*zip(*sorted(points), strict=True), fmt="o-", markersize=4, label=label)
    for index, row in enumerate(levels):
        for key, style in (("ours", "-"), ("printed", ":")):
            if row[key]:
                label = f"{row['data']}: {row['method']}, {key}"
                color = f"C{len(curves) + index}"
                axes.axhline(row[key]["mean"], color=color, linestyle=style, label=label)
    axes.set_xlabel("K that is given")
