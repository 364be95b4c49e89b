from __future__ import annotations

import numpy as np
import pytest

from tests.reference.searches import search_settings
from tfdpm import metrics
from tfdpm.data import gaussian_mixture
from tfdpm.search.mixture_search import MixtureSearch


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
