"""Maps of points and mixture components into the plane, as numbers that are not drawn yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.spatial
import scipy.special
import tensorflow as tf
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.extmath import svd_flip

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.features.parametric_umap import neighbour_layout
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters, as_tensors
from tfdpm.viz.samples import PointSample

PROJECTIONS = ("auto", "pca", "lda", "umap")
_JITTER = 0.5  # largest distance of points with one feature from the axis, in axis units
_SILHOUETTE_POINTS = 2_000  # by which one of two planes is chosen
_NEIGHBOURS = 10  # of a point, which tell whether a map keeps clusters apart
# Share of the neighbours within clusters that a plane must keep, or else "auto" takes a layout. At
# 0.9 the plane of Fashion-MNIST is kept, where clusters cover each other; at 0.99 that of USPS is
# not, which a layout shows no better.
_KEPT = 0.95
_LAYOUT_EPOCHS = 100  # half as many leave clusters ragged, twice as many take twice the time
_RIDGE = 1e-6  # share of the mean variance added to within-cluster scatter, which may be singular


class ClusterMap(NamedTuple):
    """Points and components in the plane.

    Attributes:
        title: words that say how the plane was chosen.
        axis_names: names of the two axes.
        points: positions of the points, `[n, 2]`.
        labels: clusters of the points, `[n]`.
        weights: mixture weights, `[K]`.
        means: means of the components, `[K, 2]`.
        covariances: covariances of the components, `[K, 2, 2]`.
        clusters: clusters of the components, `[K]`.
        is_exact: whether the plane is the whole input space.
        kind: name of the projection, of `PROJECTIONS`; "columns" for points of one or two features.
    """

    title: str
    axis_names: tuple[str, str]
    points: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    clusters: np.ndarray
    is_exact: bool
    kind: str

    @property
    def heaviest(self) -> np.ndarray:
        """Component of each cluster with the largest weight, `[clusters]`."""
        count = int(self.clusters.max()) + 1
        is_own = self.clusters == np.arange(count)[:, np.newaxis]
        return np.where(is_own, self.weights, -1.0).argmax(axis=1)

    @property
    def limits(self) -> np.ndarray:
        """Smallest and largest value on each axis, with a margin of 5 %, `[2, 2]`."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        margin = 0.05 * np.where(high > low, high - low, 1.0)
        return np.stack([low - margin, high + margin], axis=1)


def cluster_map(model: Any, sample: PointSample, projection: str = "auto") -> ClusterMap:
    """Maps a sample and the model's components into the plane.

    Points with two columns are shown as they are.

    Args:
        model: a fitted model.
        sample: points under that model.
        projection: map of points with more columns. `"pca"`: the two principal axes of the
            features. `"lda"`: the plane of `discriminant_plane`, in which clusters overlap least.
            `"umap"`: a layout of the points by their nearest neighbours, whose distances between
            clusters mean little; an ellipse is then that of the points of a cluster. `"auto"`:
            the plane of larger silhouette, or the layout where neighbours in that plane are often
            of another cluster though they are not in the features.
    """
    checks.one_of(projection, "projection", PROJECTIONS)
    weights, means, covariances = (np.asarray(part) for part in model.mixture_)
    dim, clusters = sample.features.shape[1], np.asarray(model.cluster_of_component_)
    count = int(clusters.max()) + 1
    if sample.inputs.shape[1:] == (2,) and dim == 2 and model.encoder is None:
        preprocessing = model.preprocessing_
        raw = preprocessing.inverse(means), preprocessing.inverse_covariance(covariances, means)
        points = np.asarray(sample.inputs, np.float64)
        drawn = (points, sample.labels, weights, *raw, clusters, True)
        names = getattr(model, "columns", Columns()).features
        axis_names = names if len(names) == 2 else ("column 0", "column 1")
        return ClusterMap("the two columns", axis_names, *drawn, "columns")
    points = sample.features.astype(np.float64)
    if dim == 1:
        # The feature is the first axis, random heights are the second.
        heights = np.random.default_rng(0).uniform(-_JITTER, _JITTER, (len(points), 1))
        points = np.concatenate([points, heights], axis=1)
        means = np.concatenate([means, np.zeros_like(means)], axis=1)
        covariances = covariances * np.diag([1.0, 0.0]) + np.diag([0.0, (_JITTER / 2) ** 2])
        drawn = (points, sample.labels, weights, means, covariances, clusters, False)
        title, names = "the one feature, pulled apart at random", ("feature", "random height")
        return ClusterMap(title, names, *drawn, "columns")
    axes = None
    if projection == "auto":
        projection, axes = _choose_projection(points, sample.labels)
    elif projection == "lda" and count > 1:
        axes = discriminant_plane(points, sample.labels)
    elif projection != "umap":
        projection, axes = "pca", principal_plane(points)
    if axes is None:
        return _neighbour_map(sample, count)
    title, names = {
        "pca": ("principal axes (PCA) of the features", ("PCA 1", "PCA 2")),
        "lda": ("linear discriminants (LDA) of the clusters", ("LDA 1", "LDA 2")),
    }[projection]
    planar = (points @ axes, sample.labels, weights, means @ axes, axes.T @ covariances @ axes)
    return ClusterMap(title, names, *planar, clusters, False, projection)


