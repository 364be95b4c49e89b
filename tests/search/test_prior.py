from __future__ import annotations

import numpy as np
import pytest

from tests.reference.searches import search_settings
from tfdpm.mixture.prior import automatic_scale
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.prior import SearchPrior

N = 50_000
FLOOR_OF_ONE = automatic_scale(N, 1, 2)


def make_prior(extra_df=0.0, **changes):
    return SearchPrior(search_settings(**changes), N, 2, extra_df)


def spheres(variance, count=N // 2, clusters=2):
    """Statistics of clusters around far means with `variance` in every direction."""
    means = 10.0 * np.arange(1, clusters + 1)[:, None] * np.ones((clusters, 2))
    outer = means[:, :, None] * means[:, None, :] + variance * np.eye(2)
    return SufficientStatistics(np.full(clusters, float(count)), count * means, count * outer)


def test_more_degrees_of_freedom_leave_the_mean_of_a_covariance():
    light, heavy = make_prior(), make_prior(extra_df=6.0)
    light.scale = 1.0
    heavy.scale = 7.0
    means = [
        prior.as_niw().scale.numpy() / (float(prior.as_niw().df) - 3) for prior in (light, heavy)
    ]
    np.testing.assert_allclose(*means)
    assert heavy.df == light.df + 6.0


def test_a_scale_on_its_floor_follows_it_and_one_above_does_not():
    prior = make_prior()
    prior.scale = FLOOR_OF_ONE
    prior.follow_floor(50)
    assert prior.scale == automatic_scale(N, 50, 2) != FLOOR_OF_ONE
    prior.scale = 2.0 * FLOOR_OF_ONE + 1.0
    above = prior.scale
    prior.follow_floor(2)
    assert prior.scale == above


def test_the_fitted_scale_is_the_best_of_many():
    prior = make_prior()
    statistics = spheres(0.5)
    assert prior.fit_scale(statistics)
    scales = prior.scale * np.array([0.7, 0.9, 1.0, 1.1, 1.4])
    scores = []
    for scale in scales:
        other = make_prior()
        other.scale = scale
        scores.append(other.partition_prior().terms(statistics).sum())
    assert np.argmax(scores) == 2
    assert not prior.fit_scale(statistics)


def test_the_scale_of_all_points_is_in_proportion_to_their_number():
    prior = make_prior(scale_factor=0.5)
    np.testing.assert_allclose(prior.as_niw(4.0).scale.numpy(), 4.0 * 0.5 * prior.scale * np.eye(2))


def test_a_given_scale_is_not_fitted():
    prior = make_prior(fixed_scale=np.diag([0.02, 0.05]))
    assert not prior.fit_scale(spheres(0.5))
    np.testing.assert_allclose(prior.as_niw(3.0).scale, np.diag([0.02, 0.05]))
    assert prior.partition_prior().df == pytest.approx(4.0)
