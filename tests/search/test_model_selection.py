"""The weight of the prior and the structure of covariances where points are scarce."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.datasets

from tests.reference.searches import search_settings
from tfdpm import metrics
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.model_selection import choose_prior_weight, select_search


def clusters(deviations, dim=24, per_cluster=40, seed=0):
    """Separate round clusters of these standard deviations, with variance one in all."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(deviations)), per_cluster)
    centres = 10.0 * max(deviations) * generator.normal(size=(len(deviations), dim))
    noise = generator.normal(size=(len(labels), dim))
    points = centres[labels] + np.asarray(deviations)[labels, np.newaxis] * noise
    return (points - points.mean(axis=0)) / points.std(), labels


def weight_for(deviations) -> float:
    points, labels = clusters(deviations)
    search = MixtureSearch(points, search_settings(points.shape[1]), 0)
    return choose_prior_weight(search, labels).prior.extra_df / points.shape[1]


def test_clusters_of_one_covariance_get_a_firm_prior_and_unlike_ones_a_light_prior():
    assert weight_for([1.0] * 5) >= 4.0
    assert weight_for([0.02, 0.1, 0.3, 1.0, 3.0]) <= 1.0


def test_the_weight_does_not_depend_on_the_prior_before():
    points, labels = clusters([1.0] * 5)
    search = MixtureSearch(points, search_settings(points.shape[1]), 0)
    chosen = choose_prior_weight(search, labels)
    again = choose_prior_weight(search.with_prior_weight(7.0), labels)
    assert again.prior.extra_df == chosen.prior.extra_df
    assert again.score(labels) == pytest.approx(chosen.score(labels))
    assert all(
        search.with_prior_weight(weight).fit_scale_to(labels) <= chosen.score(labels)
        for weight in (0.0, 12.0, 24.0, 48.0, 96.0, 192.0, 384.0)
    )


@pytest.mark.parametrize("deviations", [[1.0] * 8, [0.3, 0.5, 1.0, 2.0]])
def test_three_searches_at_most_find_clusters_of_scarce_points(deviations, monkeypatch):
    starts = []
    real = MixtureSearch.run_from

    def note(search, labels, *args):
        starts.append(int(labels.max()) + 1)
        return real(search, labels, *args)

    monkeypatch.setattr(MixtureSearch, "run_from", note)
    points, labels = clusters(deviations)
    search, found, _ = select_search(points, search_settings(points.shape[1]), 0, 1)
    assert metrics.ari(labels, found) == 1.0
    # The first starts from one cluster, the others from what it found.
    assert len(starts) <= 3 and starts[1:] == [len(deviations)] * (len(starts) - 1)
    assert search.prior.extra_df == choose_prior_weight(search, found).prior.extra_df


def test_plenty_of_points_are_searched_once_with_the_lightest_prior(monkeypatch):
    monkeypatch.setattr(MixtureSearch, "with_prior_weight", None)
    points, labels = clusters([1.0] * 3, dim=3, per_cluster=200)
    search, found, _ = select_search(points, search_settings(3), 0, 1)
    assert search.prior.extra_df == 0 and metrics.ari(labels, found) > 0.95


def test_no_firmer_prior_explains_the_clusters_that_it_leads_to_better():
    wine = sklearn.datasets.load_wine()
    standardised = (wine.data - wine.data.mean(axis=0)) / wine.data.std(axis=0)
    points = standardised @ np.linalg.svd(standardised, full_matrices=False)[2][:5].T
    search, labels, _ = select_search(points, search_settings(5), 0, 1)
    firmer = search.with_prior_weight(2.0 * search.prior.extra_df)
    found, _ = firmer.run_from(labels)
    assert firmer.score(found) <= search.score(labels)
    assert metrics.ari(wine.target, labels) > 0.8
