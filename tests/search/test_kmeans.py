from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.cluster

from tfdpm import metrics
from tfdpm.data import gaussian_mixture
from tfdpm.search.points import kmeans as module
from tfdpm.search.points.kmeans import grouped_kmeans, kmeans_labels, num_clumps
from tfdpm.threads import map_in_threads

SIZES = np.array([5, 170, 32, 64, 1, 33])
STARTS = np.concatenate([[0], np.cumsum(SIZES)])
OWNERS = np.repeat(np.arange(len(SIZES)), SIZES)


def slow_lloyd(points, centres, max_iterations):
    for _ in range(max_iterations):
        labels = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        present = np.unique(labels)
        centres = centres.copy()
        for k in present:
            centres[k] = points[labels == k].mean(axis=0)
    return labels


@pytest.mark.parametrize("max_iterations", [1, 4])
def test_every_group_has_the_labels_of_its_own_lloyd_iterations(monkeypatch, max_iterations):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(STARTS[-1], 3))
    centres = rng.normal(size=(len(SIZES), 4, 3))
    monkeypatch.setattr(module, "_greedy_centres", lambda *arguments: centres)
    labels = grouped_kmeans(points, STARTS, 4, rng, max_iterations)
    for group in range(len(SIZES)):
        rows = OWNERS == group
        expected = slow_lloyd(points[rows], centres[group], max_iterations)
        np.testing.assert_array_equal(labels[rows], expected)


def test_blobs_of_every_group_are_found():
    rng = np.random.default_rng(1)
    blobs = rng.integers(4, size=STARTS[-1])
    corners = 20.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    points = corners[blobs] + rng.normal(size=(len(blobs), 2)) + 100.0 * OWNERS[:, None]
    labels = grouped_kmeans(points, STARTS, 4, rng, 10)
    for group in np.flatnonzero(SIZES > 8):
        rows = OWNERS == group
        assert metrics.ari(blobs[rows], labels[rows]) == 1.0


def test_clusters_are_as_tight_as_those_of_another_implementation():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(2000, 5)) * np.linspace(0.5, 3.0, 5)
    labels = grouped_kmeans(points, np.array([0, 1200, 2000]), 8, rng, 30)
    for rows in (slice(0, 1200), slice(1200, 2000)):
        peer = sklearn.cluster.KMeans(8, n_init=5, random_state=0).fit(points[rows])
        within = sum(
            ((part - part.mean(axis=0)) ** 2).sum()
            for part in (points[rows][labels[rows] == k] for k in range(8))
        )
        assert within < 1.1 * peer.inertia_


def test_first_centres_are_points_of_their_group_that_lie_apart():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(STARTS[-1], 2)) + 50.0 * OWNERS[:, None]
    centres = module._greedy_centres(module._Tiles(points, STARTS), 3, rng)
    for group in np.flatnonzero(SIZES > 3):
        own = points[OWNERS == group]
        distances = ((own[:, None] - centres[group]) ** 2).sum(axis=2)
        assert (distances.min(axis=0) == 0).all()
        assert len(np.unique(distances.argmin(axis=0))) == 3


def test_points_that_coincide_are_one_cluster():
    points = np.ones((40, 2))
    labels = grouped_kmeans(points, np.array([0, 20, 40]), 3, np.random.default_rng(0), 10)
    assert len(np.unique(labels[:20])) == 1 and len(np.unique(labels[20:])) == 1


def test_the_same_seed_gives_the_same_clusters():
    points = np.random.default_rng(4).normal(size=(STARTS[-1], 2))
    first, second = (
        grouped_kmeans(points, STARTS, 3, np.random.default_rng(5), 10) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_of_several_initial_centres_the_most_compact_clusters_are_kept():
    points = np.random.default_rng(0).uniform(size=(400, 2))

    def spread(num_starts, seed):
        labels = kmeans_labels(points, 12, seed, num_starts=num_starts)
        return sum(
            np.var(points[labels == k], axis=0).sum() * np.sum(labels == k) for k in range(12)
        )

    one, many = ([spread(count, seed) for seed in range(6)] for count in (1, 8))
    assert max(many) < np.mean(one) and np.std(many) < np.std(one)


@pytest.mark.parametrize(("count", "dim", "size"), [(300, 2, 20), (100, 3, 60), (60, 5, 30)])
def test_clumps_are_counted_by_their_neighbours(count, dim, size):
    x, _ = gaussian_mixture(count, dim, count * size, seed=1)
    assert 0.6 < num_clumps(x, 0) / count < 2.5


def test_even_density_gaussians_and_curves_have_no_clumps():
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, 3000)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) + 0.02 * rng.normal(size=(3000, 2))
    for x in (rng.uniform(size=(3000, 2)), rng.normal(size=(3000, 6)), circle, np.zeros((500, 2))):
        assert num_clumps(x, 0) == 1
    assert num_clumps(rng.normal(size=(10, 2)), 0) == 1


def test_fewer_points_than_clusters_warn_in_none_of_several_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    points = np.repeat(np.eye(3), 50, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        found = map_in_threads(lambda seed: kmeans_labels(points, 5, seed), range(60))
        assert warnings.filters == before
    assert all(labels.max() == 2 for labels in found)
