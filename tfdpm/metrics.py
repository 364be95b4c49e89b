"""Scores of a clustering: against known labels (accuracy, NMI, ARI) or without any (silhouette)."""

from __future__ import annotations

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    rand_score,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix

from tfdpm import checks

__all__ = [
    "ari",
    "clustering_accuracy",
    "nmi",
    "rand_index",
    "score_labels",
    "silhouette",
]

_DISTANCES_MIB = 32  # distances that `silhouette` holds at once; all of 5,000 points take 191 MiB

UNKNOWN_LABEL = int(np.iinfo(np.int64).min)  # of points whose label nobody knows


def score_labels(labels_true: ArrayLike, labels_pred: ArrayLike) -> dict[str, float]:
    """Returns `nmi`, `ari` and `acc` of a clustering by these names.

    Args:
        labels_true: known labels, `[N]`, N >= 1, numbers or text. Points with `UNKNOWN_LABEL` do
            not count; where all have it, there are no scores.
        labels_pred: clusters, `[N]`.
    Returns:
        The values of `nmi`, `ari` and `clustering_accuracy`.
    Raises:
        ValueError: if either is not one-dimensional, is empty, or the lengths differ.
    """
    is_known = np.asarray(labels_true) != UNKNOWN_LABEL
    if is_known.ndim and not is_known.all():
        if not is_known.any():
            return {}
        labels_true = np.asarray(labels_true)[is_known]
        labels_pred = np.asarray(labels_pred)[is_known]
    codes = _as_codes(labels_true, labels_pred)
    return {"nmi": nmi(*codes), "ari": ari(*codes), "acc": clustering_accuracy(*codes)}


def clustering_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Returns the share of points whose cluster is matched to their label, in (0, 1].

    The matching of labels to clusters is one to one and the best there is ([DeepDPM] supplement
    eq. 1, Hungarian algorithm). Points of labels or clusters without a partner count as errors.
    Arguments and errors are those of `score_labels`.
    """
    table = contingency_matrix(*_as_codes(labels_true, labels_pred))
    matched = linear_sum_assignment(table, maximize=True)
    return float(table[matched].sum() / table.sum())


def nmi(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Returns the normalised mutual information, `2 I(true; pred) / (H(true) + H(pred))`.

    [DeepDPM] supplement eq. 2: the entropies' arithmetic mean is the normaliser. It is in [0, 1],
    and 1 when the partitions agree, which includes one cluster on both sides. Arguments and errors
    are those of `score_labels`.
    """
    return float(normalized_mutual_info_score(*_as_codes(labels_true, labels_pred)))


def rand_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Returns the share of pairs of points that both partitions put together or both put apart.

    [DeepDPM] supplement eq. 3; 1 for a single point, which makes no pair. Arguments and errors are
    those of `score_labels`.
    """
    return float(rand_score(*_as_codes(labels_true, labels_pred)))


def ari(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Returns the Rand index corrected for chance, `(both - expected) / (largest - expected)`.

    It is 0 in expectation for independent labels of the same sizes ([DeepDPM] supplement eq. 4),
    and 1 when the partitions agree, which includes the trivial ones. Arguments and errors are those
    of `score_labels`.
    """
    return float(adjusted_rand_score(*_as_codes(labels_true, labels_pred)))


def silhouette(x: ArrayLike, labels: ArrayLike, *, max_points: int = 5000, seed: int = 0) -> float:
    """Returns the mean silhouette coefficient, of a uniform sample where there are many points.

    [DeepDPM] supplement eqs. 5-7: `s = (b - a) / max(a, b)`, where `a` is a point's mean Euclidean
    distance to its own cluster and `b` that to the nearest other cluster.

    Args:
        x: features, `[N, D]`, finite.
        labels: clusters, `[N]`.
        max_points: size of the sample, at least 2; time grows with its square.
        seed: random seed of the sample, at least 0; the same seed gives the same value.
    Returns:
        A number in [-1, 1]. A cluster of one point counts 0. NaN when all points of the sample are
        in one cluster, because no other cluster is there to compare with.
    Raises:
        ValueError: if the shapes are not `[N, D]` and `[N]` or an argument is out of range.
    """
    points = np.asarray(x)
    if points.ndim != 2 or 0 in points.shape:
        checks.fail("x", f"shape {points.shape}", "[N, D] features")
    clusters = _as_labels(labels, "labels")
    if len(clusters) != len(points):
        checks.fail("labels", f"{len(clusters)} labels", f"{len(points)}, one for each row of `x`")
    checks.integer(max_points, "max_points", minimum=2)
    checks.integer(seed, "seed", minimum=0)
    if len(points) > max_points:
        sample = np.random.default_rng(seed).choice(len(points), max_points, replace=False)
        points, clusters = points[sample], clusters[sample]
    num_clusters = len(np.unique(clusters))
    if num_clusters < 2:
        return float("nan")
    if num_clusters == len(points):  # scikit-learn refuses clusters of one point each
        return 0.0
    # Distances come from |a|^2 - 2ab + |b|^2, which loses digits far from the origin.
    points = points.astype(np.float64)
    points -= points.mean(axis=0)
    with sklearn.config_context(working_memory=_DISTANCES_MIB):
        return float(silhouette_score(points, clusters))


def _as_codes(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[NDArray, NDArray]:
    """Returns both labels as integers from 0, or raises unless they are as many."""
    true = _as_labels(labels_true, "labels_true")
    pred = _as_labels(labels_pred, "labels_pred")
    if len(true) != len(pred):
        wanted = f"{len(true)}, one for each of `labels_true`"
        checks.fail("labels_pred", f"{len(pred)} labels", wanted)
    return np.unique(true, return_inverse=True)[1], np.unique(pred, return_inverse=True)[1]


def _as_labels(labels: ArrayLike, name: str) -> NDArray:
    """Returns `labels` as a non-empty one-dimensional array."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        checks.fail(name, f"shape {array.shape}", "a non-empty one-dimensional [N]")
    return array
