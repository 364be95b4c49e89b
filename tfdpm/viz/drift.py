"""A picture of what has become of clusters in new points."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.viz.colors import cluster_colors

_MOST_ROWS = 40


def plot_drift(drift: Any, *, ax: Any = None) -> Any:
    """Draws the share of each cluster in the fit (hollow) and in new points (filled).

    Clusters that changed are labelled with what they did; the last row are points like no cluster.

    Args:
        drift: what `model.drift(x)` returned. Of more than 40 clusters those with the smallest
            p-values are drawn.
        ax: matplotlib axes; new ones if `None`.

    Returns:
        The matplotlib axes.

    Raises:
        TypeError: if `drift` is something else.
        ImportError: without matplotlib, naming the extra that brings it.
    """
    if not hasattr(drift, "table"):
        checks.fail("drift", type(drift).__name__, "what `model.drift(x)` returned", TypeError)
    pyplot = checks.import_optional("matplotlib.pyplot", "plot_drift", "viz")
    table = drift.table
    least = np.fmin(table["share_p"], table["shift_p"].fillna(1.0))
    chosen = table.loc[np.sort(table.index[least.argsort(kind="stable")[:_MOST_ROWS]])]
    chosen = chosen.loc[[*chosen.index[chosen.index >= 0], *chosen.index[chosen.index < 0]]]
    if ax is None:
        size = (7, 1.5 + 0.3 * len(chosen))
        ax = pyplot.subplots(figsize=size, layout="constrained")[1]
    colors = np.array([*cluster_colors(len(table) - 1), "#8a949e"])[chosen.index]
    rows = np.arange(len(chosen))
    before, now = 100 * chosen["share_before"], 100 * chosen["share_now"]
    ax.hlines(rows, before.fillna(now), now, color=colors, linewidth=2)
    ax.scatter(before, rows, s=45, facecolor="none", edgecolor=colors, label="in the fit")
    ax.scatter(now, rows, s=45, color=colors, label="in the new points")
    for row, (change, *ends) in enumerate(zip(chosen["change"], before, now, strict=True)):
        ax.annotate(f"  {change}", (np.nanmax(ends), row), va="center", fontsize=9)
    names = [f"cluster {k}" if k >= 0 else "like none" for k in chosen.index]
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.margins(x=0.2)
    ax.set_xlabel("share of the points, %")
    ax.legend(loc="best", fontsize=9)
    return ax
