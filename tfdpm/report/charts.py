"""The charts of a report as plotly figures.

Coordinates are float32, which is finer than any screen and takes half the bytes.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.report.facts import Facts
from tfdpm.report.traits import number
from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.history import LOSSES, MOVE_COLORS, SCORES, list_moves
from tfdpm.viz.maps import ClusterMap, ellipses
from tfdpm.viz.samples import PointSample

_MAX_TRACES = 60  # clusters up to which each gets its own trace and entry in the legend
_SVG_POINTS = 4_000  # points up to which SVG is quick; more are drawn with WebGL
_HOVER_VALUES = 4
_MAX_CELLS = 40  # classes or clusters up to which numbers are written into the heat map
_MAX_TICKS = 12  # moves or epochs up to which each gets a tick
_MAX_WRITTEN = 14  # clusters up to which means are written into the cells
_SMALL_MAP_POINTS = 1_200
_HOVER_LETTERS, _HOVER_WIDTH = 240, 60  # of a text, and of a line of it
_BAR, _EVIDENCE = "#4c78a8", "#e0792b"

Figure = Any


def draw_map(plane: ClusterMap, sample: PointSample, facts: Facts) -> Figure:
    """Draws points and components, ellipses of two standard deviations, coloured by cluster.

    The `customdata` of a point is its position in the sample, by which its thumbnail is found. The
    last trace are the clusters' labels, the largest first; the page writes those that fit.
    """
    count = len(plane.heaviest)
    colors, ticks = cluster_colors(count), [html.escape(each, quote=False) for each in facts.ticks]
    texts = np.array(_hover_texts(sample, facts))
    figure = empty_figure(plane.axis_names[0], plane.axis_names[1])
    add_points = figure.add_scattergl if len(sample.rows) > _SVG_POINTS else figure.add_scatter
    size = float(np.clip(14_000 / max(len(sample.rows), 1), 3, 7))
    groups = range(count) if count <= _MAX_TRACES else [None]
    for k in groups:
        chosen = np.arange(len(sample.rows)) if k is None else np.flatnonzero(plane.labels == k)
        color = _colored(plane.labels, count) if k is None else {"color": colors[k]}
        add_points(
            x=np.float32(plane.points[chosen, 0]),
            y=np.float32(plane.points[chosen, 1]),
            mode="markers",
            marker={"size": size, "opacity": 0.75, **color},
            text=texts[chosen],
            customdata=chosen,
            hovertemplate="%{text}<extra></extra>",
            name="points" if k is None else html.escape(facts.names[k] or f"cluster {k}", False),
            legendgroup=str(k),
        )
    _add_outlines(figure, plane, groups, colors)
    places = plane.means[plane.heaviest][facts.order]
    figure.add_scatter(
        x=np.float32(places[:, 0]),
        y=np.float32(places[:, 1]),
        text=[f"<b>{ticks[k]}</b>" for k in facts.order],
        mode="text",
        # Few names lie on their clusters, many would cover them.
        textposition="middle center" if count <= _MAX_TRACES else "top center",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_layout(
        hovermode="closest",
        showlegend=count <= _MAX_TRACES,
        legend={"itemsizing": "constant"},
        meta={
            "thumbnails": facts.images is not None,
            "height": 620,
            "boxes": _cluster_boxes(plane),
        },
    )
    return figure


def _add_outlines(
    figure: Figure, plane: ClusterMap, groups: Iterable[int | None], colors: list[str]
) -> None:
    """Adds the ellipses of each cluster's components, or of all where the group is `None`."""
    outlines = np.array(list(ellipses(plane.means, plane.covariances)))
    outlines = np.pad(outlines, [(0, 0), (0, 0), (0, 1)], constant_values=np.nan)  # gaps between
    for k in groups:
        own = outlines if k is None else outlines[plane.clusters == k]
        line = {"width": 0.7, "color": "#888"}
        figure.add_scatter(
            x=np.float32(own[:, 0].ravel()),
            y=np.float32(own[:, 1].ravel()),
            mode="lines",
            line=line if k is None else {"width": 1.5, "color": colors[k]},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=str(k),
        )


