"""What tells clusters apart: words of texts, and columns of tables in their units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

_MOST_WORDS = 20_000  # of the vocabulary, the most frequent ones


def typical_words(
    texts: Sequence[str], labels: np.ndarray, num_clusters: int, count: int
) -> list[list[str]]:
    """Returns at most `count` words of each cluster of texts `[n]`, the most telling first.

    They are ranked by class-wise tf-idf: the share of a cluster's words that the word has, times
    the logarithm of how rare it is in all clusters.
    """
    # c-TF-IDF [Grootendorst 2022]: f_kw / f_k log(1 + A / f_w), where f counts words in cluster k,
    # or in all, and A is the mean number of words in a cluster.
    counter = CountVectorizer(stop_words="english", max_features=_MOST_WORDS)
    try:
        of_texts = counter.fit_transform(texts)
    except ValueError:  # no words, such as texts of digits and signs
        return [[] for _ in range(num_clusters)]
    ones = np.ones(len(labels))
    member = sparse.csr_matrix(
        (ones, (labels, np.arange(len(labels)))), (num_clusters, len(labels))
    )
    counts = member @ of_texts
    in_all, in_cluster = np.asarray(counts.sum(axis=0)).ravel(), np.asarray(counts.sum(axis=1))
    rarity = np.log1p(in_all.sum() / num_clusters / in_all)
    words, found = counter.get_feature_names_out(), []
    for k in range(num_clusters):
        row = counts.getrow(k)
        scores = row.data / max(in_cluster[k, 0], 1.0) * rarity[row.indices]
        best = row.indices[np.argsort(-scores, kind="stable")[:count]]
        found.append(words[best].tolist())
    return found


def number(value: float, digits: int = 3) -> str:
    """Returns a number in so many significant digits, without an exponent."""
    return np.format_float_positional(value, digits, fractional=False, trim="-")


def explained_variance(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the share of the variance of each column `[n, D]` that lies between clusters."""
    values = values.astype(np.float64)
    total = values.var(axis=0)
    within = np.zeros_like(total)
    for k in np.unique(labels):
        own = values[labels == k]
        within += own.var(axis=0) * len(own) / len(values)
    constant = total <= 1e-12 * np.square(np.abs(values).max(axis=0))
    return np.where(constant, 0.0, 1.0 - within / np.where(constant, 1.0, total))


def cluster_moments(
    values: np.ndarray, labels: np.ndarray, num_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and standard deviations `[K, D]` of columns `[n, D]`; NaN without points."""
    moments = np.full((2, num_clusters, values.shape[1]), np.nan)
    for k in np.unique(labels):
        own = values[labels == k].astype(np.float64)
        mean, spread = own.mean(axis=0), own.std(axis=0)
        # What remains of equal values is rounding of their mean, not spread.
        moments[:, k] = mean, np.where(spread <= 1e-12 * np.abs(mean), 0.0, spread)
    return moments[0], moments[1]


def typical_columns(
    values: np.ndarray, labels: np.ndarray, means: np.ndarray, names: Sequence[str], count: int
) -> list[list[str]]:
    """Returns, in words, the `count` columns in which each cluster differs most from all points.

    Differences of means `[K, D]` count in standard deviations of the column within clusters.
    """
    values = values.astype(np.float64)
    overall, spread = values.mean(axis=0), (values - means[labels]).std(axis=0)
    spread = np.maximum(spread, 1e-3 * values.std(axis=0) + np.finfo(np.float64).tiny)
    found = []
    for own in means:
        distance = np.nan_to_num((own - overall) / spread)
        best = np.argsort(-np.abs(distance), kind="stable")[:count]
        found.append(
            [
                f"{names[i]} {number(own[i])}, all {number(overall[i])}"
                for i in best
                if abs(distance[i]) > 0.5
            ]
        )
    return found
