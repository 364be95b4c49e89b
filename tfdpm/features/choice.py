"""The rule behind `features="auto"`, which looks at shape, size and distances of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from tfdpm.features.preprocessing import has_mixed_units
from tfdpm.features.umap import neighbours


@dataclass(frozen=True)
class _Settings:
    """Limits of the rule behind `features="auto"`."""

    min_points: int = 500  # fewer do not show the shape of a curved set
    few_features: int = 16  # so few have no directions that tell more than distances
    sample_size: int = 2000
    neighbours: int = 10
    # Fewer features, unless of images, are columns of a table, and so are those whose variances
    # differ by this factor between quartiles. Layouts of tables were worse than their columns.
    table_features: int = 64
    table_ratio: float = 30.0
    # Dimension near a point, as a share of that of a Gaussian of the same covariance, below which
    # sets count as curved. Signed vectors of many features have a limit of their own: embeddings
    # carry noise in all directions, which hides the curved sets of their subjects.
    curved: float = 0.6
    curved_embedding: float = 0.8
    embedding_features: int = 64
    min_side: int = 8  # pixels; smaller images are clustered as vectors
    adjacent: float = 0.2  # least correlation of adjacent pixels
    adjacent_margin: float = 0.1


_SETTINGS = _Settings()


@dataclass(frozen=True)
class FeatureChoice:
    """Choice of features with its reason."""

    name: str  # "none", "pca", "autoencoder", "umap", "swav" or "model"
    reason: str  # in words
    image_shape: tuple[int, int, int] | None = None  # (H, W, C) of images and vectors of pixels
    uses_angles: bool = False  # whether vectors are compared by their directions

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose(name: str, sample: np.ndarray, num_points: int | None = None) -> FeatureChoice:
    """Decides by a sample `[n, ...]` of N points, by default all, how they become features.

    `name` is the kind of features that the user asked for; only "auto" leaves a choice.
    """
    rows = sample.reshape(len(sample), -1)
    image_shape = image_shape_of(sample)
    # Embeddings of texts and images are signed and told apart by direction.
    uses_angles = (
        image_shape is None and rows.shape[1] > _SETTINGS.few_features and bool((rows < 0).any())
    )
    reason = "asked for"
    if name == "auto":
        is_embedding = uses_angles and rows.shape[1] >= _SETTINGS.embedding_features
        most = _SETTINGS.curved_embedding if is_embedding else _SETTINGS.curved
        name, reason = _automatic(sample, rows, image_shape, num_points or len(sample), most)
    if uses_angles:
        uses_angles = not has_mixed_units(rows.var(axis=0, dtype=np.float64))
    return FeatureChoice(name, reason, image_shape, uses_angles)


def _automatic(sample, rows, image_shape, num_points: int, most: float) -> tuple[str, str]:
    """Returns name and reason; sets count as curved below a share of `most`."""
    size = f"N = {num_points:,}, D = {rows.shape[1]:,}"
    if num_points < _SETTINGS.min_points:
        return "none", f"{size}: fewer than {_SETTINGS.min_points} points show no curved shape"
    if image_shape is not None:
        height, width, channels = image_shape
        kind = "images" if sample.ndim > 2 else "vectors of pixels"
        colour = "grey" if channels == 1 else f"{channels} channels"
        text = f"N = {num_points:,} {kind} of {height} x {width}, {colour}"
        return "umap", f"{text}: alike images are neighbours, but no Gaussians of pixels"
    if rows.shape[1] < _SETTINGS.table_features:
        return "none", f"{size}: few features, clustered as they are"
    if _is_table(rows):
        return "none", f"{size}: columns of different units, a table"
    share = curvature(rows)
    text = f"{size}: near a point {share:.0%} of the dimension of a Gaussian of this covariance"
    if share < most:
        return "umap", f"{text}, so that clusters are curved"
    return "none", f"{text}, so that clusters may be Gaussian"


def image_shape_of(sample: np.ndarray) -> tuple[int, int, int] | None:
    """Returns the shape `(H, W, C)` of images, also of vectors of pixels, and else `None`.

    Vectors count as square grey images if a value resembles the next one and the one a row below,
    and that half a row on less. A side has at least 8 pixels.
    """
    if sample.ndim > 2:
        shape = (*sample.shape[1:], 1)[:3]
        return shape if min(shape[:2]) >= _SETTINGS.min_side else None
    side = int(round(np.sqrt(sample.shape[1])))
    is_square = side * side == sample.shape[1] and side >= _SETTINGS.min_side
    if not is_square or len(sample) < _SETTINGS.neighbours:
        return None
    rows = sample[: _SETTINGS.sample_size].astype(np.float64)
    rows = rows - rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=0), 1e-12)

    def correlation(lag: int) -> float:
        return float(np.mean(np.sum(rows[:, lag:] * rows[:, :-lag], axis=0)))

    adjacent = min(correlation(1), correlation(side))
    between = max(correlation(side // 2), correlation(side + side // 2))
    # Margins of images do not vary.
    varying_share = float(np.mean(np.abs(rows).max(axis=0) > 0))
    least = max(_SETTINGS.adjacent * varying_share, between + _SETTINGS.adjacent_margin)
    return (side, side, 1) if adjacent > least else None


def curvature(rows: np.ndarray) -> float:
    """Returns the local dimension of points over that of Gaussians with the same covariances.

    It is about one for Gaussians and mixtures of them, and far less for curved surfaces. Of the
    points `[N, D]`, 2,000 are used. Groups that no neighbours link are a Gaussian each.
    """
    generator = np.random.default_rng([0, 13])
    if len(rows) > _SETTINGS.sample_size:
        rows = rows[generator.choice(len(rows), _SETTINGS.sample_size, replace=False)]
    rows = np.unique(rows.astype(np.float64), axis=0)
    count = _SETTINGS.neighbours
    if len(rows) <= count:
        return 1.0
    indices, distances = neighbours(rows, count)
    starts = np.arange(0, indices.size + 1, count)
    links = csr_matrix((np.ones(indices.size), indices.ravel(), starts))
    groups = connected_components(links)[1]
    gaussians = np.empty_like(rows)
    for group in range(groups.max() + 1):
        own = np.flatnonzero(groups == group)
        mean = rows[own].mean(axis=0)
        # G X / sqrt(n) for a standard Gaussian matrix G has rows with the covariance of X, and no
        # covariance matrix is factorised.
        noise = generator.normal(size=(len(own), len(own)))
        gaussians[own] = mean + noise @ ((rows[own] - mean) / np.sqrt(len(own)))
    wanted = _local_dimension(neighbours(gaussians, count)[1])
    return _local_dimension(distances) / wanted if wanted > 0 else 1.0


def _local_dimension(distances: np.ndarray) -> float:
    """Estimates the dimension from distances `[n, k]` to neighbours."""
    # 1 / mean over points and j < k of log(d_k / d_j), [Levina and Bickel 2004] with the inverses
    # averaged.
    distances = distances[distances[:, 0] > 0]
    if not len(distances):
        return 0.0
    inverse = np.mean(np.log(distances[:, -1:] / distances[:, :-1]))
    return float(1.0 / max(inverse, 1e-12))


def _is_table(rows: np.ndarray) -> bool:
    """Whether columns vary so differently that they can hardly be numbers of one kind."""
    variances = rows.var(axis=0, dtype=np.float64)
    # Quartiles, since an embedding may have a few columns that hardly vary.
    low, high = np.quantile(variances, [0.25, 0.75])
    return bool(high > _SETTINGS.table_ratio * low)
