"""A search in coordinates in which clusters are round on average.

Where clusters overlap and points are scarce for a full covariance each, a prior that is round in
the features sees little: most spread is within clusters, and it differs by direction. Here the
prior's scale matrix takes the shape of the pooled within-cluster covariance, by turns with the
search: with the clusters found, features are mapped so that this covariance is the identity, and
the search goes on there. So shaped, a firm prior is nearly one covariance for all clusters, which
scarce points allow in more dimensions than a covariance of each cluster's own. What comes of it is
used only where its evidence is larger.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tfdpm.features.preprocessing import FeatureMoments, Preprocessing, fit_preprocessing
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.kmeans import kmeans_labels
from tfdpm.search.mixture_search import MixtureSearch, SearchSettings
from tfdpm.search.sample import Sample

_OVERLAP = 0.25  # share of the variance that is within clusters; below, clusters stand apart
_HARDLY_CLUSTERED = 0.75  # above, what was found explains next to nothing
_WIDER = 2.0  # times as many principal axes
_MOST_CELLS, _FEWEST_CELLS = 100, 10  # of the K-means start
_POINTS_PER_CELL = 10
_CELL_ITERATIONS = 10
_MOST_PRODUCTS = 2e9  # of one E-step, n D^2 K: up to a few seconds, of which a search takes dozens
_ROUNDS = 8
_LEAST_GAIN = 1e-5  # nats per point
_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # times D: what the prior may be worth in points


class Searched(NamedTuple):
    """A search with what it found, and the map to the features in which it was made."""

    search: MixtureSearch
    labels: np.ndarray
    parameters: MixtureParameters
    preprocessing: Preprocessing


def round_search(
    found: Searched,
    raw: np.ndarray,
    moments: FeatureMoments,
    settings: SearchSettings,
    seed: int,
) -> Searched:
    """`found`, or a search in rounder coordinates if clusters overlap and it explains more.

    Args:
        found: by the search in principal axes.
        raw: `[n, D_in]` raw sample.
        moments: of all raw inputs.
        settings: of `found`; `df` and `covariance` are set anew.
        seed: of K-means.
    """
    share = within_share(found.search.points, found.labels)
    if share < _OVERLAP:
        return found
    wide = fit_preprocessing(moments, "auto", wider=_WIDER).leading()
    features, rows = _distinct(wide, raw)
    is_wider = wide.feature_dim > found.preprocessing.feature_dim
    if is_wider and not _num_cells(features):
        wide, is_wider = found.preprocessing, False
        features, rows = _distinct(wide, raw)
    num_cells = _num_cells(features)
    if not num_cells or not (is_wider or share >= _HARDLY_CLUSTERED):
        return found
    starts = [kmeans_labels(features, num_cells, seed, _CELL_ITERATIONS)]
    narrow = found.preprocessing.transform(raw[rows]).astype(np.float64)
    found_labels = Sample(narrow).labels(found.parameters)
    if is_wider and found.parameters.num_components > 1:
        starts.append(found_labels)
    settings = dataclasses.replace(settings, df=wide.feature_dim + 2.0, covariance="full")
    best, most = found, _score_in(found, wide, features)
    # Many clusters must explain more than heavy tails of those that were found, too.
    least = _with_tails(*_reshaped(features, found_labels, settings, seed), found_labels)
    for start in starts:
        score, search, labels, parameters, linear = _alternated(features, start, settings, seed)
        if score > most and _with_tails(search, linear, labels) > least:
            words = f"{wide.description}, stretched so that clusters are round on average"
            projection = wide.projection @ linear
            rounder = dataclasses.replace(wide, projection=projection, description=words)
            best, most = Searched(search, labels, parameters, rounder), score
    return best


def _distinct(preprocessing: Preprocessing, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features `[m, D]` float64 without copies, and the rows of `raw` that they are of."""
    features, rows = np.unique(preprocessing.transform(raw), axis=0, return_index=True)
    return features.astype(np.float64), rows


