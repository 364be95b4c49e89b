"""Tables that the commands print: number of clusters, their sizes, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

import tfdpm
from tfdpm.benchmarks.tables import print_table

if TYPE_CHECKING:
    from tfdpm.data import Inputs

_MAX_ROWS = 20


def show(line: str) -> None:
    """Prints one line."""
    Console(highlight=False, soft_wrap=True).print(line, markup=False)


def predict_labels(model: Any, inputs: Inputs) -> tuple[Any, Any]:
    """Returns `[N]` clusters and `[N]` known labels, which are None where there are none."""
    if inputs.labelled_dataset is None:
        return np.asarray(model.predict_labels(inputs)), inputs.labels
    # In one pass over points and labels, because a stream may change its order from pass to pass.
    pairs = [(model.predict_labels(x), y.numpy()) for x, y in inputs.labelled_dataset]
    labels, known = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return labels, known


def score_labels(labels: Any, known: Any) -> dict[str, float]:
    """Returns NMI, ARI and ACC against known labels; nothing where these are None."""
    if known is None:
        return {}
    return {
        name.upper(): value for name, value in tfdpm.metrics.score_labels(known, labels).items()
    }


def show_clusters(labels: Any) -> None:
    """Prints K and the sizes of the 20 largest clusters, largest first."""
    clusters, sizes = np.unique(labels, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    counts = [(str(clusters[k]), sizes[k]) for k in order[:_MAX_ROWS]]
    rest = sizes[order[_MAX_ROWS:]]
    if len(rest):
        counts.append((f"{len(rest)} more", rest.sum()))
    show(f"K = {len(clusters)} clusters of {len(labels):,} points")
    rows = [(name, f"{count:,}", f"{count / len(labels):.1%}") for name, count in counts]
    print_table("", ("cluster", "points", "share"), rows)


def show_scores(values: dict[str, float]) -> None:
    """Prints scores by name, to three digits after the point; nothing if there are none."""
    if values:
        rows = [(name, f"{value:.3f}") for name, value in values.items()]
        print_table("", ("score", "value"), rows)
