"""The numbers of a report: a sample of points, sizes, scores, stability, versions."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfdpm import checks, metrics
from tfdpm.data.columns import Columns
from tfdpm.features.apply_encoder import inputs_for
from tfdpm.report import traits
from tfdpm.viz.clusters import as_images
from tfdpm.viz.samples import PointSample, sample_points

_MAX_POINTS = 20_000  # size of the sample on which everything but sizes and scores is computed
_MAX_SILHOUETTE = 2_000
_MOST_CHAINS = 8
# Points times clusters of all chains. Eight chains of 20,000 points take ten times as long as the
# rest of a report of ten clusters, at 500 clusters twice as long as the fit.
_CHAIN_WORK = 2_000_000
_MOST_LABELS = 1_000_000  # that a page holds for download
_MOST_UNNAMED = 20  # columns without names that describe clusters
_WORDS, _TYPICAL_COLUMNS = 8, 4  # that describe a cluster
_PACKAGES = ("tfdpm", "tensorflow", "keras", "numpy", "scikit-learn", "plotly")


class Confusion(NamedTuple):
    """Numbers of points by known class and cluster."""

    table: np.ndarray  # [classes, K]
    classes: list[str]  # known labels in the order of the rows
    clusters: np.ndarray  # in the order of the columns; those matched to a class come first


class Facts(NamedTuple):
    """The numbers that a report shows."""

    sample: PointSample  # n points, at most 20,000
    images: np.ndarray | None  # of the sample's points, [n, H, W, C] uint8
    texts: np.ndarray | None  # of the sample's points, [n] objects
    names: tuple[str, ...]  # of the clusters, [K]; empty ones where no name was given
    traits: list[list[str]]  # words, or columns in words, by which clusters are told apart, [K]
    labels: np.ndarray  # clusters of all N points, or of the sample's n where N is too large
    sizes: np.ndarray  # points in each cluster, [K]; of all data where the model knows them
    log_density: np.ndarray  # [n], nats
    outlier_p: np.ndarray  # [n]
    k_posterior: dict[int, float]  # share of the chains of moves that ended with each K, by K
    stability: np.ndarray | None  # [n], from 0 to 1; None where chains would take too long
    history: dict[str, list[float | None]]  # values of each epoch; empty for a loaded model
    scores: dict[str, float]
    confusion: Confusion | None  # None without known labels
    columns: tuple[str, ...]  # names of the numbers of a point; none where it was no frame
    versions: dict[str, str]  # by package

    @property
    def order(self) -> np.ndarray:
        """Clusters, the largest first, `[K]`."""
        return np.argsort(-self.sizes, kind="stable")

    @property
    def ticks(self) -> list[str]:
        """Clusters on an axis: their numbers, after their names where they have any."""
        return [f"{name} ({k})" if name else str(k) for k, name in enumerate(self.names)]

    @property
    def is_table(self) -> bool:
        """Whether points are rows of numbers, and shown as such."""
        return self.images is None and self.texts is None and self.sample.inputs.ndim == 2

    @property
    def column_names(self) -> list[str]:
        """Names of the numbers of a point; their positions where it was no frame."""
        return _name_columns(self.columns, self.sample.inputs[0].size)


def gather_facts(
    model: Any, x: Any, y: Any, images: Any, seed: int, texts: Any = None, names: Any = None
) -> Facts:
    """Computes the numbers of a report; arguments as for `write_report`."""
    named = checks.cluster_names(names, model.n_clusters)
    sample = sample_points(model, x, y, max_points=_MAX_POINTS, seed=seed)
    if images is not None:
        images = np.asarray(images)
        if len(images) != sample.num_points:
            wanted = f"{sample.num_points}, one for each point"
            checks.fail("images", f"{len(images)} images", wanted)
        images = as_images(images[sample.rows])
    elif sample.inputs.ndim in (3, 4):
        images = as_images(sample.inputs)
    if texts is not None:
        texts = _check_texts(texts, sample)
    elif sample.inputs.dtype == object:  # the points themselves
        texts = sample.inputs
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
    work = len(sample.rows) * model.n_clusters
    chains = min(_MOST_CHAINS, _CHAIN_WORK // work)
    stability = model.stability(sample.inputs, num_chains=chains, seed=seed) if chains else None
    history = getattr(model, "history", None)
    return Facts(
        sample,
        images,
        texts,
        named,
        _describe_clusters(model, sample, images, texts),
        _all_labels(model, sample),
        sizes,
        model.score_samples(sample.inputs),
        model.outlier_p(sample.inputs),
        {} if stability is None else stability.k_posterior,
        None if stability is None else stability.scores,
        {} if history is None else dict(history.history),
        scores,
        None if known is None else _count_confusion(known, found, model.n_clusters, sample.classes),
        getattr(model, "columns", Columns()).features,
        _list_versions(),
    )


def _check_texts(texts: Any, sample: PointSample) -> np.ndarray:
    """Returns the texts of a sample's points, or raises unless there is one for each point."""
    found = np.empty(len(texts), object)
    found[:] = list(texts)
    wrong = next((each for each in found if not isinstance(each, str)), None)
    if wrong is not None or len(found) != sample.num_points:
        got = f"{len(found)} texts" if wrong is None else f"{wrong!r} among the texts"
        checks.fail("texts", got, f"{sample.num_points} strings, one for each point")
    return found[sample.rows]


def _describe_clusters(model: Any, sample: PointSample, images: Any, texts: Any) -> list[list[str]]:
    """Returns what tells each cluster apart: words of texts, or columns of tables; else nothing."""
    labels, count = sample.labels, model.n_clusters
    if texts is not None:
        return traits.typical_words(texts, labels, count, _WORDS)
    if images is not None or sample.inputs.ndim != 2:
        return [[] for _ in range(count)]
    means, _ = traits.cluster_moments(sample.inputs, labels, count)
    columns, size = getattr(model, "columns", Columns()).features, sample.inputs.shape[1]
    if len(columns) != size > _MOST_UNNAMED:  # of embeddings, which mean nothing one by one
        return [[] for _ in range(count)]
    names = _name_columns(columns, size)
    return traits.typical_columns(sample.inputs, labels, means, names, _TYPICAL_COLUMNS)


def _name_columns(columns: tuple[str, ...], size: int) -> list[str]:
    """Returns the names of columns where there are as many, else their positions."""
    return list(columns) if len(columns) == size else [f"column {i}" for i in range(size)]


def _all_labels(model: Any, sample: PointSample) -> np.ndarray:
    """Returns the clusters of all points where those of the fit are these, else the sample's."""
    if len(sample.rows) < sample.num_points <= _MOST_LABELS:
        try:
            labels = model.labels_
        except RuntimeError:  # weights set by hand
            return sample.labels
        if len(labels) == sample.num_points and (labels[sample.rows] == sample.labels).all():
            return labels
    return sample.labels


def _label_points(model: Any, x: Any, y: Any, sample: PointSample):
    """Returns known labels and clusters: of all points in memory, of the sample of a stream."""
    if sample.y is None or len(sample.rows) == sample.num_points:
        return sample.y, sample.labels
    inputs = inputs_for(model, x, y)
    if inputs.array is None:
        return sample.y, sample.labels
    return inputs.labels, model.predict_labels(inputs.array)


def _count_confusion(
    known: np.ndarray, found: np.ndarray, count: int, texts: tuple[str, ...]
) -> Confusion:
    """Counts points by class and cluster, with the matched clusters on the diagonal."""
    numbers, index = np.unique(known, return_inverse=True)
    classes = [texts[each] if 0 <= each < len(texts) else str(each) for each in numbers.tolist()]
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
