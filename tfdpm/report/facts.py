"""What a report says of a model, as numbers: samples, scores, stability, versions.

Nothing here draws or knows HTML.
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfdpm import checks, metrics
from tfdpm.data.inputs import as_features
from tfdpm.viz.clusters import as_images
from tfdpm.viz.view import View, look

__all__ = ["Confusion", "Facts", "gather"]

_MOST_POINTS = 20_000  # of the sample that everything but sizes is computed on
_MOST_SILHOUETTE = 2_000
_PACKAGES = ("tfdpm", "tensorflow", "keras", "numpy", "scikit-learn", "plotly")


class Confusion(NamedTuple):
    """Known classes against found clusters.

    Attributes:
        table: `[classes, K]` points.
        classes: `[classes]` known labels, in the order of the rows.
        clusters: `[K]` clusters, in the order of the columns: those that match a class first.
    """

    table: np.ndarray
    classes: np.ndarray
    clusters: np.ndarray


class Facts(NamedTuple):
    """All that a report is made from.

    Attributes:
        view: a sample of at most 20,000 points.
        images: `[n, H, W, C]` uint8 of the sample's points, or `None`.
        sizes: `[K]` points of each cluster, of all data where the model knows them.
        log_density: `[n]` nats.
        outlier_p: `[n]`.
        k_posterior: share of chains that ended with each K, by K.
        stability: `[n]` in `[0, 1]`.
        history: per-epoch values by name; empty for a loaded model.
        scores: by name.
        confusion: or `None` without known labels.
        versions: by package.
    """

    view: View
    images: np.ndarray | None
    sizes: np.ndarray
    log_density: np.ndarray
    outlier_p: np.ndarray
    k_posterior: dict[int, float]
    stability: np.ndarray
    history: dict[str, list[float | None]]
    scores: dict[str, float]
    confusion: Confusion | None
    versions: dict[str, str]

    @property
    def order(self) -> np.ndarray:
        """`[K]` clusters, the largest first."""
        return np.argsort(-self.sizes, kind="stable")


def gather(model: Any, x: Any, y: Any, images: Any, seed: int) -> Facts:
    """Asks a fitted model all that its report says; arguments as for `write_report`."""
    view = look(model, x, y, max_points=_MOST_POINTS, seed=seed)
    pictures = None
    if images is not None:
        pictures = as_images(_one_for_each(images, view))
    elif view.inputs.ndim in (3, 4):
        pictures = as_images(view.inputs)
    known, found = _known_and_found(model, x, y, view)
    stability = model.stability(view.inputs, seed=seed)
    history = getattr(model, "history", None)
    return Facts(
        view,
        pictures,
        _sizes(model, view),
        model.score_samples(view.inputs),
        model.outlier_p(view.inputs),
        stability.k_posterior,
        stability.scores,
        {} if history is None else dict(history.history),
        _scores(view, known, found, seed),
        None if known is None else _confusion(known, found, model.n_clusters),
        _versions(),
    )


def _one_for_each(images: Any, view: View) -> np.ndarray:
    array = np.asarray(images)
    if len(array) != view.num_points:
        checks.fail("images", f"{len(array)} images", f"{view.num_points}, one for each point")
    return array[view.rows]


def _sizes(model: Any, view: View) -> np.ndarray:
    try:
        return np.asarray(model.cluster_sizes_)
    except RuntimeError:  # weights set by hand: the labels of the fit are gone
        return np.bincount(view.labels, minlength=model.n_clusters)


def _known_and_found(model: Any, x: Any, y: Any, view: View):
    """Known labels and clusters of all points in memory, of the sample of a stream."""
    if view.y is None or len(view.rows) == view.num_points:
        return view.y, view.labels
    inputs = as_features(x, y, minimum_points=1)
    if inputs.array is None:
        return view.y, view.labels
    return inputs.labels, model.predict_labels(inputs.array)


def _scores(view: View, known: np.ndarray | None, found: np.ndarray, seed: int) -> dict[str, float]:
    scores = {"mean largest responsibility": float(view.confidence.mean())}
    few = view.thinned(_MOST_SILHOUETTE, seed)
    if 1 < len(np.unique(few.labels)) < len(few.rows):
        scores["silhouette of the features"] = metrics.silhouette(few.features, few.labels)
    if known is not None:
        scores |= {
            name.upper(): value for name, value in metrics.score_labels(known, found).items()
        }
    return scores


def _confusion(known: np.ndarray, found: np.ndarray, count: int) -> Confusion:
    classes, index = np.unique(known, return_inverse=True)
    table = np.zeros((len(classes), count), np.int64)
    np.add.at(table, (index, found), 1)
    rows, columns = linear_sum_assignment(-table)
    matched = columns[np.argsort(rows)]
    rest = np.setdiff1d(np.arange(table.shape[1]), matched)
    rest = rest[np.argsort(table[:, rest].argmax(axis=0), kind="stable")]
    clusters = np.concatenate([matched, rest])
    return Confusion(table[:, clusters], classes, clusters)


def _versions() -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # used from its source folder
            versions[name] = "not installed as a package"
    return versions
