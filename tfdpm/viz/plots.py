"""The map of a fitted model as a matplotlib picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.maps import ClusterMap, cluster_map, ellipses, regions
from tfdpm.viz.samples import sample_points

_NUMBER_SIZE = 8  # of clusters' numbers, points


def plot(
    model: Any,
    x: Any,
    *,
    projection: str = "auto",
    decision_regions: bool = True,
    max_points: int = 5_000,
    seed: int = 0,
    ax: Any = None,
) -> Any:
    """Draws points by cluster, components as ellipses of two standard deviations, and regions.

    Args:
        model: a fitted model; other arguments, value and errors are those of `DeepDPM.plot`.
        x: points, as for `predict`, or a `PointSample`.
    """
    pyplot = checks.import_optional("matplotlib.pyplot", "plot", "viz")
    sample = sample_points(model, x, max_points=max_points, seed=seed)
    plane = cluster_map(model, sample, projection)
    if ax is None:
        ax = pyplot.subplots(figsize=(6, 6), layout="constrained")[1]
    draw_map(model, plane, ax, plane.limits, decision_regions=decision_regions)
    ax.set_title(f"{len(plane.heaviest)} clusters: {plane.title}", fontsize=10)
    return ax


def draw_map(
    model: Any,
    plane: ClusterMap,
    axes: Any,
    limits: np.ndarray,
    *,
    decision_regions: bool = True,
    resolution: int = 200,
) -> None:
    """Draws a map on matplotlib axes; arguments as for `plot` and `regions`."""
    colors = checks.import_optional("matplotlib.colors", "plot", "viz")
    count = len(plane.heaviest)
    palette = np.array([colors.to_rgb(color) for color in cluster_colors(count)])
    if decision_regions:
        owners = regions(model, plane, limits, resolution)
        faded = 1.0 - 0.22 * (1.0 - palette)
        extent = (*limits[0], *limits[1])
        axes.imshow(faded[owners], extent=extent, origin="lower", aspect="auto", zorder=0)
    size = float(np.clip(6000 / max(len(plane.points), 1), 1.5, 12))
    axes.scatter(*plane.points.T, c=palette[plane.labels], s=size, linewidths=0, zorder=1)
    for outline in ellipses(plane.means, plane.covariances):
        axes.plot(*outline, color="black", linewidth=0.9, zorder=2)
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set(xlabel=plane.axis_names[0], ylabel=plane.axis_names[1])
    sizes = np.bincount(plane.labels, minlength=count)
    _write_numbers(axes, plane.means[plane.heaviest], np.argsort(-sizes, kind="stable"))


def _write_numbers(axes: Any, places: np.ndarray, order: np.ndarray) -> None:
    """Writes the numbers of clusters at places `[K, 2]`, but for those that would cover others.

    Those that come first in the order are written first.
    """
    transforms = checks.import_optional("matplotlib.transforms", "plot", "viz")
    points = axes.figure.dpi / 72.0
    taken: list[Any] = []
    for cluster, (x, y) in zip(order, axes.transData.transform(places[order]), strict=True):
        width, height = (0.7 * len(str(cluster)) + 0.4) * _NUMBER_SIZE * points, 11 * points
        box = transforms.Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
        if box.count_overlaps(taken) or not axes.bbox.contains(x, y):
            continue
        taken.append(box)
        axes.text(
            *places[cluster],
            str(cluster),
            ha="center",
            va="center",
            fontsize=_NUMBER_SIZE,
            zorder=3,
            clip_on=True,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
        )
