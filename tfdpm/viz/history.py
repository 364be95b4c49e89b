"""Curves of a fit: its search move by move, then clusters, losses and scores by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdpm import checks

LOSSES = ("loss", "subcluster_loss")
SCORES = ("nmi", "ari", "acc")
MOVE_COLORS = {"accepted_splits": "#54a24b", "accepted_merges": "#e45756"}

History = Mapping[str, Sequence[float | None]]


def plot_history(history: History | Any) -> Any:
    """Draws how K was found: by the search from move to move, and then from epoch to epoch.

    Accepted splits are upward triangles, merges downward ones. Losses and scores follow.

    Args:
        history: a model that was trained, or values of each epoch by name, as in Keras's
            `History.history`, which know nothing of the search.

    Returns:
        `[n]` matplotlib axes: the search, where one made moves, K by epoch, the losses, and the
        scores where labels were given.

    Raises:
        RuntimeError: if the model was not trained since it was made or loaded.
        ValueError: if there is no `n_clusters` in the history.
        ImportError: without matplotlib; the error names the extra.
    """
    counts: list[int] = []
    if not isinstance(history, Mapping):
        recorded = getattr(history, "history", None)
        if recorded is None:
            got = "a model that was not trained here"
            checks.fail("history", got, "a fit first", RuntimeError)
        tree = getattr(history, "tree_", None)  # alternating models have none
        counts, gains = trace_search(() if tree is None else tree.nodes)
        history = recorded.history
    if not history.get("n_clusters"):
        checks.fail("history", f"entries {sorted(history)}", "n_clusters of at least one epoch")
    pyplot = checks.import_optional("matplotlib.pyplot", "plot_history", "viz")
    ticker = checks.import_optional("matplotlib.ticker", "plot_history", "viz")
    scores = [name for name in SCORES if history.get(name)]
    has_search = len(counts) > 1
    panels = 2 + has_search + bool(scores)
    figure, axes = pyplot.subplots(1, panels, figsize=(4 * panels, 3), layout="constrained")
    if has_search:
        _draw_search(axes[0], counts, gains)
    of_counts, of_losses, *of_scores = axes[int(has_search) :]
    epochs, counts = _curve(history["n_clusters"])
    # A single epoch has no line.
    of_counts.step(epochs, counts, where="mid", color="0.4", marker=".", label="clusters")
    for (name, color), marker in zip(MOVE_COLORS.items(), "^v", strict=True):
        moves = list_moves(history, name)
        if moves:
            at_epochs, at_counts, _ = zip(*moves, strict=True)
            label = name.replace("_", " ")
            of_counts.scatter(at_epochs, at_counts, marker=marker, color=color, label=label)
    of_counts.set_title(f"number of clusters, at the end {int(counts[-1])}")
    of_counts.set_ylim(0, max(counts) * 1.15 + 1)
    for name in LOSSES:
        if history.get(name):
            of_losses.plot(*_curve(history[name]), label=name, marker=".")
    of_losses.set_title("losses")
    for panel in of_scores:
        for name in scores:
            panel.plot(*_curve(history[name]), label=name.upper(), marker=".")
        panel.set(title="agreement with known labels", ylim=(0, 1.02))
    for each in axes[int(has_search) :]:
        each.set(xlabel="epoch", xlim=(0.5, len(history["n_clusters"]) + 0.5))
        each.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        if each.get_legend_handles_labels()[0]:
            each.legend(fontsize=8)
    return axes


def _draw_search(axes: Any, counts: list[int], gains: list[float]) -> None:
    """Draws K from move to move on the left axis, and the evidence on the right."""
    moves = range(len(counts))
    axes.step(moves, counts, where="post", color="0.4", marker=".", label="clusters")
    axes.set(title="search before the first epoch", xlabel="move", ylabel="clusters")
    axes.set_ylim(0, max(counts) * 1.15 + 1)
    right = axes.twinx()
    right.plot(moves, gains, color="#4c78a8", marker=".", markersize=3)
    right.set_ylabel("evidence gained (nats)", color="#4c78a8")


def trace_search(nodes: Sequence[Any]) -> tuple[list[int], list[float]]:
    """Returns K and the log evidence gained, nats, before the search and after each of its moves.

    The nodes are those of a `Genealogy`; steps that made no cluster are no moves.
    """
    counts, gains = [sum(not node.parents for node in nodes)], [0.0]
    in_search = [node for node in nodes if node.parents and node.stage == "search"]
    for step in sorted({node.step for node in in_search}):
        born = [node for node in in_search if node.step == step]
        ended = {parent for node in born for parent in node.parents}
        counts.append(counts[-1] + len(born) - len(ended))
        # All clusters that one move made know its ratio.
        ratios = {node.parents: node.log_ratio for node in born}
        gains.append(gains[-1] + sum(ratios.values()))
    return counts, gains


def list_moves(history: History, name: str) -> list[tuple[int, float, float]]:
    """Returns epoch (from 1), K and number of moves for each epoch with an accepted move."""
    numbers = history.get(name) or ()
    counts = zip(*_curve(history["n_clusters"]), strict=True)
    moves = dict(enumerate(numbers, 1))
    return [(epoch, count, moves[epoch]) for epoch, count in counts if moves.get(epoch)]


def _curve(values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Returns epochs, from 1, and the values there; values that are not finite are left out."""
    numbers = np.array(values, float)  # NaN for None
    epochs = np.flatnonzero(np.isfinite(numbers))
    return (epochs + 1).tolist(), numbers[epochs].tolist()