def within_share(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance of `points [n, D]` that is within clusters, in [0, 1]."""
    total = float(np.var(points, axis=0).sum())
    return float(np.trace(_pooled(points, labels))) / total if total > 0 else 0.0


def _pooled(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pooled within-cluster covariance `[D, D]`."""
    labels = np.unique(labels, return_inverse=True)[1].ravel()
    statistics = Sample(points).hard_statistics(labels, int(labels.max()) + 1)
    counts, sums, products = statistics
    within = products.sum(axis=0) - (sums / counts[:, np.newaxis]).T @ sums
    return 0.5 * (within + within.T) / len(points)


def _rounding(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Map `[D, D]` after which clusters are round on average and the mean variance is one."""
    variances, axes = np.linalg.eigh(_pooled(points, labels))
    variances = np.maximum(variances, 1e-6 * variances.max())
    linear = (axes / np.sqrt(variances)) @ axes.T
    return linear / np.sqrt(np.var(points @ linear, axis=0).mean())


def _num_cells(features: np.ndarray) -> int:
    """Clusters of the K-means start; 0 where so many points would take too long."""
    num_points, dim = features.shape
    affordable = int(_MOST_PRODUCTS / (num_points * dim**2))
    count = min(_MOST_CELLS, num_points // _POINTS_PER_CELL, affordable)
    return count if count >= _FEWEST_CELLS else 0


def _alternated(features, labels, settings: SearchSettings, seed: int):
    """Mapping and search by turns from `labels` until the evidence no longer rises.

    Args:
        features: `[n, D]` float64.
        labels: `[n]`.
        settings: full covariances, the `df` of this D.
        seed: of the search.

    Returns:
        Evidence in terms of `features`, nats per point; search, labels, mixture; and the map.
    """
    best = None
    for _ in range(_ROUNDS):
        search, linear = _reshaped(features, labels, settings, seed)
        labels, parameters = search.run_from(labels)
        score = search.score(labels) / len(features) + np.linalg.slogdet(linear)[1]
        if best is not None and score <= best[0] + _LEAST_GAIN:
            break
        best = score, search, labels, parameters, linear
    return best


def _reshaped(features, labels, settings: SearchSettings, seed: int):
    """A search where the clusters `labels` are round on average, and the map `[D, D]` to there."""
    linear = _rounding(features, labels)
    return _weighed(MixtureSearch(features @ linear, settings, seed), labels), linear


def _with_tails(search: MixtureSearch, linear: np.ndarray, labels: np.ndarray) -> float:
    """Evidence of clusters with tails as heavy as explain them best, nats per point."""
    terms, tails = search.shares(labels)
    return float(terms.sum() + tails.sum()) / len(labels) + np.linalg.slogdet(linear)[1]


def _weighed(search: MixtureSearch, labels: np.ndarray) -> MixtureSearch:
    """The search whose prior has the weight with the largest evidence for `labels`."""
    best, most = search, search.settle_scale(labels)
    for multiple in _WEIGHTS[1:]:
        firmer = search.with_weight(float(round(multiple * search.points.shape[1])))
        score = firmer.settle_scale(labels)
        if score <= most:
            break
        best, most = firmer, score
    return best


def _score_in(found: Searched, wide: Preprocessing, features: np.ndarray) -> float:
    """Evidence of `found` in terms of wider features, nats per point.

    The axes that it does not see are one Gaussian each, at two parameters by Schwarz's criterion.
    """
    num_points, dim = len(features), found.preprocessing.feature_dim
    norms = [np.linalg.norm(part.projection[:, 0]) for part in (found.preprocessing, wide)]
    rest = features[:, dim:].var(axis=0)
    of_rest = -0.5 * np.sum(np.log(2 * np.pi * rest) + 1) - len(rest) * np.log(num_points) / (
        num_points
    )
    score = found.search.score(found.labels) / len(found.labels)
    return score + dim * np.log(norms[0] / norms[1]) + of_rest
