from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.reference.searches import search_settings
from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import (
    FeatureMoments,
    Preprocessing,
    feature_moments,
    fit_preprocessing,
)
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.evidence import SampleEvidence
from tfdpm.search.initialization import initialize_mixture
from tfdpm.search.points.sample import Sample
from tfdpm.search.prior import SearchPrior, automatic_scale, prior_from_moments

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
        prior.partition_prior().scale / (prior.partition_prior().df - 3) for prior in (light, heavy)
    ]
    np.testing.assert_allclose(*means)
    assert heavy.partition_prior().df == light.partition_prior().df + 6.0


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
    prior = make_prior(prior_scale=0.5)
    np.testing.assert_allclose(
        prior.partition_prior(4.0).scale, 4.0 * 0.5 * prior.scale * np.eye(2)
    )


def test_a_given_scale_is_not_fitted():
    prior = make_prior(fixed_scale=np.diag([0.02, 0.05]))
    assert not prior.fit_scale(spheres(0.5))
    np.testing.assert_allclose(prior.partition_prior(3.0).scale, np.diag([0.02, 0.05]))
    assert prior.partition_prior().df == pytest.approx(4.0)


@pytest.mark.parametrize(("dim", "distance"), [(2, 5.0), (5, 6.0)])
def test_a_split_gains_most_at_a_scale_in_between(dim, distance):
    rng = np.random.default_rng(0)
    sides = np.arange(400) % 2
    x = rng.normal(size=(400, dim)) + distance * sides[:, np.newaxis] * np.eye(dim)[0]
    sample = Sample((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).mean()))
    whole = np.zeros_like(sides)
    gains = []
    for scale in 10.0 ** np.arange(-6, 6):
        settings = search_settings(dim, fixed_scale=scale * np.eye(dim))
        evidence = SampleEvidence(sample, SearchPrior(settings, 400, dim))
        gains += [*evidence.split_gains(whole, sides, sample.hard_statistics(whole, 1))]
    best = int(np.argmax(gains))
    assert 0 < best < len(gains) - 1 and gains[best] > 0
    assert (np.diff(gains[: best + 1]) > 0).all() and (np.diff(gains[best:]) < 0).all()
    # Each factor of ten below costs a further cluster nu D / 2 log 10 nats, nu = D + 2.
    assert gains[1] - gains[0] == pytest.approx((dim + 2) * dim / 2 * np.log(10.0), rel=1e-3)


AS_IT_IS = Preprocessing(np.zeros(2), np.eye(2))
COVARIANCE = np.array([[4.0, 1.0], [1.0, 16.0]])


@pytest.mark.parametrize(
    ("kind", "diagonal"), [("auto", [10.0, 10.0]), ("identity", [1.0, 1.0]), ("std", [2.0, 4.0])]
)
@pytest.mark.parametrize("scale_times_df", [False, True])
def test_each_kind_of_prior_has_its_scale_matrix(kind, diagonal, scale_times_df):
    config = DeepDPMConfig(
        prior=kind, prior_scale=0.5, mean_precision=0.1, df=None, scale_times_df=scale_times_df
    )
    prior = prior_from_moments(
        FeatureMoments(500, np.array([1.0, 2.0]), COVARIANCE), AS_IT_IS, config, 3
    )
    factor = 0.5 * (4.0 if scale_times_df else 1.0)
    factor *= automatic_scale(500, 3, 2) if kind == "auto" else 1.0
    np.testing.assert_allclose(prior.scale, factor * np.diag(diagonal))
    np.testing.assert_allclose(prior.loc, [1.0, 2.0])
    assert float(prior.df) == 4.0 and float(prior.mean_precision) == 0.1


@pytest.mark.parametrize(("kind", "factor"), [("auto", 1.0), ("identity", 5.0), ("std", 5.0)])
def test_a_scale_for_so_many_points_grows_with_the_points(kind, factor):
    moments = FeatureMoments(500, np.zeros(2), COVARIANCE)
    plain, for_points = (
        prior_from_moments(moments, AS_IT_IS, DeepDPMConfig(prior=kind, prior_points=points), 3)
        for points in (None, 100)
    )
    np.testing.assert_allclose(for_points.scale, factor * plain.scale.numpy())


def test_a_sample_stands_for_its_points_under_a_scale_for_so_many():
    scale = np.diag([0.02, 0.05])
    prior = make_prior(fixed_scale=scale, prior_points=1000)
    np.testing.assert_allclose(prior.partition_prior().scale, N / 1000 * scale)
    np.testing.assert_allclose(prior.partition_prior(3.0).scale, 3 * N / 1000 * scale)


def test_a_scale_for_so_many_points_keeps_the_clusters_of_bent_shapes():
    found = {}
    for count, points in itertools.product((1000, 16_000), (None, 1000)):
        generator = np.random.default_rng(3)
        angle = np.pi * generator.uniform(size=count)
        x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        x += 0.1 * generator.standard_normal(x.shape)
        config = DeepDPMConfig(
            preprocessing="center",
            prior="identity",
            prior_scale=0.5,
            prior_points=points,
            covariance="full",
            max_start_points=count,
        )
        moments = feature_moments(x)
        preprocessing = fit_preprocessing(moments, "center")
        start = initialize_mixture(x, moments, preprocessing, config, 0)
        found[count, points] = start.parameters.num_components
    assert found[16_000, None] > found[1000, None]
    assert found[16_000, 1000] == found[1000, 1000] == found[1000, None]


@pytest.mark.parametrize("kind", ["auto", "identity", "std"])
def test_constant_features_still_give_a_proper_prior(kind):
    scale = 1.0 / automatic_scale(500, 3, 2) if kind == "auto" else 1.0
    config = DeepDPMConfig(
        prior=kind, prior_scale=scale, mean_precision=1.0, df=7.0, scale_times_df=False
    )
    prior = prior_from_moments(
        FeatureMoments(500, np.zeros(2), np.zeros((2, 2))), AS_IT_IS, config, 3
    )
    np.testing.assert_allclose(prior.scale, np.eye(2))
    assert float(prior.df) == 7.0


def test_the_automatic_scale_is_in_proportion_to_the_points_and_to_a_components_area():
    assert automatic_scale(20_000, 10, 3) == pytest.approx(0.4)
    assert automatic_scale(80_000, 10, 3) == pytest.approx(4 * automatic_scale(20_000, 10, 3))
    assert automatic_scale(8000, 10, 3) == pytest.approx(4 * automatic_scale(1000, 10, 3))
    assert automatic_scale(1000, 20, 3) == automatic_scale(1000, 1, 3)
    ratio = automatic_scale(1000, 100, 3) / automatic_scale(1000, 20, 3)
    assert ratio == pytest.approx(5.0 ** (-2 / 3))
    assert automatic_scale(1000, 4, 1) == automatic_scale(1000, 1, 1)
    assert automatic_scale(1000, 12, 1) == pytest.approx(automatic_scale(1000, 4, 1) / 9)
    ratio = automatic_scale(1000, 800, 3) / automatic_scale(1000, 100, 3)
    assert ratio == pytest.approx(8.0 ** (-2 / 3) / 8.0)
    with pytest.raises(ValueError, match="`num_points`"):
        automatic_scale(0, 1, 2)
