"""Curves of a fit over its epochs: number of clusters with accepted moves, losses, scores."""

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
    """Draws K with accepted splits (upward triangles) and merges (downward), losses and scores.

    Args:
        history: values of each epoch by name, as in Keras's `History.history`, or a model that was
            trained.

    Returns:
        `[n]` matplotlib axes: K, the losses, and the scores where labels were given.

    Raises:
        RuntimeError: if the model was not trained since it was made or loaded.
        ValueError: if there is no `n_clusters` in the history.
        ImportError: without matplotlib; the error names the extra.
    """
    if not isinstance(history, Mapping):
        recorded = getattr(history, "history", None)
        if recorded is None:
            got = "a model that was not trained here"
            checks.fail("history", got, "a fit first", RuntimeError)
        history = recorded.history
    if not history.get("n_clusters"):
        checks.fail("history", f"entries {sorted(history)}", "n_clusters of at least one epoch")
    pyplot = checks.import_optional("matplotlib.pyplot", "plot_history", "viz")
    ticker = checks.import_optional("matplotlib.ticker", "plot_history", "viz")
    scores = [name for name in SCORES if history.get(name)]
    panels = 3 if scores else 2
    figure, axes = pyplot.subplots(1, panels, figsize=(4 * panels, 3), layout="constrained")
    epochs, counts = _curve(history["n_clusters"])
    axes[0].step(epochs, counts, where="mid", color="0.4")
    for (name, color), marker in zip(MOVE_COLORS.items(), "^v", strict=True):
        moves = list_moves(history, name)
        if moves:
            at_epochs, at_counts, _ = zip(*moves, strict=True)
            label = name.replace("_", " ")
            axes[0].scatter(at_epochs, at_counts, marker=marker, color=color, label=label)
    axes[0].set_title(f"number of clusters, at the end {int(counts[-1])}")
    axes[0].set_ylim(0, max(counts) * 1.15 + 1)
    for name in LOSSES:
        if history.get(name):
            axes[1].plot(*_curve(history[name]), label=name, marker=".")
    for name in scores:
        axes[2].plot(*_curve(history[name]), label=name.upper(), marker=".")
    if scores:
        axes[2].set(title="agreement with known labels", ylim=(0, 1.02))
    axes[1].set_title("losses")
    for each in axes:
        each.set_xlabel("epoch")
        each.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        if each.get_legend_handles_labels()[0]:
            each.legend(fontsize=8)
    return axes


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