def _choose_projection(points: np.ndarray, labels: np.ndarray) -> tuple[str, np.ndarray | None]:
    """Returns the map of `[n, D]` points that keeps clusters apart, and axes of a linear one."""
    name, axes = "pca", principal_plane(points)
    few = np.random.default_rng(0).permutation(len(points))[:_SILHOUETTE_POINTS]
    if 1 < len(np.unique(labels[few])) < len(few):
        found = {name: axes, "lda": discriminant_plane(points, labels)}
        name = max(
            found, key=lambda each: silhouette_score((points @ found[each])[few], labels[few])
        )
        axes = found[name]
    if neighbours_within(points @ axes, labels) < _KEPT * neighbours_within(points, labels):
        return "umap", None
    return name, axes


def neighbours_within(points: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of the nearest neighbours of `[n, D]` points in the point's own cluster.

    Each cluster counts alike, however few points it has; a cluster of one point has no neighbours.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    nearest = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(points) - 1)).fit(points)
    is_own = index[nearest.kneighbors(return_distance=False)] == index[:, np.newaxis]
    within = is_own.sum(axis=1) / np.clip(counts[index] - 1, 1, is_own.shape[1])
    means = np.bincount(index, within) / counts
    return float(means[counts > 1].mean()) if (counts > 1).any() else 0.0


def _neighbour_map(sample: PointSample, count: int) -> ClusterMap:
    """Lays out a sample by its neighbours; means and covariances are those of `count` clusters."""
    places = neighbour_layout(sample.features, embedding_dim=2, epochs=_LAYOUT_EPOCHS)
    places = places.astype(np.float64)
    shares = np.maximum(sample.responsibilities.astype(np.float64), np.finfo(np.float64).tiny)
    weights = shares.sum(axis=0)
    means = shares.T @ places / weights[:, np.newaxis]
    moments = (
        np.einsum("nk,ni,nj->kij", shares, places, places) / weights[:, np.newaxis, np.newaxis]
    )
    covariances = moments - means[:, :, np.newaxis] * means[:, np.newaxis, :]
    drawn = (places, sample.labels, weights / weights.sum(), means, covariances, np.arange(count))
    title = "a layout of neighbours (UMAP) of the features"
    return ClusterMap(title, ("UMAP 1", "UMAP 2"), *drawn, False, "umap")


def principal_plane(features: np.ndarray) -> np.ndarray:
    """Returns two orthonormal axes `[D, 2]` of largest variance; the second is zero for D = 1."""
    dim = features.shape[1]
    if dim <= 2:
        return np.eye(dim, 2)
    # Signs are fixed, here and below, so that the same data always look the same.
    return svd_flip(np.linalg.eigh(np.cov(features, rowvar=False))[1][:, :-3:-1], None)[0]


def discriminant_plane(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns two axes `[D, 2]` along which pairs of clusters overlap least.

    Pairs count by the points that they would share, so that clusters far from all others do not
    stack the rest. Two clusters have one such axis; the second is then the axis of largest spread
    within clusters.
    """
    # [Loog et al. 2001], equation 6: the scatter of all pairs of means, each weighted with
    # p_i p_j erf(d / 2 sqrt 2) / 2 d^2, d being their distance where W, the scatter within, is one.
    clusters, index = np.unique(labels, return_inverse=True)
    means = np.stack([features[index == k].mean(axis=0) for k in range(len(clusters))])
    within = np.cov(features - means[index], rowvar=False, bias=True)
    total = np.trace(np.cov(features, rowvar=False, bias=True))
    ridge = _RIDGE * max(total / len(within), np.finfo(np.float64).tiny)
    within = within + ridge * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values)
    white = means @ whitening
    squared = scipy.spatial.distance.cdist(white, white, "sqeuclidean") + np.eye(len(white))
    squared = np.maximum(squared, _RIDGE)  # a cluster and itself, or a copy, add nothing
    shares = np.bincount(index) / len(index)
    pairs = shares * shares[:, np.newaxis] * scipy.special.erf(np.sqrt(squared / 8)) / squared / 2
    between = white.T @ (np.diag(pairs.sum(axis=1)) - pairs) @ white
    axes = whitening @ np.linalg.eigh(between)[1][:, :-3:-1]
    axes /= np.linalg.norm(axes, axis=0)
    if len(clusters) > 2:
        return svd_flip(axes, None)[0]
    first = axes[:, :1]
    off_first = np.eye(len(within)) - first @ first.T
    second = np.linalg.eigh(off_first @ within @ off_first)[1][:, [-1]]
    return svd_flip(np.concatenate([first, second], axis=1), None)[0]


def ellipses(
    means: np.ndarray, covariances: np.ndarray, deviations: float = 2.0
) -> Iterator[np.ndarray]:
    """Yields the outline `[2, 60]` of each Gaussian, at a number of standard deviations."""
    angles = np.linspace(0.0, 2.0 * np.pi, 60)
    circle = deviations * np.stack([np.cos(angles), np.sin(angles)])
    for mean, covariance in zip(means, covariances, strict=True):
        eigenvalues, vectors = np.linalg.eigh(covariance)
        yield mean[:, np.newaxis] + vectors * np.sqrt(np.maximum(eigenvalues, 0.0)) @ circle


def regions(model: Any, plane: ClusterMap, limits: np.ndarray, resolution: int = 200) -> np.ndarray:
    """Returns the clusters of a grid over the plane, `[resolution, resolution]`, bottom row first.

    The model is asked where the plane is the input space; elsewhere the projected mixture decides.
    """
    across, up = (np.linspace(low, high, resolution) for low, high in limits)
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    if plane.is_exact:
        return np.asarray(model.predict_labels(grid)).reshape(resolution, resolution)
    mixture = as_tensors(MixtureParameters(plane.weights, plane.means, plane.covariances))
    owner = LogJoint(mixture)(tf.constant(grid)).numpy().argmax(axis=1)
    return plane.clusters[owner].reshape(resolution, resolution)
