"""The charts of a report as plotly figures.

Coordinates are float32, which is finer than any screen and takes half the bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.report.facts import Facts
from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.history import LOSSES, MOVE_COLORS, SCORES, list_moves
from tfdpm.viz.maps import ClusterMap, ellipses
from tfdpm.viz.samples import PointSample

_MAX_TRACES = 60  # clusters up to which each gets its own trace and entry in the legend
_SVG_POINTS = 4_000  # points up to which SVG is quick; more are drawn with WebGL
_HOVER_VALUES = 4
_MAX_CELLS = 40  # classes or clusters up to which numbers are written into the heat map
_MAX_TICKS = 12  # moves or epochs up to which each gets a tick
_BAR = "#4c78a8"

Figure = Any


def draw_map(plane: ClusterMap, sample: PointSample, has_images: bool) -> Figure:
    """Draws points and components, ellipses of two standard deviations, coloured by cluster.

    The `customdata` of a point is its position in the sample, by which its thumbnail is found.
    """
    count = len(plane.heaviest)
    colors = cluster_colors(count)
    texts = np.array(_hover_texts(sample))
    figure = empty_figure(plane.axis_names[0], plane.axis_names[1])
    add_points = figure.add_scattergl if len(sample.rows) > _SVG_POINTS else figure.add_scatter
    size = float(np.clip(14_000 / max(len(sample.rows), 1), 3, 7))
    groups = range(count) if count <= _MAX_TRACES else [None]
    for k in groups:
        chosen = np.arange(len(sample.rows)) if k is None else np.flatnonzero(plane.labels == k)
        color = np.array(colors)[plane.labels[chosen]] if k is None else colors[k]
        add_points(
            x=np.float32(plane.points[chosen, 0]),
            y=np.float32(plane.points[chosen, 1]),
            mode="markers",
            marker={"size": size, "color": color, "opacity": 0.75},
            text=texts[chosen],
            customdata=chosen,
            hovertemplate="%{text}<extra></extra>",
            name="points" if k is None else f"cluster {k}",
            legendgroup=str(k),
        )
    outlines = list(ellipses(plane.means, plane.covariances))
    for k in groups:
        own = np.arange(len(outlines)) if k is None else np.flatnonzero(plane.clusters == k)
        chosen = [outlines[component] for component in own]
        gap = np.full((2, 1), np.nan)
        line = np.concatenate([part for outline in chosen for part in (outline, gap)], axis=1)
        figure.add_scatter(
            x=np.float32(line[0]),
            y=np.float32(line[1]),
            mode="lines",
            line={"width": 1.5, "color": "#777" if k is None else colors[k]},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=str(k),
        )
    figure.update_layout(
        hovermode="closest",
        legend={"itemsizing": "constant"},
        meta={"thumbnails": has_images, "height": 620},
    )
    return figure


def _hover_texts(sample: PointSample) -> list[str]:
    """Returns row, cluster, responsibility, known label and first values of each point."""
    texts = []
    is_table = sample.inputs.ndim == 2
    width = sample.inputs.shape[1] if is_table else 0
    labels, confidence = sample.labels, sample.confidence  # of all points at once
    for index, row in enumerate(sample.rows):
        text = f"row {row}<br>cluster {labels[index]} ({confidence[index]:.2f})"
        if sample.y is not None:
            text += f"<br>label {sample.y[index]}"
        if is_table:
            values = ", ".join(f"{value:.3g}" for value in sample.inputs[index, :_HOVER_VALUES])
            text += f"<br>{values}{', …' if width > _HOVER_VALUES else ''}"
        texts.append(text)
    return texts


def draw_search(counts: list[int]) -> Figure:
    """Draws K from move to move of the search that precedes the epochs."""
    figure = empty_figure("move", "clusters")
    figure.add_scatter(
        x=list(range(len(counts))), y=counts, mode="lines+markers", line={"color": _BAR}
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(dtick=_tick_step(len(counts) - 1))
    figure.update_layout(showlegend=False)
    return figure


def draw_history(facts: Facts) -> dict[str, Figure]:
    """Draws K with accepted moves, the losses, and the scores where labels were given."""
    history = facts.history
    counts = history.get("n_clusters") or []
    if not counts:
        return {}
    epochs = list(range(1, len(counts) + 1))
    figure = empty_figure("epoch", "clusters")
    figure.add_scatter(
        x=epochs, y=counts, mode="lines", name="K", line={"shape": "hv", "color": _BAR}
    )
    for (name, color), direction in zip(MOVE_COLORS.items(), ("up", "down"), strict=True):
        moves, label = list_moves(history, name), name.replace("_", " ")
        figure.add_scatter(
            x=[epoch for epoch, _, _ in moves],
            y=[count for _, count, _ in moves],
            text=[f"{number:g} {label}" for _, _, number in moves],
            mode="markers",
            marker={"symbol": f"triangle-{direction}", "size": 11, "color": color},
            name=f"{label} ({sum(number for _, _, number in moves):g})",
        )
    figure.update_yaxes(rangemode="tozero")
    charts = {"k": figure}
    for key, names, axis in (("losses", LOSSES, "loss"), ("scores", SCORES, "score")):
        present = [name for name in names if history.get(name)]
        if not present:
            continue
        figure = empty_figure("epoch", axis)
        for name in present:
            figure.add_scatter(x=epochs, y=history[name], mode="lines+markers", name=name)
        charts[key] = figure
    for figure in charts.values():
        figure.update_layout(legend={"orientation": "h", "y": 1.15})
        figure.update_xaxes(dtick=_tick_step(len(epochs)))
    return charts


def draw_sizes(facts: Facts) -> Figure:
    """Draws the number of points in each cluster, the largest first."""
    order = facts.order
    total = max(int(facts.sizes.sum()), 1)
    shares = [f"{facts.sizes[k]:,} points, {facts.sizes[k] / total:.1%}" for k in order]
    return _cluster_bars(order, facts.sizes[order], "points", shares)


def draw_cluster_means(facts: Facts, values: np.ndarray, axis: str) -> Figure:
    """Draws the mean over each cluster of a value `[n]` of the points, largest cluster first."""
    labels = facts.sample.labels
    counts = np.bincount(labels, minlength=len(facts.sizes))
    sums = np.bincount(labels, weights=values, minlength=len(facts.sizes))
    order = facts.order
    means = sums[order] / np.maximum(counts[order], 1)
    figure = _cluster_bars(order, means, axis, [f"{mean:.3f}" for mean in means])
    figure.update_yaxes(range=[0, 1.02])
    return figure


def draw_histogram(values: np.ndarray, axis: str) -> Figure:
    """Draws a histogram of values `[n]` from 0 to 1, in 40 bins."""
    edges = np.linspace(0.0, 1.0, 41)
    middles, counts = (edges[:-1] + edges[1:]) / 2, np.histogram(values, edges)[0]
    hover = "about %{x:.2f}: %{y:,} points"
    figure = _bars(axis, "points", np.float32(middles), counts, hover)
    figure.update_layout(bargap=0.05)
    return figure


def draw_k_posterior(facts: Facts) -> Figure:
    """Draws the share of the chains of moves that ended with each K."""
    counts = sorted(facts.k_posterior)
    shares = [facts.k_posterior[k] for k in counts]
    hover, texts = "K %{x}: %{text}", [f"{share:.0%}" for share in shares]
    figure = _bars("K", "share of the chains", list(map(str, counts)), shares, hover, text=texts)
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[0, 1.08])
    return figure


def draw_confusion(facts: Facts) -> Figure:
    """Draws known classes against clusters, coloured by share of the class."""
    table, classes, clusters = facts.confusion
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure = empty_figure("cluster", "known class")
    figure.add_heatmap(
        z=shares,
        x=[str(k) for k in clusters],
        y=[str(each) for each in classes],
        text=table,
        texttemplate="%{text}" if max(table.shape) <= _MAX_CELLS else None,
        textfont={"size": 10},
        colorscale="Blues",
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="class %{y}, cluster %{x}<br>%{text} points, %{z:.1%}<extra></extra>",
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_layout(meta={"height": int(np.clip(60 + 26 * len(classes), 320, 900))})
    return figure


def _cluster_bars(order: np.ndarray, values: np.ndarray, axis: str, texts: list[str]) -> Figure:
    palette = cluster_colors(len(order))
    colors, names = [palette[k] for k in order], [str(k) for k in order]
    hover = "cluster %{x}: %{hovertext}"
    figure = _bars("cluster", axis, names, values, hover, colors, hovertext=texts)
    figure.update_xaxes(type="category", tickangle=0)
    return figure


def _bars(
    x_axis: str, y_axis: str, x: Any, y: Any, hover: str, color: Any = _BAR, **options: Any
) -> Figure:
    figure = empty_figure(x_axis, y_axis)
    hover += "<extra></extra>"
    figure.add_bar(x=x, y=y, marker={"color": color}, hovertemplate=hover, **options)
    return figure


def empty_figure(x_axis: str, y_axis: str) -> Figure:
    """Returns a figure with two axes; the page sets its colours, light or dark."""
    figure = checks.import_optional("plotly.graph_objects", "report", "viz").Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 12, "t": 24, "b": 44},
        showlegend=None,
        meta={"height": 320},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    figure.update_xaxes(title=x_axis, zeroline=False, automargin=True)
    figure.update_yaxes(title=y_axis, zeroline=False, automargin=True)
    return figure


def _tick_step(largest: int) -> int | None:
    """Returns 1, the step between ticks, for axes where plotly would mark fractions; else None."""
    return 1 if largest <= _MAX_TICKS else None
