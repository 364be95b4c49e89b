"""Selection of a prior's weight and a covariance structure where points are scarce."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.mixture.covariance import STRUCTURES
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.prior import SearchSettings

# Points are scarce for full covariances where D^2 exceeds this share of n, or exceeds n / K.
_SCARCE = 0.05
# What a prior may be worth in further points, as multiples of D.
_PRIOR_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

_Result = tuple[MixtureSearch, np.ndarray, MixtureParameters]


def select_search(
    points: np.ndarray, settings: SearchSettings, seed: int, initial_clusters: int
) -> _Result:
    """Searches with the prior's weight and structure that explain the clusters found best.

    Where points are scarce for full covariances, the search goes on from its clusters with the
    weight that explains them best, or with twice the weight, as long as the evidence rises. Under
    the structure `"auto"`, diagonal and spherical covariances are tried too. Arguments are those of
    `MixtureSearch` and of its `run`.

    Returns:
        The search with the moves of all, its labels `[n]` and its mixture.
    """
    is_open = settings.covariance == "auto"
    settings = dataclasses.replace(settings, covariance="full") if is_open else settings
    search = MixtureSearch(points, settings, seed)
    has_weight = settings.covariance == "full" and settings.fixed_scale is None
    num_points, dim = points.shape
    is_scarce = dim**2 > _SCARCE * num_points
    if has_weight and is_scarce:
        # A prior that is worth too little may never split the first cluster.
        search = search.with_prior_weight(float(round(dim / 2)))
    best = search, *search.run(initial_clusters)
    is_scarce |= dim**2 > num_points / best[2].num_components
    if not (has_weight and is_scarce):
        return best
    moves = search.moves
    while True:
        search = choose_prior_weight(*best[:2])
        extra_df = best[0].prior.extra_df
        if search.prior.extra_df == extra_df:
            # Clusters of a firmer prior may be better ones, though these do not ask for it.
            search = search.with_prior_weight(max(2.0 * extra_df, float(round(dim / 2))))
            if best[2].num_components > 1 and not search.has_overlap(best[2]):
                # Under the scale that it begins with, they would be merged and found again.
                search.fit_scale_to(best[1])
        weighed = search, *search.run_from(best[1], best[0].trace)
        moves += search.moves
        if _score(weighed) <= _score(best):
            break
        best = weighed
    for structure in STRUCTURES[1:] if is_open else ():
        search = MixtureSearch(points, dataclasses.replace(settings, covariance=structure), seed)
        # It goes on from the clusters so far if it explains them better. From one cluster alone it
        # starts afresh, since full covariances may cost too much evidence to split it.
        if best[2].num_components == 1:
            found = search.run(initial_clusters)
        elif search.fit_scale_to(best[1]) > _score(best):
            found = search.run_from(best[1])
        else:
            continue
        best = max(best, (search, *found), key=_score)
        moves += search.moves
    return best[0].with_moves(moves), best[1], best[2]


def choose_prior_weight(search: MixtureSearch, labels: np.ndarray) -> MixtureSearch:
    """Returns the search whose prior has the weight and scale with the most evidence for `labels`.

    Points and settings are kept. No cluster of `labels [n]` in `[0, K)` is empty.
    """
    best, best_score = search, -np.inf
    for multiple in _PRIOR_WEIGHTS:
        weighed = search.with_prior_weight(float(round(multiple * search.points.shape[1])))
        score = weighed.fit_scale_to(labels)
        if score <= best_score:
            break
        best, best_score = weighed, score
    return best


def _score(result: _Result) -> float:
    return result[0].score(result[1])
