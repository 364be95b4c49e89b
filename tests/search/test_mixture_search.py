from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sklearn.cluster
import sklearn.mixture
from scipy import special, stats

from tests.reference.searches import search_settings
from tfdpm import metrics
from tfdpm.data import gaussian_mixture
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search import mixture_search
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.partitions import make_partition, run_em
from tfdpm.search.points import pairs, sample


def standard(x):
    x = x.astype(np.float64) - x.mean(axis=0)
    return x / np.sqrt(x.var(axis=0).mean())


def make_search(x, seed=0, **changes):
    return MixtureSearch(standard(x), search_settings(x.shape[1], **changes), seed)


@pytest.mark.parametrize(
    ("num_components", "dim", "imbalance", "seed"),
    [(1, 2, 1, 0), (3, 2, 1, 1), (3, 5, 20, 2), (8, 2, 1, 3), (15, 3, 20, 4), (20, 8, 1, 5)],
)
def test_separated_mixtures_are_found_exactly(num_components, dim, imbalance, seed):
    x, y = gaussian_mixture(num_components, dim, 1500, imbalance=imbalance, seed=seed)
    labels, parameters = make_search(x).run(1)
    assert parameters.num_components == num_components
    assert len(np.unique(labels)) == num_components
    assert metrics.ari(y, labels) > 0.99
    np.testing.assert_allclose(np.sum(parameters.mixture_weights), 1.0)


@pytest.mark.parametrize("initial_clusters", [1, 5, 30])
def test_the_first_number_of_clusters_does_not_matter(initial_clusters):
    x, y = gaussian_mixture(5, 2, 800, seed=7)
    labels, _ = make_search(x).run(initial_clusters)
    assert metrics.ari(y, labels) > 0.99 and labels.max() == 4


def test_the_same_seed_finds_the_same_partition():
    x, _ = gaussian_mixture(8, 2, 800, separation=1.5, seed=7)
    first, second = (make_search(x, seed=3).run(4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_grid_is_found_although_no_single_cut_gains():
    rng = np.random.default_rng(0)
    centres = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2) * 10.0
    x = np.repeat(centres, 40, axis=0) + rng.normal(size=(1000, 2))
    labels, _ = make_search(x).run(1)
    assert metrics.ari(np.repeat(np.arange(25), 40), labels) > 0.99


def test_hundreds_of_clusters_are_found_from_one():
    # Neither two nor eight parts of so many clusters are much more compact than all of them.
    x, y = gaussian_mixture(300, 10, 4500, seed=0)
    labels, _ = make_search(x).run(1)
    assert metrics.nmi(y, labels) > 0.9 and labels.max() > 100


def test_clusters_that_are_followed_are_compared_with_all_at_the_end(monkeypatch):
    # Of a hundred clusters, steps in between look at those nearby alone.
    x, y = gaussian_mixture(100, 3, 3000, seed=1)
    search, compared = make_search(x), []
    real = pairs.NearPairs.responsibilities
    monkeypatch.setattr(
        pairs.NearPairs,
        "responsibilities",
        lambda self: compared.append(len(self[0])) or real(self),
    )
    labels, parameters = search.run(1)
    assert metrics.ari(y, labels) > 0.999 and labels.max() == 99
    np.testing.assert_array_equal(search.sample.labels(parameters), labels)
    assert len(compared) > 5 and np.mean(compared) < 10 * 3000


def test_without_splits_and_merges_the_number_stays():
    x, _ = gaussian_mixture(5, 2, 600, seed=7)
    assert make_search(x, splits=False).run(2)[1].num_components <= 2
    assert make_search(x, merges=False).run(9)[1].num_components >= 5
    assert make_search(x, splits=False, merges=False).run(3)[1].num_components == 3


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_points_is_survived(count):
    points = np.random.default_rng(0).normal(size=(count, 3))
    labels, parameters = MixtureSearch(points - points.mean(axis=0), search_settings(3), 0).run(1)
    assert len(labels) == count and np.isfinite(parameters.covariances).all()


def test_a_scale_that_is_given_is_kept():
    x, _ = gaussian_mixture(3, 2, 300, seed=3)
    search = make_search(x, fixed_scale=np.diag([0.02, 0.05]))
    search.run(1)
    np.testing.assert_allclose(search.prior.partition_prior().scale, np.diag([0.02, 0.05]))


@pytest.mark.parametrize(("count", "dim"), [(2000, 2), (20000, 2), (5000, 1)])
def test_points_of_even_density_are_one_cluster(count, dim):
    x = np.random.default_rng(0).uniform(size=(count, dim))
    search = make_search(x)
    labels, parameters = search.settle(*search.run(1))
    assert labels.max() == 0 and parameters.num_components == 1
    # Two squares apart are not one.
    sides = np.arange(count) % 2
    search = make_search(x + 3.0 * sides[:, np.newaxis])
    labels, _ = search.settle(*search.run(1))
    crossing = [len(np.unique(sides[labels == k])) for k in range(labels.max() + 1)]
    assert max(crossing) == 1 and len(crossing) > 1


def test_overlapping_gaussians_are_found_and_one_stays_one():
    rng = np.random.default_rng(0)
    truth = np.arange(1200) % 3
    centres = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 12.0]])
    search = make_search(centres[truth] + rng.normal(size=(1200, 2)))
    labels, parameters = search.run(1)
    assert labels.max() == 1
    labels, parameters = search.settle(labels, parameters)
    assert metrics.clustering_accuracy(truth, labels) > 0.93
    assert parameters.num_components == 3
    again, _ = make_search(rng.normal(size=(1200, 2))).run(1)
    assert again.max() == 0


