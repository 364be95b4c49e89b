"""The rule behind `features="auto"`, which looks at shape, size and distances of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sklearn.neighbors


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
    mixed_units: float = 1000.0  # ratio of variances, as in `preprocessing`
    min_side: int = 8  # pixels; smaller images are clustered as vectors
    adjacent: float = 0.2  # least correlation of adjacent pixels
    adjacent_margin: float = 0.1


_SETTINGS = _Settings()


@dataclass(frozen=True)
class FeatureChoice:
    """Choice of features with its reason.

    Attributes:
        name: kind of features: "none", "pca", "autoencoder", "umap", "swav" or "model".
        reason: reason of the choice in words.
        image_shape: shape `(H, W, C)` of points that are images or vectors of pixels; else `None`.
        uses_angles: whether vectors are compared by their directions.
    """

    name: str
    reason: str
    image_shape: tuple[int, int, int] | None = None
    uses_angles: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose(name: str, sample: np.ndarray, num_points: int | None = None) -> FeatureChoice:
    """Decides how points become features.

    Args:
        name: kind of features that the user asked for; only "auto" leaves a choice.
        sample: sample of the points, `[n, ...]`.
        num_points: number of points N; by default, the sample is all of them.
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
    return FeatureChoice(name, reason, image_shape, uses_angles and not _has_mixed_units(rows))


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
        products = np.sum(rows[:, lag:] * rows[:, :-lag], axis=0)
        return float(np.mean(products))

    adjacent = min(correlation(1), correlation(side))
    between = max(correlation(side // 2), correlation(side + side // 2))
    # Margins of images do not vary.
    varying_share = float(np.mean(np.abs(rows).max(axis=0) > 0))
    least = max(_SETTINGS.adjacent * varying_share, between + _SETTINGS.adjacent_margin)
    return (side, side, 1) if adjacent > least else None


def curvature(rows: np.ndarray, seed: int = 0) -> float:
    """Returns the local dimension of points over that of a Gaussian with the same covariance.

    It is about one for Gaussians and mixtures of them, and far less for curved surfaces.

    Args:
        rows: points, `[N, D]`, of which 2,000 are used.
        seed: random seed; the same seed gives the same sample and Gaussian.
    """
    generator = np.random.default_rng([seed, 13])
    if len(rows) > _SETTINGS.sample_size:
        rows = rows[generator.choice(len(rows), _SETTINGS.sample_size, replace=False)]
    rows = np.unique(rows.astype(np.float64), axis=0)
    if len(rows) <= _SETTINGS.neighbours:
        return 1.0
    centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows))
    # G X / sqrt(n) for a standard Gaussian matrix G has rows with the covariance of X, and no
    # covariance matrix is factorised.
    gaussian = generator.normal(size=(len(rows), len(rows))) @ centred
    wanted = _local_dimension(gaussian)
    return _local_dimension(rows) / wanted if wanted > 0 else 1.0


def _local_dimension(rows: np.ndarray) -> float:
    """Estimates the dimension from distances to neighbours."""
    # 1 / mean over points and j < k of log(d_k / d_j), [Levina and Bickel 2004] with the inverses
    # averaged.
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=_SETTINGS.neighbours, algorithm="brute")
    distances = search.fit(rows).kneighbors()[0]
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


def _has_mixed_units(rows: np.ndarray) -> bool:
    variances = rows.var(axis=0, dtype=np.float64)
    varying = variances[variances > 0]
    return bool(len(varying)) and varying.max() > _SETTINGS.mixed_units * np.median(varying)
