"""Maps of points and mixture components into the plane, as numbers that are not drawn yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from tfdpm import checks
from tfdpm.viz.samples import PointSample

__all__ = ["PROJECTIONS", "ClusterMap", "cluster_map", "ellipses", "principal_plane", "regions"]

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
        is_exact: whether the plane is the whole input space.
    """

    title: str
    axis_names: tuple[str, str]
    points: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    is_exact: bool

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
    dim, count = sample.features.shape[1], len(weights)
    if sample.inputs.shape[1:] == (2,) and dim == 2 and np.shape(model.means_) == (count, 2):
        raw = (np.asarray(model.means_), np.asarray(model.covariances_))
        points = np.asarray(sample.inputs, np.float64)
        names = ("column 0", "column 1")
        return ClusterMap("the two columns", names, points, sample.labels, weights, *raw, True)
    if dim == 1:
        return _map_one_feature(sample, weights, means, covariances)
    use_lda = projection == "lda" or (projection == "auto" and dim > 2 and count > 2)
    if use_lda and count > 1:
        axes = discriminant_plane(sample.features, sample.labels)
        title, names = "linear discriminants (LDA) of the clusters", ("LDA 1", "LDA 2")
    else:
        axes = principal_plane(sample.features)
        title, names = "principal axes (PCA) of the features", ("PCA 1", "PCA 2")
    return ClusterMap(
        title,
        names,
        sample.features.astype(np.float64) @ axes,
        sample.labels,
        weights,
        means @ axes,
        axes.T @ covariances @ axes,
        False,
    )


def _map_one_feature(sample: PointSample, weights, means, covariances) -> ClusterMap:
    """Puts the feature on the first axis and random heights on the second."""
    generator = np.random.default_rng(0)
    heights = generator.uniform(-_JITTER, _JITTER, len(sample.features))
    spread = np.zeros((len(weights), 2, 2))
    spread[:, 0, 0], spread[:, 1, 1] = covariances[:, 0, 0], (_JITTER / 2) ** 2
    return ClusterMap(
        "the one feature, pulled apart at random",
        ("feature", "random height"),
        np.stack([sample.features[:, 0].astype(np.float64), heights], axis=1),
        sample.labels,
        weights,
        np.concatenate([means, np.zeros_like(means)], axis=1),
        spread,
        False,
    )


def principal_plane(features: np.ndarray) -> np.ndarray:
    """Returns two orthonormal axes `[D, 2]` of largest variance; the second is zero for D = 1."""
    dim = features.shape[1]
    if dim <= 2:
        return np.eye(dim, 2)
    return _signed(np.linalg.eigh(np.cov(features, rowvar=False))[1][:, :-3:-1])


def discriminant_plane(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns two axes `[D, 2]` along which clusters differ most, relative to their spread.

    Two clusters have one such axis; the second is then the axis of largest spread within clusters.

    Args:
        features: `[n, D]`, D >= 2.
        labels: clusters, `[n]` integers.
    """
    # [Fisher 1936]: B v = lambda (W + ridge I) v, with the scatter B between clusters and W within.
    features = features.astype(np.float64)
    clusters, index = np.unique(labels, return_inverse=True)
    counts = np.bincount(index)
    sums = np.zeros((len(clusters), features.shape[1]))
    np.add.at(sums, index, features)
    centers = sums / counts[:, np.newaxis]
    offsets = (centers - features.mean(axis=0)) * np.sqrt(counts / len(features))[:, np.newaxis]
    between = offsets.T @ offsets
    residuals = features - centers[index]
    within = residuals.T @ residuals / len(features)
    ridge = _RIDGE * max(np.trace(within + between) / len(within), np.finfo(np.float64).tiny)
    within = within + ridge * np.eye(len(within))
    vectors = scipy.linalg.eigh(between, within)[1]
    first = vectors[:, [-1]] / np.linalg.norm(vectors[:, -1])
    if len(clusters) > 2:
        second = vectors[:, [-2]] / np.linalg.norm(vectors[:, -2])
        return _signed(np.concatenate([first, second], axis=1))
    off_first = np.eye(len(within)) - first @ first.T
    second = np.linalg.eigh(off_first @ within @ off_first)[1][:, [-1]]
    return _signed(np.concatenate([first, second], axis=1))


def _signed(axes: np.ndarray) -> np.ndarray:
    """Returns axes whose largest entry is positive, so that the same data always look the same."""
    return axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])


def ellipses(
    means: np.ndarray, covariances: np.ndarray, deviations: float = 2.0
) -> Iterator[np.ndarray]:
    """Yields the outline `[2, 100]` of each Gaussian at a number of standard deviations.

    Args:
        means: `[K, 2]`.
        covariances: `[K, 2, 2]`.
        deviations: distance of the outline from the mean, in standard deviations.
    """
    angles = np.linspace(0.0, 2.0 * np.pi, 100)
    circle = deviations * np.stack([np.cos(angles), np.sin(angles)])
    for mean, covariance in zip(means, covariances, strict=True):
        eigenvalues, vectors = np.linalg.eigh(covariance)
        yield mean[:, np.newaxis] + vectors * np.sqrt(np.maximum(eigenvalues, 0.0)) @ circle


def regions(model: Any, plane: ClusterMap, limits: np.ndarray, resolution: int = 200) -> np.ndarray:
    """Returns the clusters of a grid over the plane, `[resolution, resolution]`, bottom row first.

    Args:
        model: a fitted model, which is asked where the plane is the input space. Elsewhere the
            projected mixture decides.
        plane: a map of that model.
        limits: smallest and largest value on each axis, `[2, 2]`.
        resolution: number of grid points along each axis.
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
    for k, weight in enumerate(plane.weights):
        covariance = plane.covariances[k] + 1e-9 * max(variances.max(), 1e-300) * np.eye(2)
        factor = np.linalg.cholesky(covariance)
        whitened = np.linalg.solve(factor, (grid - plane.means[k]).T)
        score = np.log(max(weight, 1e-300)) - np.log(np.diag(factor)).sum()
        score = score - 0.5 * (whitened**2).sum(axis=0)
        is_better = score > best
        best[is_better], owner[is_better] = score[is_better], k
    return owner.reshape(resolution, resolution)
