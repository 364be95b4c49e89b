"""Maps of points and mixture components into the plane, as numbers that are not drawn yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from sklearn.utils.extmath import svd_flip

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.viz.samples import PointSample

PROJECTIONS = ("auto", "pca", "lda")
_JITTER = 0.5  # largest distance of points with one feature from the axis, in axis units
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
    """Projects a sample and the model's components into the plane.

    Points with two columns are shown as they are.

    Args:
        model: a fitted model.
        sample: points under that model.
        projection: axes for points with more columns. `"pca"`: the two principal axes of the
            features. `"lda"`: the two linear discriminants of the clusters, which separate clusters
            most and exaggerate the distances between them. `"auto"`: `"lda"` for more than two
            features and more than two clusters, else `"pca"`.
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
        return ClusterMap("the two columns", axis_names, *drawn)
    points = sample.features.astype(np.float64)
    if dim == 1:
        # The feature is the first axis, random heights are the second.
        title, names = "the one feature, pulled apart at random", ("feature", "random height")
        heights = np.random.default_rng(0).uniform(-_JITTER, _JITTER, (len(points), 1))
        points = np.concatenate([points, heights], axis=1)
        means = np.concatenate([means, np.zeros_like(means)], axis=1)
        covariances = covariances * np.diag([1.0, 0.0]) + np.diag([0.0, (_JITTER / 2) ** 2])
    else:
        if count > 1 and (projection == "lda" or (projection == "auto" and min(dim, count) > 2)):
            axes = discriminant_plane(points, sample.labels)
            title, names = "linear discriminants (LDA) of the clusters", ("LDA 1", "LDA 2")
        else:
            axes = principal_plane(sample.features)
            title, names = "principal axes (PCA) of the features", ("PCA 1", "PCA 2")
        points, means, covariances = points @ axes, means @ axes, axes.T @ covariances @ axes
    drawn = (points, sample.labels, weights, means, covariances, clusters, False)
    return ClusterMap(title, names, *drawn)


def principal_plane(features: np.ndarray) -> np.ndarray:
    """Returns two orthonormal axes `[D, 2]` of largest variance; the second is zero for D = 1."""
    dim = features.shape[1]
    if dim <= 2:
        return np.eye(dim, 2)
    # Signs are fixed, here and below, so that the same data always look the same.
    return svd_flip(np.linalg.eigh(np.cov(features, rowvar=False))[1][:, :-3:-1], None)[0]


def discriminant_plane(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns two axes `[D, 2]` along which clusters differ most, relative to their spread.

    Two clusters have one such axis; the second is then the axis of largest spread within clusters.
    """
    # [Fisher 1936]: B v = lambda (W + ridge I) v, with the scatter B between clusters and W within.
    clusters, index = np.unique(labels, return_inverse=True)
    centers = np.stack([features[index == k].mean(axis=0) for k in range(len(clusters))])[index]
    between = np.cov(centers, rowvar=False, bias=True)
    within = np.cov(features - centers, rowvar=False, bias=True)
    ridge = _RIDGE * max(np.trace(within + between) / len(within), np.finfo(np.float64).tiny)
    within = within + ridge * np.eye(len(within))
    vectors = scipy.linalg.eigh(between, within)[1]
    vectors /= np.linalg.norm(vectors, axis=0)
    if len(clusters) > 2:
        return svd_flip(vectors[:, :-3:-1], None)[0]
    first = vectors[:, [-1]]
    off_first = np.eye(len(within)) - first @ first.T
    second = np.linalg.eigh(off_first @ within @ off_first)[1][:, [-1]]
    return svd_flip(np.concatenate([first, second], axis=1), None)[0]


def ellipses(
    means: np.ndarray, covariances: np.ndarray, deviations: float = 2.0
) -> Iterator[np.ndarray]:
    """Yields the outline `[2, 100]` of each Gaussian, at a number of standard deviations."""
    angles = np.linspace(0.0, 2.0 * np.pi, 100)
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
    # argmax_k log pi_k + log N(p; mean_k, covariance_k), by Cholesky factors L of the covariances:
    # log N = -log det L - |L^-1 (p - mean)|^2 / 2 + constant.
    best = np.full(len(grid), -np.inf)
    owner = np.zeros(len(grid), np.int64)
    variances = np.trace(plane.covariances, axis1=1, axis2=2)
    covariances = plane.covariances + 1e-9 * max(variances.max(), 1e-300) * np.eye(2)
    components = zip(plane.weights, plane.means, np.linalg.cholesky(covariances), strict=True)
    for k, (weight, mean, factor) in enumerate(components):
        whitened = np.linalg.solve(factor, (grid - mean).T)
        score = np.log(max(weight, 1e-300)) - np.log(np.diag(factor)).sum()
        score = score - 0.5 * (whitened**2).sum(axis=0)
        is_better = score > best
        best[is_better], owner[is_better] = score[is_better], k
    return plane.clusters[owner].reshape(resolution, resolution)
