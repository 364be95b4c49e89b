"""A search in coordinates in which the pooled within-cluster covariance is the identity.

Where clusters overlap and points are scarce for a full covariance each, an isotropic prior sees
little: most spread is within clusters, and it differs by direction. Mapping and search are made by
turns. With the clusters of the last search, features are mapped so that their pooled covariance is
the identity, and the next search is made there. A firm prior is then nearly one covariance for all
clusters, which scarce points allow in more dimensions than a covariance of each cluster's own.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tfdpm.features.preprocessing import FeatureMoments, Preprocessing, fit_preprocessing
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.model_selection import choose_prior_weight
from tfdpm.search.points.kmeans import kmeans_labels
from tfdpm.search.points.sample import Sample
from tfdpm.search.prior import SearchSettings


@dataclasses.dataclass(frozen=True)
class _Settings:
    """When whitened searches are made, and how.

    Attributes:
        overlap: share of the variance within clusters below which clusters stand apart.
        hardly_clustered: share above which the clusters so far explain next to nothing.
        wider: number of principal axes as a multiple of that of the search so far.
        most_cells, fewest_cells: bounds of the number of clusters of the initial K-means.
        points_per_cell: least number of points for each of them.
        cell_iterations: largest number of iterations of the initial K-means.
        most_products: largest `n D^2 K` of an E-step; up to a few seconds, of which a search
            takes dozens.
        rounds: largest number of turns of mapping and search.
        least_gain: gain in evidence below which a turn is the last, nats per point.
    """

    overlap: float = 0.25
    hardly_clustered: float = 0.75
    wider: float = 2.0
    most_cells: int = 100
    fewest_cells: int = 10
    points_per_cell: int = 10
    cell_iterations: int = 10
    most_products: float = 2e9
    rounds: int = 8
    least_gain: float = 1e-5


_SETTINGS = _Settings()


class SearchResult(NamedTuple):
    """A search that has ended, its clusters and mixture, and the map to its features."""

    search: MixtureSearch
    labels: np.ndarray
    parameters: MixtureParameters
    preprocessing: Preprocessing


def search_whitened(
    result: SearchResult,
    raw: np.ndarray,
    moments: FeatureMoments,
    settings: SearchSettings,
    seed: int,
) -> SearchResult:
    """Searches in whitened coordinates if clusters overlap; returns the better result.

    The moves of the search that is returned are those of all.

    Args:
        result: result of the search in principal axes.
        raw: `[n, D_in]` raw sample.
        moments: moments of all raw inputs.
        settings, seed: of that search; `df` and `covariance` are set anew.
    """
    share = within_cluster_share(result.search.points, result.labels)
    if share < _SETTINGS.overlap:
        return result
    wide = fit_preprocessing(moments, "auto", wider=_SETTINGS.wider).leading()
    wide = dataclasses.replace(
        wide,
        steps=result.preprocessing.steps,
        counts_copies=result.preprocessing.counts_copies,
    )
    features, rows = _transform_counted(wide, raw)
    is_wider = wide.feature_dim > result.preprocessing.feature_dim
    if is_wider and not _num_cells(features):
        wide, is_wider = result.preprocessing, False
        features, rows = _transform_counted(wide, raw)
    num_cells = _num_cells(features)
    if not num_cells or not (is_wider or share >= _SETTINGS.hardly_clustered):
        return result
    initial_labels = [kmeans_labels(features, num_cells, seed, _SETTINGS.cell_iterations)]
    narrow = result.preprocessing.transform(raw[rows]).astype(np.float64)
    present_labels = Sample(narrow).labels(result.parameters)
    if is_wider and result.parameters.num_components > 1:
        initial_labels.append(present_labels)
    settings = dataclasses.replace(
        settings, df=wide.feature_dim + 2.0, covariance="full", rounding=wide.rounding
    )
    best, best_score = result, _score_in_wider_features(result, wide, features)
    moves = result.search.moves
    # Many clusters must also explain more than heavy tails of the present ones do.
    least = _score_with_tails(*_whiten(features, present_labels, settings, seed), present_labels)
    for labels in initial_labels:
        turn = _alternate(features, labels, settings, seed)
        moves += turn.moves
        with_tails = _score_with_tails(turn.search, turn.linear, turn.labels)
        if turn.score > best_score and with_tails > least:
            whitened = dataclasses.replace(
                wide,
                projection=wide.projection @ turn.linear,
                description=f"{wide.description}, stretched so that clusters are round on average",
            )
            best = SearchResult(turn.search, turn.labels, turn.parameters, whitened)
            best_score = turn.score
    return best._replace(search=best.search.with_moves(moves))


def partition_evidence(
    points: np.ndarray, labels: np.ndarray, settings: SearchSettings, seed: int
) -> float:
    """Evidence of a partition of `points [n, D]`, nats per point.

    It has the prior's scale and weight that explain the partition best, and no axis is left out.
    Points are distinct; columns may have any units, but none is constant. None of the clusters
    `labels [n]` in `[0, K)` is empty. Settings and seed are as for `MixtureSearch`.
    """
    deviations = points.std(axis=0)
    standardised = (points - points.mean(axis=0)) / deviations
    search, linear = _whiten(standardised, labels, settings, seed)
    score = search.score(labels) / len(points) + np.linalg.slogdet(linear)[1]
    return float(score - np.log(deviations).sum())


def _transform_counted(
    preprocessing: Preprocessing, raw: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features `[m, D]` float64 of the points that count, and a row of `raw` for each."""
    features = preprocessing.transform(raw)
    if preprocessing.counts_copies:
        return features.astype(np.float64), np.arange(len(raw))
    features, rows = np.unique(features, axis=0, return_index=True)
    return features.astype(np.float64), rows