def overlapping_gaussians(num_components, dim, spread, num_points, seed):
    """Gaussians of several shapes whose centres are a few deviations apart; points and truth."""
    rng = np.random.default_rng(seed)
    centres = []
    while len(centres) < num_components:
        centre = rng.uniform(size=dim)
        if all(np.linalg.norm(centre - other) > 2.2 * spread for other in centres):
            centres.append(centre)
    truth = rng.integers(0, num_components, num_points)
    rotations = np.linalg.qr(rng.normal(size=(num_components, dim, dim)))[0]
    axes = rotations * (spread * rng.uniform(0.6, 1.4, (num_components, 1, dim)))
    noise = np.einsum("nde,ne->nd", axes[truth], rng.normal(size=(num_points, dim)))
    return np.array(centres)[truth] + noise, truth


def settled(x):
    search = make_search(x)
    return search, *search.settle(*search.run(1))


def without_other_starts(monkeypatch):
    limits = dataclasses.replace(mixture_search._LIMITS, least_overlap=np.inf)
    monkeypatch.setattr(mixture_search, "_LIMITS", limits)


def bound_after_em(search, labels):
    """Bound of a partition after EM, under the prior that the search ended with."""
    start = make_partition(search.evidence, labels)
    prior = search.prior.partition_prior()
    found = run_em(search.sample, prior, start.parameters, 40, 1e-4)
    return search.bound(found.parameters)


def foreign_partitions(search, num_clusters):
    """Partitions by K-means and a Gaussian mixture of scikit-learn."""
    means = sklearn.cluster.KMeans(num_clusters, n_init=3, random_state=1)
    gaussians = sklearn.mixture.GaussianMixture(num_clusters, n_init=1, random_state=1)
    return [each.fit_predict(search.points) for each in (means, gaussians)]


