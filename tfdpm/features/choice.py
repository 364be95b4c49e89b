"""Which features suit which data: the rule behind `features="auto"`, and its reasons.

It looks at shape, size and distances, never at labels, and trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sklearn.neighbors

__all__ = ["FeatureChoice", "choose", "curvature", "image_shape_of"]

_FEWEST_POINTS = 500  # fewer do not show the shape of a curved set
_FEW_FEATURES = 16  # so few are clustered as they are
_LOOKED_AT = 2000
_NEIGHBOURS = 10
_CURVED = 0.6  # dimension near a point, as a share of that of a Gaussian of the same covariance
# Likewise of signed vectors of so many features: embeddings carry noise in all their directions,
# which hides that their subjects lie on curved sets.
_CURVED_EMBEDDING, _EMBEDDING_FEATURES = 0.8, 64
_MIXED_UNITS = 1000.0  # ratio of variances, as in the model's own scaling
_SMALLEST_SIDE = 8  # pixels; less is no image but a few features
_ADJACENT = 0.2  # least correlation of adjacent pixels
_ADJACENT_MARGIN = 0.1


@dataclass(frozen=True)
class FeatureChoice:
    """Features by name, and why.

    Attributes:
        name: "none", "pca", "autoencoder", "umap", "swav" or "model".
        reason: in a few words.
        image_shape: `(H, W, C)` where points are images, also as vectors of pixels; else None.
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
        name: what was asked for; only "auto" leaves a choice.
        sample: `[n, ...]` of the points.
        num_points: N, where the sample is not all.
    """
    rows = sample.reshape(len(sample), -1)
    image_shape = image_shape_of(sample)
    # Embeddings of texts and images are signed and told apart by direction.
    uses_angles = image_shape is None and rows.shape[1] > _FEW_FEATURES and bool((rows < 0).any())
    reason = "asked for"
    if name == "auto":
        is_embedding = uses_angles and rows.shape[1] >= _EMBEDDING_FEATURES
        most = _CURVED_EMBEDDING if is_embedding else _CURVED
        name, reason = _automatic(sample, rows, image_shape, num_points or len(sample), most)
    return FeatureChoice(name, reason, image_shape, uses_angles and not _has_mixed_units(rows))


def _automatic(sample, rows, image_shape, num_points: int, most: float) -> tuple[str, str]:
    """Name and reason; clusters count as curved below a share of `most`."""
    size = f"N = {num_points:,}, D = {rows.shape[1]:,}"
    if num_points < _FEWEST_POINTS:
        return "none", f"{size}: fewer than {_FEWEST_POINTS} points show no curved shape"
    if image_shape is not None:
        height, width, channels = image_shape
        kind = "images" if sample.ndim > 2 else "vectors of pixels"
        colour = "grey" if channels == 1 else f"{channels} channels"
        text = f"N = {num_points:,} {kind} of {height} x {width}, {colour}"
        return "umap", f"{text}: alike images are neighbours, but no Gaussians of pixels"
    if rows.shape[1] <= _FEW_FEATURES:
        return "none", f"{size}: few features, clustered as they are"
    if _has_mixed_units(rows):
        return "none", f"{size}: columns of different units, a table"
    share = curvature(rows)
    text = f"{size}: near a point {share:.0%} of the dimension of a Gaussian of this covariance"
    if share < most:
        return "umap", f"{text}, so that clusters are curved"
    return "none", f"{text}, so that clusters may be Gaussian"


def image_shape_of(sample: np.ndarray) -> tuple[int, int, int] | None:
    """`(H, W, C)` of images of 8 pixels a side or more, and of vectors of such pixels.

    Vectors are taken for square grey images where a value resembles the next one and the one a row
    below, and less the one half a row on.
    """
    if sample.ndim > 2:
        shape = (*sample.shape[1:], 1)[:3]
        return shape if min(shape[:2]) >= _SMALLEST_SIDE else None
    side = int(round(np.sqrt(sample.shape[1])))
    if side * side != sample.shape[1] or side < _SMALLEST_SIDE or len(sample) < _NEIGHBOURS:
        return None
    rows = sample[:_LOOKED_AT].astype(np.float64)
    rows = rows - rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=0), 1e-12)

    def correlation(lag: int) -> float:
        products = np.sum(rows[:, lag:] * rows[:, :-lag], axis=0)
        return float(np.mean(products))

    adjacent = min(correlation(1), correlation(side))
    between = max(correlation(side // 2), correlation(side + side // 2))
    is_image = adjacent > _ADJACENT * _varying_share(rows) and (
        adjacent > between + _ADJACENT_MARGIN
    )
    return (side, side, 1) if is_image else None


def curvature(rows: np.ndarray, seed: int = 0) -> float:
    """How much of the freedom that the covariance promises points have near each other.

    The dimension that distances to neighbours show ([Levina and Bickel 2004], inverses averaged),
    over that of as many points of one Gaussian with the same covariance. About one for Gaussians
    and mixtures of them; far less where points lie on curved surfaces.

    Args:
        rows: `[N, D]`; 2,000 of them are looked at.
        seed: of those and of the Gaussian.
    """
    generator = np.random.default_rng([seed, 13])
    if len(rows) > _LOOKED_AT:
        rows = rows[generator.choice(len(rows), _LOOKED_AT, replace=False)]
    rows = np.unique(rows.astype(np.float64), axis=0)
    if len(rows) <= _NEIGHBOURS:
        return 1.0
    centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows))
    # Mixing the rows at random gives a Gaussian with their covariance, at no cost of a square.
    gaussian = generator.normal(size=(len(rows), len(rows))) @ centred
    wanted = _local_dimension(gaussian)
    return _local_dimension(rows) / wanted if wanted > 0 else 1.0


def _local_dimension(rows: np.ndarray) -> float:
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=_NEIGHBOURS, algorithm="brute")
    distances = search.fit(rows).kneighbors()[0]
    distances = distances[distances[:, 0] > 0]
    if not len(distances):
        return 0.0
    inverse = np.mean(np.log(distances[:, -1:] / distances[:, :-1]))
    return float(1.0 / max(inverse, 1e-12))


def _has_mixed_units(rows: np.ndarray) -> bool:
    variances = rows.var(axis=0, dtype=np.float64)
    varying = variances[variances > 0]
    return bool(len(varying)) and varying.max() > _MIXED_UNITS * np.median(varying)


def _varying_share(rows: np.ndarray) -> float:
    """Share of columns that vary: margins of images do not."""
    return float(np.mean(np.abs(rows).max(axis=0) > 0))
