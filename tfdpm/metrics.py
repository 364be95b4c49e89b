"""Scores of a clustering: against known labels (accuracy, NMI, ARI) or without any (silhouette).

Nothing here trains or knows about the model. Labels are any hashable NumPy values; only the
partition they make matters, and the two sides may have different numbers of clusters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from tfdpm import checks

__all__ = ["ari", "clustering_accuracy", "contingency_table", "nmi", "rand_index", "silhouette"]

_DISTANCE_BLOCK = 4_000_000  # distances held at once by `silhouette`: 32 MB in float64


def contingency_table(labels_true: ArrayLike, labels_pred: ArrayLike) -> NDArray[np.int64]:
    """Counts of points by true label (rows) and cluster (columns), both in sorted order.

    Args:
        labels_true: `[N]` known labels, N >= 1.
        labels_pred: `[N]` clusters.
    Returns:
        `[number of true labels, number of clusters]` int64, summing to N.
    Raises:
        ValueError: if either is not one-dimensional, is empty, or the lengths differ.
    """
    true = _labels(labels_true, "labels_true")
    pred = _labels(labels_pred, "labels_pred")
    if len(true) != len(pred):
        checks.fail(
            "labels_pred", f"{len(pred)} labels", f"{len(true)}, one for each of `labels_true`"
        )
    true_values, true_index = np.unique(true, return_inverse=True)
    pred_values, pred_index = np.unique(pred, return_inverse=True)
    shape = (len(true_values), len(pred_values))
    cells = np.bincount(true_index * shape[1] + pred_index, minlength=shape[0] * shape[1])
    return cells.reshape(shape).astype(np.int64)


def clustering_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of points whose cluster is matched to their label by the best one-to-one matching.

    [DeepDPM] supplement eq. 1, solved by the Hungarian algorithm. When there are more clusters
    than labels, or fewer, the points of whatever stays unmatched count as errors.

    Args:
        labels_true: `[N]` known labels, N >= 1.
        labels_pred: `[N]` clusters.
    Returns:
        A number in (0, 1]; 1 when the partitions agree.
    Raises:
        ValueError: if either is not one-dimensional, is empty, or the lengths differ.
    """
    table = contingency_table(labels_true, labels_pred)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def nmi(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Normalised mutual information, `2 I(true; pred) / (H(true) + H(pred))`.

    [DeepDPM] supplement eq. 2: the entropies' arithmetic mean is the normaliser.

    Args:
        labels_true: `[N]` known labels, N >= 1.
        labels_pred: `[N]` clusters.
    Returns:
        A number in [0, 1]; 1 when the partitions agree, which includes one cluster on both sides.
    Raises:
        ValueError: if either is not one-dimensional, is empty, or the lengths differ.
    """
    joint = contingency_table(labels_true, labels_pred)
    joint = joint / joint.sum()
    true, pred = joint.sum(axis=1), joint.sum(axis=0)
    entropies = -np.sum(true * np.log(true)) - np.sum(pred * np.log(pred))
    if entropies <= 0.0:
        return 1.0
    full = joint > 0
    information = np.sum(joint[full] * np.log(joint[full] / np.outer(true, pred)[full]))
    return float(np.clip(2.0 * information / entropies, 0.0, 1.0))


def rand_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of the pairs of points on which the two partitions agree (together or apart).

    [DeepDPM] supplement eq. 3.

    Args:
        labels_true: `[N]` known labels, N >= 1.
        labels_pred: `[N]` clusters.
    Returns:
        A number in [0, 1]; 1 for a single point, which makes no pair.
    Raises:
        ValueError: if either is not one-dimensional, is empty, or the lengths differ.
    """
    both, true, pred, total = _pair_counts(labels_true, labels_pred)
    return 1.0 if total == 0 else (total + 2.0 * both - true - pred) / total


def ari(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Rand index corrected for chance: 0 in expectation for independent labels of the same sizes.

    [DeepDPM] supplement eq. 4.

    Args:
        labels_true: `[N]` known labels, N >= 1.
        labels_pred: `[N]` clusters.
    Returns:
        A number in [-0.5, 1]; 1 when the partitions agree, which includes the trivial ones.
    Raises:
        ValueError: if either is not one-dimensional, is empty, or the lengths differ.
    """
    both, true, pred, total = _pair_counts(labels_true, labels_pred)
    expected = true * pred / total if total else 0.0
    largest = 0.5 * (true + pred)
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def silhouette(x: ArrayLike, labels: ArrayLike, *, max_points: int = 5000, seed: int = 0) -> float:
    """Mean silhouette coefficient, on a seeded uniform sample when there are many points.

    [DeepDPM] supplement eqs. 5-7: `s = (b - a) / max(a, b)` with `a` the mean Euclidean distance
    to the point's own cluster and `b` that to the nearest other one. Needs no known labels.

    Args:
        x: `[N, D]` features, finite.
        labels: `[N]` clusters.
        max_points: sample size above which points are drawn without replacement, >= 2; time
            grows with its square.
        seed: seed of the sample, >= 0.
    Returns:
        A number in [-1, 1]. A cluster of one point counts 0. NaN when the (sampled) points are
        all in one cluster: there is no other cluster to compare with.
    Raises:
        ValueError: if the shapes are not `[N, D]` and `[N]` or an argument is out of range.
    """
    points = np.asarray(x)
    if points.ndim != 2 or 0 in points.shape:
        checks.fail("x", f"shape {points.shape}", "[N, D] features")
    clusters = _labels(labels, "labels")
    if len(clusters) != len(points):
        checks.fail("labels", f"{len(clusters)} labels", f"{len(points)}, one for each row of `x`")
    checks.integer(max_points, "max_points", minimum=2)
    checks.integer(seed, "seed", minimum=0)
    if len(points) > max_points:
        sample = np.random.default_rng(seed).choice(len(points), max_points, replace=False)
        points, clusters = points[sample], clusters[sample]
    values, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if len(values) < 2:
        return float("nan")
    return float(np.mean(_silhouettes(points.astype(np.float64), index, sizes)))


def _silhouettes(
    points: NDArray[np.float64], index: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Silhouette of every point, in blocks so that the `[N, N]` distances never exist at once."""
    members = np.zeros((len(points), len(sizes)))
    members[np.arange(len(points)), index] = 1.0
    result = np.zeros(len(points))
    block = max(1, _DISTANCE_BLOCK // len(points))
    for start in range(0, len(points), block):
        own = index[start : start + block]
        rows = np.arange(len(own))
        sums = cdist(points[start : start + block], points) @ members
        # The point itself is one of its cluster's members, at distance 0: hence the size - 1.
        within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
        means = sums / sizes
        means[rows, own] = np.inf
        nearest = means.min(axis=1)
        scale = np.maximum(within, nearest)
        usable = (sizes[own] > 1) & (scale > 0)
        result[start : start + block][usable] = ((nearest - within)[usable]) / scale[usable]
    return result


def _pair_counts(
    labels_true: ArrayLike, labels_pred: ArrayLike
) -> tuple[float, float, float, float]:
    """Counts pairs together in both, in the true, in the predicted partition, and all pairs."""
    table = contingency_table(labels_true, labels_pred).astype(np.float64)

    def pairs(counts: NDArray[np.float64]) -> float:
        return float(np.sum(counts * (counts - 1.0)) / 2.0)

    return pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0)), pairs(table.sum())


def _labels(labels: ArrayLike, name: str) -> NDArray:
    """`labels` as a non-empty one-dimensional array."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        checks.fail(name, f"shape {array.shape}", "a non-empty one-dimensional [N]")
    return array
