from __future__ import annotations

import numpy as np
import pytest

from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.shapes import group_components


def mixture(points, labels, num_components):
    """Moments of the labelled points; a unit Gaussian for components without any."""
    dim = points.shape[1]
    own = [points[labels == k] for k in range(num_components)]
    means = [p.mean(axis=0) if len(p) else np.zeros(dim) for p in own]
    covariances = [np.cov(p.T) if len(p) > dim else np.eye(dim) for p in own]
    weights = np.array([len(p) + 1.0 for p in own])
    return MixtureParameters(weights / weights.sum(), np.array(means), np.array(covariances))


def groups_of(points, labels, num_components=None, seed=0):
    count = num_components or labels.max() + 1
    return group_components(points, labels, mixture(points, labels, count), seed=seed)


def ring(count, radius, width, rng):
    """Points of a ring, cut by angle into eight components."""
    angles = rng.uniform(0.0, 2.0 * np.pi, count)
    radii = radius + width * rng.normal(size=count)
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    return points, (angles // (np.pi / 4)).astype(int)


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_each_of_two_rings_are_one_cluster(seed):
    rng = np.random.default_rng(seed)
    inner, of_inner = ring(1000, 1.0, 0.05, rng)
    outer, of_outer = ring(2000, 2.0, 0.05, rng)
    groups = groups_of(np.concatenate([inner, outer]), np.concatenate([of_inner, 8 + of_outer]))
    np.testing.assert_array_equal(groups.clusters, np.repeat([0, 1], 8))


@pytest.mark.parametrize("seed", range(3))
def test_blobs_that_touch_stay_two(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(1000, 2)) + np.repeat([[0.0, 0.0], [3.5, 0.0]], 500, axis=0)
    labels = (points[:, 0] > 1.75).astype(int)
    groups = groups_of(points, labels)
    np.testing.assert_array_equal(groups.clusters, [0, 1])
    assert 0.0 < groups.depths[0] < np.inf


def test_halves_of_an_even_square_have_no_valley():
    points = np.random.default_rng(0).uniform(size=(2000, 2))
    groups = groups_of(points, (points[:, 0] > 0.5).astype(int))
    assert groups.depths[0] < 0.0


def test_empty_components_stay_alone_and_one_component_is_one_cluster():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(600, 2))
    labels = np.where(points[:, 0] > 0.5, 3, 1)
    groups = groups_of(points, labels, num_components=5)
    np.testing.assert_array_equal(groups.clusters, [0, 1, 2, 1, 3])
    assert np.isinf(groups.valleys[0, 1]) and np.isfinite(groups.valleys[1, 3])
    one = groups_of(points, np.zeros(600, int))
    np.testing.assert_array_equal(one.clusters, [0])


def test_the_valleys_do_not_depend_on_units_directions_or_names():
    rng = np.random.default_rng(0)
    points, labels = ring(1500, 1.0, 0.1, rng)
    groups = groups_of(points, labels)
    turned = points @ np.array([[0.6, 0.8], [-0.8, 0.6]]) * 100.0 + 7.0
    np.testing.assert_allclose(groups_of(turned, labels).valleys, groups.valleys, atol=1e-3)
    np.testing.assert_allclose(groups.valleys, groups.valleys.T)


def test_equal_seeds_draw_equal_points():
    points = np.random.default_rng(0).uniform(size=(4000, 2))
    labels = (points[:, 0] > 0.5).astype(int)
    first, again, other = (groups_of(points, labels, seed=seed).valleys for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first[0, 1] != other[0, 1]


def test_errors_say_what_came_and_what_was_wanted():
    points, labels = np.zeros((4, 2)), np.array([0, 0, 1, 1])
    parameters = mixture(points, labels, 2)
    with pytest.raises(ValueError, match=r"`features`: got shape \(4, 3\), wanted \[N, 2\]"):
        group_components(np.zeros((4, 3)), labels, parameters, seed=0)
    with pytest.raises(ValueError, match=r"`labels`: got shape \(3,\), wanted \[4\]"):
        group_components(points, labels[:3], parameters, seed=0)
    with pytest.raises(ValueError, match="`labels`: got 1 to 2, wanted 0 to 1"):
        group_components(points, labels + 1, parameters, seed=0)
