"""Which search a fit goes on with, where one alone may not tell enough of scarce points.

How a search moves is in `search.py`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.mixture.covariance import STRUCTURES
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.mixture_search import MixtureSearch, SearchSettings

_SCARCE = 0.05  # D^2 above this share of n, or above n / K: scarce for full covariances

_Searched = tuple[MixtureSearch, np.ndarray, MixtureParameters]


def best_search(
    points: np.ndarray, settings: SearchSettings, seed: int, initial_clusters: int
) -> tuple[MixtureSearch, np.ndarray, MixtureParameters]:
    """The search to go on with, its labels and its mixture; arguments as for `MixtureSearch`.

    Where points are scarce for full covariances, further searches are made and the one with the
    largest evidence is kept: full covariances with firmer priors, as long as the evidence rises
    (the prior is worth D / 2, D, 2 D and at most 4 D points more), and where the structure is
    `"auto"`, diagonal and spherical ones.
    """
    is_open = settings.covariance == "auto"
    settings = dataclasses.replace(settings, covariance="full") if is_open else settings
    best = _searched(points, settings, seed, initial_clusters)
    num_points, dim = points.shape
    is_scarce = dim**2 > min(_SCARCE * num_points, num_points / best[2].num_components)
    if settings.fixed_scale is not None or not is_scarce or settings.covariance != "full":
        return best
    for extra_df in (round(dim / 2), dim, 2 * dim, 4 * dim):
        # The first starts afresh, in case nothing was ever split; the others go on from there.
        labels = best[1] if best[0].extra_df else None
        firmer = _searched(points, settings, seed, initial_clusters, float(extra_df), labels)
        if labels is not None:
            firmer[0].trace[:0] = best[0].trace
        if _score(firmer) <= _score(best):
            break
        best = firmer
    if is_open:
        for structure in STRUCTURES[1:]:
            best = _restricted(best, points, settings, seed, initial_clusters, structure)
    return best


def _restricted(
    best: _Searched,
    points: np.ndarray,
    settings: SearchSettings,
    seed: int,
    initial_clusters: int,
    structure: str,
) -> _Searched:
    """The better one of a search and another with restricted covariances.

    The other goes on from the clusters of the first if it explains them better. Only where there
    is but one cluster it starts afresh, since full covariances may have been too dear to split.
    """
    settings = dataclasses.replace(settings, covariance=structure)
    labels = best[1] if best[2].num_components > 1 else None
    if labels is not None and MixtureSearch(points, settings, seed).score(labels) <= _score(best):
        return best
    return max(best, _searched(points, settings, seed, initial_clusters, labels=labels), key=_score)


def _searched(
    points: np.ndarray,
    settings: SearchSettings,
    seed: int,
    initial_clusters: int,
    extra_df: float = 0.0,
    labels: np.ndarray | None = None,
) -> _Searched:
    """One search, from K-means or from `labels`."""
    search = MixtureSearch(points, settings, seed, extra_df)
    return search, *(search.run(initial_clusters) if labels is None else search.run_from(labels))


def _score(searched: _Searched) -> float:
    return searched[0].score(searched[1])
