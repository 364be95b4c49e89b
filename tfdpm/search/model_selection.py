"""Selection of a prior's weight and a covariance structure where points are scarce."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfdpm.mixture.covariance import STRUCTURES
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.prior import SearchSettings

# Points are scarce for full covariances where D^2 exceeds this share of n, or exceeds n / K.
_SCARCE = 0.05

_Result = tuple[MixtureSearch, np.ndarray, MixtureParameters]


def select_search(
    points: np.ndarray, settings: SearchSettings, seed: int, initial_clusters: int
) -> _Result:
    """Searches once, or where points are scarce several times, and keeps the best search.

    Where points are scarce for full covariances, further searches are made and the one with the
    largest evidence is kept. Full covariances get firmer priors as long as the evidence rises:
    the prior is worth D / 2, D, 2 D and at most 4 D further points. Under the structure `"auto"`,
    diagonal and spherical covariances are tried too.

    Args:
        points, settings, seed: as for `MixtureSearch`.
        initial_clusters: K of the initial K-means.

    Returns:
        The search with the moves of all, its labels `[n]` and its mixture.
    """
    is_open = settings.covariance == "auto"
    settings = dataclasses.replace(settings, covariance="full") if is_open else settings
    best = _run_search(MixtureSearch(points, settings, seed), initial_clusters)
    moves = best[0].moves
    num_points, dim = points.shape
    is_scarce = dim**2 > min(_SCARCE * num_points, num_points / best[2].num_components)
    if settings.fixed_scale is not None or not is_scarce or settings.covariance != "full":
        return best
    for extra_df in (round(dim / 2), dim, 2 * dim, 4 * dim):
        # The first starts afresh, in case nothing was ever split; the others go on from there.
        labels = best[1] if best[0].prior.extra_df else None
        search = best[0].with_prior_weight(float(extra_df))
        firmer = _run_search(search, initial_clusters, labels, best[0].trace)
        moves += firmer[0].moves
        if _score(firmer) <= _score(best):
            break
        best = firmer
    for structure in STRUCTURES[1:] if is_open else ():
        restricted = dataclasses.replace(settings, covariance=structure)
        search = MixtureSearch(points, restricted, seed)
        # It goes on from the clusters so far if it explains them better. From one cluster alone it
        # starts afresh, since full covariances may cost too much evidence to split it.
        labels = best[1] if best[2].num_components > 1 else None
        if labels is None or search.score(labels) > _score(best):
            best = max(best, _run_search(search, initial_clusters, labels), key=_score)
            moves += search.moves
    return best[0].with_moves(moves), best[1], best[2]


def _run_search(
    search: MixtureSearch,
    initial_clusters: int,
    labels: np.ndarray | None = None,
    trace: Sequence[np.ndarray] = (),
) -> _Result:
    """Runs a search from K-means, or from `labels` that the partitions of `trace` led to."""
    if labels is None:
        return search, *search.run(initial_clusters)
    return search, *search.run_from(labels, trace)


def _score(result: _Result) -> float:
    return result[0].score(result[1])
