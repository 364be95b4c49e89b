"""The genealogy of a model's clusters as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdpm.report.charts import empty_figure
from tfdpm.viz.colors import cluster_colors


def place_nodes(parents: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns horizontal positions `[n]` and generations `[n]` of nodes with their parents.

    A node is a child of the first of its parents, which are all born before it. One without
    children takes the next free position; one with children the mean of theirs.
    """
    children: list[list[int]] = [[] for _ in parents]
    generations = np.zeros(len(parents), np.int64)
    for node, own in enumerate(parents):
        if own:
            children[own[0]].append(node)
            generations[node] = 1 + max(generations[parent] for parent in own)
    across = np.zeros(len(parents))
    free = 0
    waiting = [node for node, own in enumerate(parents) if not own][::-1]
    while waiting:
        node = waiting.pop()
        if not children[node]:
            across[node] = free
            free += 1
        waiting.extend(children[node][::-1])
    for node in reversed(range(len(parents))):  # children, which are born later, come first
        if children[node]:
            across[node] = across[children[node]].mean()
    return across, generations


def draw_tree(nodes: Sequence[Any], current: Sequence[int]) -> Any:
    """Draws one dot for each node of a `Genealogy`, present clusters `[K]` in their colours."""
    across, down = place_nodes([node.parents for node in nodes])
    figure = empty_figure("", "generation")
    lines: list[list[float | None]] = [[], []]
    for index, node in enumerate(nodes):
        for parent in node.parents:
            lines[0] += [across[parent], across[index], across[index], None]
            lines[1] += [down[parent], down[parent], down[index], None]
    figure.add_scatter(
        x=lines[0], y=lines[1], mode="lines", line={"color": "#8a949e"}, hoverinfo="skip"
    )
    today = {node: cluster for cluster, node in enumerate(current)}
    clusters = [today.get(index) for index in range(len(nodes))]  # None for those that are gone
    palette = cluster_colors(len(today))
    figure.add_scatter(
        x=across,
        y=down,
        mode="markers+text",
        marker={
            "size": [8 if k is None else 15 for k in clusters],
            "color": ["#8a949e" if k is None else palette[k] for k in clusters],
        },
        text=["" if k is None else str(k) for k in clusters],
        textposition="bottom center",
        hovertext=[_describe_node(node, k) for node, k in zip(nodes, clusters, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(autorange="reversed", dtick=max(1, int(down.max()) // 8))
    figure.update_layout(showlegend=False, meta={"height": 420})
    return figure


def _describe_node(node: Any, cluster: int | None) -> str:
    name = "no longer there" if cluster is None else f"cluster {cluster} of today"
    made = f"made by {node.kind}, stage {node.stage}"
    text = f"{name}<br>{node.size:,.0f} points at birth<br>{made}"
    return text if np.isnan(node.log_ratio) else f"{text}, log ratio {node.log_ratio:+.1f} nats"
