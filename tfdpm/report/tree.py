"""The genealogy of a model's clusters: the chart of the tree, and K from move to move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdpm.report.charts import empty_figure
from tfdpm.viz.colors import cluster_colors

__all__ = ["count_clusters_by_step", "place_nodes", "draw_tree"]


def count_clusters_by_step(nodes: Sequence[Any]) -> list[int]:
    """Returns K at the start and after each step of the search that changed it.

    Args:
        nodes: nodes of a `Genealogy`, in the order of birth.
    """
    counts = [sum(not node.parents for node in nodes)]
    in_search = [node for node in nodes if node.parents and node.stage == "search"]
    for step in sorted({node.step for node in in_search}):
        born = [node for node in in_search if node.step == step]
        ended = {parent for node in born for parent in node.parents}
        counts.append(counts[-1] + len(born) - len(ended))
    return counts


def place_nodes(parents: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns horizontal positions `[n]` and generations `[n]` of the nodes of a genealogy.

    A node without children takes the next free position; one with children the mean of theirs.

    Args:
        parents: parents of each node, all born before it. A node is a child of the first of them.
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
    order = []
    while waiting:
        node = waiting.pop()
        order.append(node)
        if not children[node]:
            across[node] = free
            free += 1
        waiting.extend(children[node][::-1])
    for node in reversed(order):
        if children[node]:
            across[node] = np.mean([across[child] for child in children[node]])
    return across, generations


def draw_tree(nodes: Sequence[Any], current: Sequence[int]) -> Any:
    """Draws one dot for each cluster that ever was, present clusters in their colours.

    Args:
        nodes: nodes of a `Genealogy`.
        current: node of each present cluster, `[K]`.
    """
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
    palette = cluster_colors(len(today))
    figure.add_scatter(
        x=across,
        y=down,
        mode="markers+text",
        marker={
            "size": [15 if index in today else 8 for index in range(len(nodes))],
            "color": [
                palette[today[index]] if index in today else "#8a949e"
                for index in range(len(nodes))
            ],
        },
        text=[str(today[index]) if index in today else "" for index in range(len(nodes))],
        textposition="bottom center",
        hovertext=[_describe_node(node, today.get(index)) for index, node in enumerate(nodes)],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(autorange="reversed", dtick=max(1, int(down.max()) // 8))
    figure.update_layout(showlegend=False, meta={"height": 420})
    return figure


def _describe_node(node: Any, cluster: int | None) -> str:
    name = "no longer there" if cluster is None else f"cluster {cluster} of today"
    text = f"{name}<br>{node.size:,.0f} points at birth, of the {node.stage}<br>made by {node.kind}"
    return text if np.isnan(node.log_ratio) else f"{text}, log ratio {node.log_ratio:+.1f} nats"