def _colored(labels: np.ndarray, count: int) -> dict[str, Any]:
    """Returns what colours markers by their cluster `[n]`."""
    steps = np.linspace(0.0, 1.0, max(count, 2))
    scale = list(zip(steps.tolist(), cluster_colors(max(count, 2)), strict=True))
    return {"color": labels, "colorscale": scale, "cmin": 0, "cmax": max(count - 1, 1)}


def _cluster_boxes(plane: ClusterMap) -> list[list[float]]:
    """Returns left, right, bottom and top of each cluster's points, or of its component."""
    boxes = []
    for k, component in enumerate(plane.heaviest):
        own = plane.points[plane.labels == k]
        if len(own) == 0:
            own = plane.means[[component]]
        ends = np.stack([own.min(axis=0), own.max(axis=0)], axis=1)
        boxes.append([float(f"{value:.4g}") for value in ends.ravel()])
    return boxes


def draw_small_map(plane: ClusterMap, facts: Facts) -> Figure:
    """Draws the points of a map alone, without axes, for a first look."""
    figure = empty_figure("", "")
    kept = np.random.default_rng(0).permutation(len(plane.points))[:_SMALL_MAP_POINTS]
    labels, ticks = plane.labels[kept], facts.ticks
    figure.add_scattergl(
        x=np.float32(plane.points[kept, 0]),
        y=np.float32(plane.points[kept, 1]),
        mode="markers",
        marker={"size": 4, "opacity": 0.8, **_colored(labels, len(ticks))},
        text=[ticks[k] for k in labels],
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(showlegend=False, hovermode="closest")
    return figure


def _hover_texts(sample: PointSample, facts: Facts) -> list[str]:
    """Returns row, cluster, responsibility, known label, and text or first values of points."""
    texts = []
    is_table = facts.is_table
    names = facts.column_names[:_HOVER_VALUES] if is_table else []
    positions = np.searchsorted(facts.sample.rows, sample.rows)
    # Of all points at once.
    labels, confidence, ticks = sample.labels, sample.confidence, facts.ticks
    for index, row in enumerate(sample.rows):
        parts = [f"row {row}", f"{ticks[labels[index]]} ({confidence[index]:.2f})"]
        if not facts.names[labels[index]]:
            parts[1] = f"cluster {parts[1]}"
        if sample.y is not None:
            parts.append(f"label {sample.y[index]}")
        if facts.texts is not None:
            shown = textwrap.shorten(facts.texts[positions[index]], _HOVER_LETTERS, placeholder="…")
            parts += textwrap.wrap(shown, _HOVER_WIDTH)
        elif facts.columns and is_table:
            values = zip(names, sample.inputs[index], strict=False)
            parts += [f"{name} {number(value, 4)}" for name, value in values]
        elif is_table:
            values = ", ".join(f"{value:.3g}" for value in sample.inputs[index, :_HOVER_VALUES])
            parts.append(f"{values}{', …' if sample.inputs.shape[1] > _HOVER_VALUES else ''}")
        texts.append("<br>".join(html.escape(part, quote=False) for part in parts))
    return texts


def draw_search(counts: list[int], gains: list[float]) -> Figure:
    """Draws K and the evidence gained from move to move of the search that precedes the epochs."""
    figure = empty_figure("move", "clusters")
    moves = list(range(len(counts)))
    figure.add_scatter(
        x=moves,
        y=counts,
        mode="lines+markers",
        line={"shape": "hv", "color": _BAR},
        name="clusters",
    )
    figure.add_scatter(
        x=moves,
        y=np.float32(gains),
        mode="lines+markers",
        line={"color": _EVIDENCE, "dash": "dot"},
        yaxis="y2",
        name="evidence gained",
    )
    figure.update_yaxes(rangemode="tozero", dtick=_tick_step(max(counts)))
    figure.update_layout(
        yaxis2={
            "title": "evidence gained (nats)",
            "overlaying": "y",
            "side": "right",
            "tickmode": "auto",
            "showgrid": False,
            "automargin": True,
            "rangemode": "tozero",
        },
        legend={"orientation": "h", "y": 1.15},
    )
    figure.update_xaxes(dtick=_tick_step(len(counts) - 1))
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
        x=epochs,
        y=counts,
        mode="lines+markers",
        name="clusters",
        line={"shape": "hv", "color": _BAR},
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
    figure.update_yaxes(rangemode="tozero", dtick=_tick_step(max(filter(None, counts), default=1)))
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
        # One epoch is a dot, which stands alone.
        figure.update_xaxes(dtick=_tick_step(len(epochs)), range=[0.5, len(epochs) + 0.5])
    return charts


def draw_sizes(facts: Facts) -> Figure:
    """Draws the number of points in each cluster, the largest first."""
    order = facts.order
    total = max(int(facts.sizes.sum()), 1)
    shares = [f"{facts.sizes[k]:,} points, {facts.sizes[k] / total:.1%}" for k in order]
    return _cluster_bars(facts, facts.sizes[order], "points", shares)


def draw_cluster_means(facts: Facts, values: np.ndarray, axis: str) -> Figure:
    """Draws the mean over each cluster of a value `[n]` of the points, largest cluster first."""
    labels = facts.sample.labels
    counts = np.bincount(labels, minlength=len(facts.sizes))
    sums = np.bincount(labels, weights=values, minlength=len(facts.sizes))
    order = facts.order
    means = sums[order] / np.maximum(counts[order], 1)
    figure = _cluster_bars(facts, means, axis, [f"{mean:.3f}" for mean in means])
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
        x=[html.escape(facts.ticks[k], quote=False) for k in clusters],
        y=[html.escape(each, quote=False) for each in classes],
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


def draw_columns(facts: Facts, means: np.ndarray, chosen: np.ndarray) -> Figure:
    """Draws how far the mean of each chosen column in each cluster lies from that of all points.

    Args:
        facts: the numbers of the report.
        means: means of the columns in each cluster, `[K, D]`, in their units.
        chosen: positions of the columns, in the order of the rows.
    """
    values, order = facts.sample.inputs[:, chosen].astype(np.float64), facts.order
    spread = np.maximum(values.std(axis=0), np.finfo(np.float64).tiny)
    distance = ((means[:, chosen] - values.mean(axis=0)) / spread)[order].T
    names = [html.escape(facts.column_names[i], quote=False) for i in chosen]
    figure = empty_figure("cluster", "")
    figure.add_heatmap(
        z=np.float32(distance),
        x=[html.escape(facts.ticks[k], quote=False) for k in order],
        y=names,
        text=[[number(value, 4) for value in means[order, i]] for i in chosen],
        texttemplate="%{text}" if len(order) <= _MAX_WRITTEN else None,
        textfont={"size": 10},
        colorscale="RdBu_r",
        zmid=0,
        showscale=False,
        hovertemplate="%{y}, cluster %{x}<br>mean %{text}, %{z:+.1f} standard deviations"
        "<extra></extra>",
    )
    figure.update_xaxes(type="category", tickangle=0)
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_layout(meta={"height": int(np.clip(90 + 26 * len(chosen), 200, 900))})
    return figure


def _cluster_bars(facts: Facts, values: np.ndarray, axis: str, texts: list[str]) -> Figure:
    palette, order = cluster_colors(len(facts.order)), facts.order
    colors = [palette[k] for k in order]
    names = [html.escape(facts.ticks[k], quote=False) for k in order]
    hover = "cluster %{x}: %{hovertext}"
    figure = _bars("cluster", axis, names, values, hover, colors, hovertext=texts)
    figure.update_xaxes(type="category", tickangle=None if any(facts.names) else 0)
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
