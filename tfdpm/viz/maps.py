"""Maps of a mixture into the plane: which axes, where points and components lie on them.

Arithmetic only; drawing is in `plots.py` and in the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from tfdpm import checks
from tfdpm.viz.view import View

__all__ = ["PROJECTIONS", "ClusterMap", "cluster_map", "ellipses", "principal_plane", "regions"]

PROJECTIONS = ("auto", "pca", "lda")
_JITTER = 0.5  # half the height over which points of one dimension are spread
_RIDGE = 1e-6  # of the mean variance: within-cluster scatter may be singular


class ClusterMap(NamedTuple):
    """Points and components in the plane.

    Attributes:
        title: how the plane was chosen, in words.
        axis_names: of the two axes.
        points: `[n, 2]`.
        labels: `[n]` clusters.
        weights: `[K]`, means: `[K, 2]`, covariances: `[K, 2, 2]` of the components.
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
        """`[2, 2]`: smallest and largest value on each axis, with a margin of 5 %."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        margin = 0.05 * np.where(high > low, high - low, 1.0)
        return np.stack([low - margin, high + margin], axis=1)


def cluster_map(model: Any, view: View, projection: str = "auto") -> ClusterMap:
    """Lays a sample and the model's components into the plane.

    Points with two columns are shown as they are. Others are shown by their features' two
    principal axes ("pca"), or by the two linear discriminants of the found clusters ("lda"),
    which show clusters as far apart as any plane can: distances between them are exaggerated.

    Args:
        model: a fitted model.
        view: sample of points.
        projection: "pca", "lda", or "auto": "lda" where there are more than two features and more
            than two clusters, else "pca".
    """
    checks.one_of(projection, "projection", PROJECTIONS)
    weights, means, covariances = (np.asarray(part) for part in model.mixture_)
    dim, count = view.features.shape[1], len(weights)
    if view.inputs.shape[1:] == (2,) and dim == 2 and np.shape(model.means_) == (count, 2):
        raw = (np.asarray(model.means_), np.asarray(model.covariances_))
        points = np.asarray(view.inputs, np.float64)
        names = ("column 0", "column 1")
        return ClusterMap("the two columns", names, points, view.labels, weights, *raw, True)
    if dim == 1:
        return _line(view, weights, means, covariances)
    use_lda = projection == "lda" or (projection == "auto" and dim > 2 and count > 2)
    if use_lda and count > 1:
        axes = discriminant_plane(view.features, view.labels)
        title, names = "linear discriminants (LDA) of the clusters", ("LDA 1", "LDA 2")
    else:
        axes = principal_plane(view.features)
        title, names = "principal axes (PCA) of the features", ("PCA 1", "PCA 2")
    return ClusterMap(
        title,
        names,
        view.features.astype(np.float64) @ axes,
        view.labels,
        weights,
        means @ axes,
        axes.T @ covariances @ axes,
        False,
    )


def _line(view: View, weights, means, covariances) -> ClusterMap:
    """One feature along the first axis; the second only pulls the points apart."""
    generator = np.random.default_rng(0)
    heights = generator.uniform(-_JITTER, _JITTER, len(view.features))
    spread = np.zeros((len(weights), 2, 2))
    spread[:, 0, 0], spread[:, 1, 1] = covariances[:, 0, 0], (_JITTER / 2) ** 2
    return ClusterMap(
        "the one feature, pulled apart at random",
        ("feature", "random height"),
        np.stack([view.features[:, 0].astype(np.float64), heights], axis=1),
        view.labels,
        weights,
        np.concatenate([means, np.zeros_like(means)], axis=1),
        spread,
        False,
    )


def principal_plane(features: np.ndarray) -> np.ndarray:
    """Two orthonormal axes `[D, 2]` of largest variance; the second is zero where D is 1."""
    dim = features.shape[1]
    if dim <= 2:
        return np.eye(dim, 2)
    return _signed(np.linalg.eigh(np.cov(features, rowvar=False))[1][:, :-3:-1])


def discriminant_plane(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Two axes `[D, 2]` that pull clusters apart most for their spread within ([Fisher 1936]).

    They solve `B v = lambda (W + ridge I) v` with the scatter B between and W within clusters.
    Two clusters have one such axis; the second is then one of large spread within clusters.

    Args:
        features: `[n, D]`, D >= 2.
        labels: `[n]` integers.
    """
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
    """Axes whose largest entry is positive, so that the same data always look the same."""
    return axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])


def ellipses(
    means: np.ndarray, covariances: np.ndarray, deviations: float = 2.0
) -> Iterator[np.ndarray]:
    """Outlines `[2, 100]` at some standard deviations of Gaussians `[K, 2]`, `[K, 2, 2]`."""
    angles = np.linspace(0.0, 2.0 * np.pi, 100)
    circle = deviations * np.stack([np.cos(angles), np.sin(angles)])
    for mean, covariance in zip(means, covariances, strict=True):
        eigenvalues, vectors = np.linalg.eigh(covariance)
        yield mean[:, np.newaxis] + vectors * np.sqrt(np.maximum(eigenvalues, 0.0)) @ circle


def regions(model: Any, plane: ClusterMap, limits: np.ndarray, resolution: int = 200) -> np.ndarray:
    """Clusters `[resolution, resolution]` of a grid over the plane, rows from bottom to top.

    Where the plane is the input space, the clustering network's; else those of the mixture as it
    is seen in the plane, `argmax_k pi_k N(p; mean_k, covariance_k)`.

    Args:
        model: a fitted model.
        plane: of that model.
        limits: `[2, 2]`, smallest and largest value on each axis.
        resolution: points along each axis.
    """
    across, up = (np.linspace(low, high, resolution) for low, high in limits)
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    if plane.is_exact:
        return np.asarray(model.predict_labels(grid)).reshape(resolution, resolution)
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