def within_cluster_share(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance of `points [n, D]` that is within clusters, in [0, 1]."""
    total = float(np.var(points, axis=0).sum())
    return float(np.trace(_pooled_covariance(points, labels))) / total if total > 0 else 0.0


def _pooled_covariance(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pooled within-cluster covariance `[D, D]` of `points [n, D]`."""
    labels = np.unique(labels, return_inverse=True)[1].ravel()
    counts, sums, products = Sample(points).hard_statistics(labels, int(labels.max()) + 1)
    # n S = sum_k (sum x x^T - s_k s_k^T / N_k)
    within = products.sum(axis=0) - (sums / counts[:, np.newaxis]).T @ sums
    return np.asarray(0.5 * (within + within.T) / len(points))


def _num_cells(features: np.ndarray) -> int:
    """Number of clusters of the initial K-means; 0 where so many points would take too long."""
    num_points, dim = features.shape
    affordable = int(_SETTINGS.most_products / (num_points * dim**2))
    count = min(_SETTINGS.most_cells, num_points // _SETTINGS.points_per_cell, affordable)
    return count if count >= _SETTINGS.fewest_cells else 0


class _Turn(NamedTuple):
    """A search in whitened coordinates, and its evidence in the features' own, nats per point."""

    score: float
    search: MixtureSearch
    labels: np.ndarray
    parameters: MixtureParameters
    linear: np.ndarray
    moves: MoveCounts  # of all turns so far


def _alternate(
    features: np.ndarray, labels: np.ndarray, settings: SearchSettings, seed: int
) -> _Turn:
    """Maps and searches by turns from `labels [n]` until the evidence no longer rises."""
    turns: list[_Turn] = []
    moves = MoveCounts()
    for _ in range(_SETTINGS.rounds):
        search, linear = _whiten(features, labels, settings, seed)
        initial_labels = labels
        labels, parameters = search.run_from(labels)
        moves += search.moves
        score = search.score(labels) / len(features) + np.linalg.slogdet(linear)[1]
        if turns and score <= turns[-1].score + _SETTINGS.least_gain:
            break
        turns.append(_Turn(score, search, labels, parameters, linear, moves))
        if np.array_equal(labels, initial_labels):
            break
    return turns[-1]._replace(moves=moves)


def _whiten(
    features: np.ndarray, labels: np.ndarray, settings: SearchSettings, seed: int
) -> tuple[MixtureSearch, np.ndarray]:
    """A search where the clusters `labels` are round on average, and the map `[D, D]` to there.

    The mean variance of the mapped features is one.
    """
    # S^(-1/2) for the pooled covariance S = V diag(v) V^T.
    pooled, rounding = _pooled_covariance(features, labels), settings.rounding
    variances, axes = np.linalg.eigh(pooled if rounding is None else pooled + rounding)
    variances = np.maximum(variances, 1e-6 * variances.max())
    linear: np.ndarray = (axes / np.sqrt(variances)) @ axes.T
    linear /= np.sqrt(np.var(features @ linear, axis=0).mean())
    if rounding is not None:
        settings = dataclasses.replace(settings, rounding=linear.T @ rounding @ linear)
    return choose_prior_weight(MixtureSearch(features @ linear, settings, seed), labels), linear


def _score_with_tails(search: MixtureSearch, linear: np.ndarray, labels: np.ndarray) -> float:
    """Evidence of clusters with the tails that explain them best, nats per point."""
    terms, tails = search.shares(labels)
    # The map's determinant turns densities of mapped features into others.
    return float((terms.sum() + tails.sum()) / len(labels) + np.linalg.slogdet(linear)[1])


def _score_in_wider_features(
    result: SearchResult, wide: Preprocessing, features: np.ndarray
) -> float:
    """Evidence of a result in terms of wider features `[n, D]`, nats per point.

    Each axis that its search does not see is one Gaussian, at two parameters by Schwarz's
    criterion.
    """
    num_points, dim = len(features), result.preprocessing.feature_dim
    norms = [np.linalg.norm(part.projection[:, 0]) for part in (result.preprocessing, wide)]
    # Per point and axis: -1/2 (log(2 pi v) + 1) - log(n) / n.
    rest = features[:, dim:].var(axis=0)
    log_rest = -0.5 * np.sum(np.log(2 * np.pi * rest) + 1)
    penalty = len(rest) * np.log(num_points) / num_points
    score = result.search.score(result.labels) / len(result.labels)
    return float(score + dim * np.log(norms[0] / norms[1]) + log_rest - penalty)
