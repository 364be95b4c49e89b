"""Ours and printed numbers as a picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

__all__ = ["draw"]

_ROW_INCHES = 0.22


def draw(rows: list[dict[str, Any]], title: str, path: Path) -> Path | None:
    """Draws dots for what we measured and for what is printed, one panel for each metric.

    Args:
        rows: as in the results of `run`.
        title: of the picture.
        path: of a .png file.

    Returns:
        The path; `None` without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    names = list(dict.fromkeys(f"{row['data']}: {row['method']}" for row in rows))
    height = 1.2 + _ROW_INCHES * len(names)
    figure = Figure(figsize=(2.5 + 3 * len(metrics), height), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for key, color, marker, shift in (
            ("printed", "0.55", "s", 0.15),
            ("ours", "#2f6db5", "o", -0.15),
        ):
            own = [row for row in rows if row["metric"] == metric and row[key]]
            heights = [names.index(f"{row['data']}: {row['method']}") + shift for row in own]
            axes.errorbar(
                [row[key]["mean"] for row in own],
                heights,
                xerr=[row[key]["std"] or 0 for row in own],
                fmt=marker,
                color=color,
                markersize=4,
                label=key,
            )
        axes.set_title(metric)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names)), names, fontsize=7)
    panels[0].invert_yaxis()
    panels[-1].legend(fontsize=7)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    return path
