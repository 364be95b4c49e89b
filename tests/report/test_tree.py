"""Genealogies as charts: hand-made families whose layout is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tfdpm.report import tree
from tfdpm.viz.history import trace_search


def node(parents, step=0, kind="split", stage="search", ratio=1.0):
    return SimpleNamespace(
        parents=parents, step=step, kind=kind, stage=stage, size=10.0, log_ratio=ratio
    )


# 0 splits into 1 and 2; 2 into 3 and 4; then 1 and 3 merge into 5.
FAMILY = [
    node((), kind="start", ratio=float("nan")),
    node((0,), 0),
    node((0,), 0),
    node((2,), 1),
    node((2,), 1),
    node((1, 3), 2, "merge"),
]


def test_k_and_evidence_are_counted_move_by_move() -> None:
    found = ([1, 2, 3, 2], [0.0, 1.0, 2.0, 3.0])  # what one move made counts once
    assert trace_search(FAMILY) == found
    assert trace_search([*FAMILY, node((4,), 9, stage="training")]) == found


def test_parents_stand_above_the_middle_of_their_children() -> None:
    across, down = tree.place_nodes([each.parents for each in FAMILY])
    np.testing.assert_array_equal(down, [0, 1, 1, 2, 2, 3])
    assert across[2] == (across[3] + across[4]) / 2
    assert across[1] == across[5]
    leaves = across[[3, 4, 5]]
    assert len(set(leaves)) == 3


def test_the_chart_names_the_clusters_of_today() -> None:
    lines, dots = tree.draw_tree(FAMILY, [5, 4]).data
    assert list(dots.text) == ["", "", "", "", "1", "0"]
    assert "cluster 0 of today" in dots.hovertext[5]
    assert "nats" not in dots.hovertext[0]
    assert list(lines.x).count(None) == 6  # one line for each parent of each node


def test_a_model_tells_its_own_tree(model) -> None:
    counts, gains = trace_search(model.tree_.nodes)
    assert gains[-1] > 0
    assert counts[-1] == model.n_clusters == 4
    assert len(tree.draw_tree(model.tree_.nodes, model.tree_.current).data) == 2
