"""A fit epoch by epoch, with matplotlib: K with its accepted moves, losses, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfdpm import checks
from tfdpm.viz.extra import load

__all__ = ["plot_history"]

_SCORES = ("nmi", "ari", "acc")
_LOSSES = ("loss", "subcluster_loss")

History = Mapping[str, Sequence[float | None]]


def plot_history(history: History) -> Any:
    """Draws K with accepted splits (upward triangles) and merges (downward), losses and scores.

    Args:
        history: per-epoch values by name, as in Keras's `History.history`.

    Returns:
        `[n]` matplotlib axes: K, the losses, and the scores where labels were given.

    Raises:
        ValueError: if there is no `n_clusters` in the history.
        ImportError: without matplotlib, naming the extra that brings it.
    """
    if not history.get("n_clusters"):
        checks.fail("history", f"entries {sorted(history)}", "n_clusters of at least one epoch")
    pyplot = load("matplotlib.pyplot", "plot_history")
    ticker = load("matplotlib.ticker", "plot_history")
    scores = [name for name in _SCORES if history.get(name)]
    panels = 3 if scores else 2
    figure, axes = pyplot.subplots(1, panels, figsize=(4 * panels, 3), layout="constrained")
    _draw_clusters(axes[0], history)
    for name in _LOSSES:
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


def _draw_clusters(axes: Any, history: History) -> None:
    epochs, counts = _curve(history["n_clusters"])
    axes.step(epochs, counts, where="mid", color="0.4")
    for name, marker, color in (
        ("accepted_splits", "^", "#54a24b"),
        ("accepted_merges", "v", "#e45756"),
    ):
        made = [(e, k) for e, k in zip(epochs, counts, strict=True) if _at(history, name, e - 1)]
        if made:
            label = name.replace("_", " ")
            axes.scatter(*zip(*made, strict=True), marker=marker, color=color, label=label)
    axes.set_title(f"number of clusters, at the end {int(counts[-1])}")
    axes.set_ylim(0, max(counts) * 1.15 + 1)


def _at(history: History, name: str, index: int) -> float:
    values = history.get(name) or ()
    return (values[index] or 0) if index < len(values) else 0


def _curve(values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Epochs, from 1, and values; those that are no finite numbers are left out."""
    kept = [
        (epoch, float(value))
        for epoch, value in enumerate(values, 1)
        if value is not None and math.isfinite(value)
    ]
    return [epoch for epoch, _ in kept], [value for _, value in kept]
