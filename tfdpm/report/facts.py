"""The numbers of a report: a sample of points, sizes, scores, stability, versions."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfdpm import checks, metrics
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import as_features
from tfdpm.viz.clusters import as_images
from tfdpm.viz.samples import PointSample, sample_points

_MAX_POINTS = 20_000  # size of the sample on which everything but sizes and scores is computed
_MAX_SILHOUETTE = 2_000
_PACKAGES = ("tfdpm", "tensorflow", "keras", "numpy", "scikit-learn", "plotly")


class Confusion(NamedTuple):
    """Numbers of points by known class and cluster."""

    table: np.ndarray  # [classes, K]
    classes: np.ndarray  # known labels in the order of the rows
    clusters: np.ndarray  # in the order of the columns; those matched to a class come first


class Facts(NamedTuple):
    """The numbers that a report shows."""

    sample: PointSample  # n points, at most 20,000
    images: np.ndarray | None  # of the sample's points, [n, H, W, C] uint8
    sizes: np.ndarray  # points in each cluster, [K]; of all data where the model knows them
    log_density: np.ndarray  # [n], nats
    outlier_p: np.ndarray  # [n]
    k_posterior: dict[int, float]  # share of the chains of moves that ended with each K, by K
    stability: np.ndarray  # [n], from 0 to 1
    history: dict[str, list[float | None]]  # values of each epoch; empty for a loaded model
    scores: dict[str, float]
    confusion: Confusion | None  # None without known labels
    columns: tuple[str, ...]  # names of the numbers of a point; none where it was no frame
    versions: dict[str, str]  # by package

    @property
    def order(self) -> np.ndarray:
        """Clusters, the largest first, `[K]`."""
        return np.argsort(-self.sizes, kind="stable")


def gather_facts(model: Any, x: Any, y: Any, images: Any, seed: int) -> Facts:
    """Computes the numbers of a report; arguments as for `write_report`."""
    sample = sample_points(model, x, y, max_points=_MAX_POINTS, seed=seed)
    if images is not None:
        images = np.asarray(images)
        if len(images) != sample.num_points:
            wanted = f"{sample.num_points}, one for each point"
            checks.fail("images", f"{len(images)} images", wanted)
        images = as_images(images[sample.rows])
    elif sample.inputs.ndim in (3, 4):
        images = as_images(sample.inputs)
    try:
        sizes = np.asarray(model.cluster_sizes_)
    except RuntimeError:  # weights set by hand: the labels of the fit are gone
        sizes = np.bincount(sample.labels, minlength=model.n_clusters)
    known, found = _label_points(model, x, y, sample)
    scores = {"mean largest responsibility": float(sample.confidence.mean())}
    few = sample.subsample(_MAX_SILHOUETTE, seed)
    if 1 < len(np.unique(few.labels)) < len(few.rows):
        scores["silhouette of the features"] = metrics.silhouette(few.features, few.labels)
    if known is not None:
        agreement = metrics.score_labels(known, found)
        scores |= {name.upper(): value for name, value in agreement.items()}
    stability = model.stability(sample.inputs, seed=seed)
    history = getattr(model, "history", None)
    return Facts(
        sample,
        images,
        sizes,
        model.score_samples(sample.inputs),
        model.outlier_p(sample.inputs),
        stability.k_posterior,
        stability.scores,
        {} if history is None else dict(history.history),
        scores,
        None if known is None else _count_confusion(known, found, model.n_clusters),
        getattr(model, "columns", Columns()).features,
        _list_versions(),
    )


def _label_points(model: Any, x: Any, y: Any, sample: PointSample):
    """Returns known labels and clusters: of all points in memory, of the sample of a stream."""
    if sample.y is None or len(sample.rows) == sample.num_points:
        return sample.y, sample.labels
    inputs = as_features(x, y, minimum_points=1, columns=getattr(model, "columns", None))
    if inputs.array is None:
        return sample.y, sample.labels
    return inputs.labels, model.predict_labels(inputs.array)


def _count_confusion(known: np.ndarray, found: np.ndarray, count: int) -> Confusion:
    """Counts points by class and cluster, with the matched clusters on the diagonal."""
    classes, index = np.unique(known, return_inverse=True)
    table = np.zeros((len(classes), count), np.int64)
    np.add.at(table, (index, found), 1)
    matched = linear_sum_assignment(table, maximize=True)[1]  # rows come in their order
    rest = np.setdiff1d(np.arange(table.shape[1]), matched)
    rest = rest[np.argsort(table[:, rest].argmax(axis=0), kind="stable")]
    clusters = np.concatenate([matched, rest])
    return Confusion(table[:, clusters], classes, clusters)


def _list_versions() -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # used from its source folder
            versions[name] = "not installed as a package"
    return versions