@pytest.mark.parametrize(("distance", "is_settled"), [(40.0, True), (2.0, False)])
def test_em_ends_with_the_first_step_that_changes_nothing(monkeypatch, distance, is_settled):
    generator = np.random.default_rng(0)
    points = generator.normal(size=(400, 3))
    labels = np.repeat([0, 1], 200)
    points[labels == 1, 0] += distance
    search = make_search(points)
    start = make_partition(search.evidence, labels)
    prior = search.prior.partition_prior()
    passes, real = [], sample.Sample._sum_over_blocks
    monkeypatch.setattr(
        sample.Sample, "_sum_over_blocks", lambda *given: passes.append(0) or real(*given)
    )
    found = run_em(search.sample, prior, start.parameters)
    taken = len(passes)
    # Far more steps than it needs.
    parameters = start.parameters
    for _ in range(60):
        _, statistics = search.sample.expectation(parameters)
        parameters = prior.map_mixture(statistics)
    assert (taken == 1) == is_settled
    if is_settled:
        np.testing.assert_array_equal(found.labels, labels)
        for part, limit in zip(found.parameters, parameters, strict=True):
            np.testing.assert_allclose(part, limit, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num_components", "dim", "spread"), [(8, 2, 0.09), (6, 5, 0.22)])
def test_no_other_start_explains_overlapping_gaussians_better(num_components, dim, spread, seed):
    x, _ = overlapping_gaussians(num_components, dim, spread, 1000, seed)
    search, labels, parameters = settled(x)
    ours, count = search.bound(parameters), parameters.num_components
    assert count > 1  # a lone cluster would be left alone
    # Flat tops of the present clusters may explain the rest.
    shapes = search.evidence.shape_gains(labels, search.sample.hard_statistics(labels, count))
    largest = ours + shapes + mixture_search._LIMITS.least_gain
    for others in {count, num_components}:
        for partition in foreign_partitions(search, others):
            assert bound_after_em(search, partition) <= largest
    fresh = make_search(x)
    found = fresh.run(2 * count)[1]
    assert search.bound(found) <= largest


def test_another_start_finds_what_moves_alone_do_not(monkeypatch):
    x, truth = overlapping_gaussians(6, 5, 0.25, 1500, 0)
    search, labels, parameters = settled(x)
    without_other_starts(monkeypatch)
    stuck, stuck_labels, stuck_parameters = settled(x)
    assert parameters.num_components == 6 > stuck_parameters.num_components
    assert search.bound(parameters) > search.bound(stuck_parameters) + 5.0
    assert metrics.ari(truth, labels) > metrics.ari(truth, stuck_labels) + 0.05
    assert search.moves.proposed_splits > stuck.moves.proposed_splits


def test_hundreds_of_clumps_are_not_taken_for_a_few_even_parts():
    x, truth = gaussian_mixture(600, 2, 6000, seed=1)
    search = make_search(x)
    few, parameters = search.run(1)
    assert few.max() < 300
    labels, _ = search.find_clumps(few, parameters)
    assert abs(labels.max() - 599) <= 3
    assert metrics.ari(truth, labels) > 0.99


def test_clumps_are_found_in_units_in_which_they_are_not_round():
    """Gaps of a grid vanish for spheres where one axis is three times as long as the other."""
    places = np.arange(9000) % 225
    x = 8.0 * np.stack(np.divmod(places, 15), axis=1)
    x = (x + np.random.default_rng(0).normal(size=x.shape)) * [3.0, 1.0]
    search = make_search(x)
    labels, _ = search.find_clumps(*search.run(1))
    assert abs(labels.max() - 224) <= 2
    assert metrics.ari(places, labels) > 0.99


def test_heavy_tails_are_not_cut_into_gaussians_of_another_start():
    rng = np.random.default_rng(0)
    truth = np.arange(2000) % 2
    x = rng.standard_t(4, size=(2000, 2)) + np.outer(truth, [6.0, 0.0])
    search, labels, parameters = settled(x)
    assert parameters.num_components == 2
    # The overlap is enough for other starts, and more Gaussians have a larger bound.
    assert search.sample.entropy(parameters) > mixture_search._LIMITS.least_overlap * 2000
    more = bound_after_em(search, foreign_partitions(search, 4)[1]) - search.bound(parameters)
    assert more > mixture_search._LIMITS.least_gain
    statistics = search.sample.hard_statistics(labels, 2)
    assert more < search.evidence.shape_gains(labels, statistics)


def test_clusters_that_stand_apart_are_left_alone(monkeypatch):
    x, _ = gaussian_mixture(8, 3, 1000, seed=1)
    search, labels, _ = settled(x)
    without_other_starts(monkeypatch)
    alone, expected, _ = settled(x)
    np.testing.assert_array_equal(labels, expected)
    assert search.moves == alone.moves


def test_the_bound_is_that_of_a_slow_loop_and_the_score_where_clusters_stand_apart():
    x, _ = overlapping_gaussians(4, 2, 0.12, 300, 0)
    search, _, parameters = settled(x)
    logs = [
        np.log(weight) + stats.multivariate_normal(mean, covariance).logpdf(search.points)
        for weight, mean, covariance in zip(*parameters, strict=True)
    ]
    shares = special.softmax(np.stack(logs, axis=1), axis=1)
    points = search.points
    squares = np.einsum("nk,nd,ne->kde", shares, points, points)
    soft = SufficientStatistics(shares.sum(axis=0), shares.T @ points, squares)
    terms = search.prior.partition_prior().terms(soft).sum()
    entropy = -np.sum(special.xlogy(shares, shares))
    assert entropy > 1.0
    assert search.bound(parameters) == pytest.approx(terms + entropy, rel=1e-9)
    apart, labels, parameters = settled(gaussian_mixture(4, 2, 400, separation=20.0, seed=0)[0])
    assert apart.bound(parameters) == pytest.approx(apart.score(labels), rel=1e-9)


def test_shapes_gain_over_gaussians_for_heavy_tails_and_flat_tops_alone():
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=(1000, 2)), rng.standard_t(3, (1000, 2)), rng.uniform(size=(1000, 2))]
    gains = []
    for x in draws:
        search, labels = make_search(x), np.zeros(1000, int)
        statistics = search.sample.hard_statistics(labels, 1)
        gains.append(search.evidence.shape_gains(labels, statistics))
    assert gains[0] < 2.0 and gains[1] > 1000 * np.log(2.0) and 20.0 < gains[2] < 1000
