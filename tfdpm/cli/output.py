"""Tables that the commands print: number of clusters, their sizes, scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

import tfdpm
from tfdpm.benchmarks.tables import print_table

if TYPE_CHECKING:
    from tfdpm.data import Inputs

_MAX_ROWS = 20

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON for programs, and errors.")
]


def show_json(**facts: Any) -> None:
    """Prints facts as one line of JSON."""
    typer.echo(json.dumps(plain(facts), allow_nan=False))


def plain(value: Any) -> Any:
    """The value in types that JSON has, in which NaN and infinity are null."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray) or hasattr(value, "item"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def sizes_of(labels: Any) -> dict[str, int]:
    """Returns the number of points of each cluster, by the cluster's number."""
    clusters, sizes = np.unique(labels, return_counts=True)
    return dict(zip(map(str, clusters), sizes.tolist(), strict=True))


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


def images_of(data: str, inputs: Inputs) -> Any:
    """Returns the images that a report shows beside the points; None where it finds them itself."""
    return inputs.array if data == "digits" else None  # rows of 8 x 8 pixels


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
    show(f"K = {len(clusters)} cluster{'s' * (len(clusters) != 1)} of {len(labels):,} points")
    rows = [(name, f"{count:,}", f"{count / len(labels):.1%}") for name, count in counts]
    print_table("", ("cluster", "points", "share"), rows)


def show_scores(values: dict[str, float]) -> None:
    """Prints scores by name, to three digits after the point; nothing if there are none."""
    if values:
        rows = [(name, f"{value:.3f}") for name, value in values.items()]
        print_table("", ("score", "value"), rows)
