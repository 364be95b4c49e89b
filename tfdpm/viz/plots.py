"""The map of a fitted model, with matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.extra import load
from tfdpm.viz.maps import ClusterMap, cluster_map, ellipses, regions
from tfdpm.viz.view import View

__all__ = ["draw", "plot"]

_MOST_NUMBERED = 60  # clusters; more numbers would hide the picture


def plot(
    model: Any,
    view: View,
    *,
    projection: str = "auto",
    decision_regions: bool = True,
    axes: Any = None,
) -> Any:
    """Draws points by cluster, components as ellipses of two standard deviations, and regions.

    Args:
        model: a fitted model.
        view: the points.
        projection: see `cluster_map`.
        decision_regions: whether the background shows which cluster each place belongs to.
        axes: matplotlib axes to draw on; new ones if `None`.

    Returns:
        The matplotlib axes.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    pyplot = load("matplotlib.pyplot", "plot")
    plane = cluster_map(model, view, projection)
    if axes is None:
        axes = pyplot.subplots(figsize=(6, 6), layout="constrained")[1]
    draw(model, plane, axes, plane.limits, decision_regions=decision_regions)
    axes.set_title(f"{len(plane.weights)} clusters: {plane.title}", fontsize=10)
    return axes


def draw(
    model: Any,
    plane: ClusterMap,
    axes: Any,
    limits: np.ndarray,
    *,
    decision_regions: bool = True,
    resolution: int = 200,
) -> None:
    """Draws a map on matplotlib axes; arguments as for `plot` and `regions`."""
    colors = load("matplotlib.colors", "plot")
    count = len(plane.weights)
    palette = np.array([colors.to_rgb(color) for color in cluster_colors(count)])
    if decision_regions:
        owners = regions(model, plane, limits, resolution)
        faded = 1.0 - 0.22 * (1.0 - palette)
        extent = (*limits[0], *limits[1])
        axes.imshow(faded[owners], extent=extent, origin="lower", aspect="auto", zorder=0)
    size = float(np.clip(6000 / max(len(plane.points), 1), 1.5, 12))
    axes.scatter(*plane.points.T, c=palette[plane.labels], s=size, linewidths=0, zorder=1)
    for k, outline in enumerate(ellipses(plane.means, plane.covariances)):
        axes.plot(*outline, color="black", linewidth=0.9, zorder=2)
        if count <= _MOST_NUMBERED:
            axes.text(
                *plane.means[k],
                str(k),
                ha="center",
                va="center",
                fontsize=8,
                zorder=3,
                clip_on=True,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
            )
    axes.set(xlabel=plane.axis_names[0], ylabel=plane.axis_names[1])
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
