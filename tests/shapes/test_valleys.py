from __future__ import annotations

import numpy as np
import pytest

from tfdpm.shapes import valleys
from tfdpm.shapes.valleys import group_components


def groups_of(points, labels, num_components=None, seed=0):
    count = num_components or labels.max() + 1
    return group_components(points, labels, count, seed=seed)


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


@pytest.mark.parametrize("count", [2000, 20000])
def test_patches_of_a_sphere_are_one_cluster(count):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    # Patches about the points of a spiral from pole to pole.
    places = (np.arange(40) + 0.5) / 40
    angles, heights = np.pi * (1.0 + 5.0**0.5) * np.arange(40), 1.0 - 2.0 * places
    radii = np.sqrt(1.0 - heights**2)
    centres = np.stack([radii * np.cos(angles), radii * np.sin(angles), heights], axis=1)
    groups = groups_of(points, (points @ centres.T).argmax(axis=1))
    np.testing.assert_array_equal(groups.clusters, np.zeros(40))


@pytest.mark.parametrize("seed", range(3))
def test_blobs_of_many_stay_apart_in_several_dimensions(seed):
    rng = np.random.default_rng(seed)
    centres = 4.0 * np.eye(6)
    labels = np.repeat(np.arange(6), 300)
    points = centres[labels] + rng.normal(size=(1800, 6))
    distances = ((points[:, np.newaxis] - centres) ** 2).sum(axis=2)
    groups = groups_of(points, distances.argmin(axis=1))
    np.testing.assert_array_equal(groups.clusters, np.arange(6))


def test_partners_speak_for_further_partners():
    # Three pairs in a row and one alone, each with the same evidence against one shape.
    pairs = np.array([[0, 1], [1, 2], [2, 3], [4, 5]])
    nothing = np.zeros(4)
    sure = valleys._log_odds(pairs, np.array([20.0, -4.0, 20.0, -4.0]), nothing, 6)
    np.testing.assert_allclose(sure[1], -4.0 + 2 * 2.5, atol=0.02)
    np.testing.assert_allclose(sure[3], -4.0, atol=0.02)
    # With a bent path, of which one partner is enough to speak.
    bent = valleys._log_odds(pairs[:2], np.array([20.0, -4.0]), np.array([0.0, 3.0]), 3)
    np.testing.assert_allclose(bent[1], -4.0 + 2.5 + 3.0, atol=0.05)


def test_a_diffuse_component_is_a_valley_between_denser_ones():
    pairs, depths, counts = np.array([[0, 1], [1, 2]]), np.array([-3.0, -2.0]), np.array([9, 5, 9])
    bridged = valleys._with_bridges(pairs, depths, np.array([2.0, 0.0, 1.5]), counts)
    np.testing.assert_allclose(bridged, [-3.0, 5 * 1.5])
    # Where one side alone is denser, or neither by much, there is none.
    for level in ([2.0, 0.0, 0.0], [0.5, 0.0, 2.0], [1.0, 1.0, 1.0]):
        kept = valleys._with_bridges(pairs, depths, np.array(level), counts)
        np.testing.assert_array_equal(kept, depths)


def test_noise_does_not_cut_a_ring():
    rng = np.random.default_rng(0)
    points, labels = ring(1600, 2.0, 0.06, rng)
    noise = rng.uniform(-3.0, 3.0, (120, 2))
    of_noise = (np.arctan2(noise[:, 1], noise[:, 0]) % (2 * np.pi) // (np.pi / 4)).astype(int)
    groups = groups_of(np.concatenate([points, noise]), np.concatenate([labels, of_noise]))
    np.testing.assert_array_equal(groups.clusters, np.zeros(8))


def test_on_a_line_only_a_second_mode_is_another_cluster():
    places = np.random.default_rng(0).exponential(size=2000)
    # Narrow and wide components lie in one another, and density falls by e^3 between some.
    labels = np.digitize(places, [0.3, 0.8, 1.6, 3.0])
    labels[(places > 1.0) & (places < 1.2)] = 0
    np.testing.assert_array_equal(groups_of(places[:, np.newaxis], labels).clusters, 0)
    both = np.concatenate([places, 12.0 - places])[:, np.newaxis]
    groups = groups_of(both, np.concatenate([labels, 5 + labels]))
    np.testing.assert_array_equal(groups.clusters, np.repeat([0, 1], 5))


def cut(places, num_pieces, rng):
    """Pieces of a line with random borders, as a column of points and their labels."""
    borders = np.sort(rng.choice(np.sort(places)[4:-4:4], num_pieces - 1, replace=False))
    return places[:, np.newaxis], np.digitize(places, borders)


@pytest.mark.parametrize("count", [600, 6000])
@pytest.mark.parametrize("kind", ["exponential", "laplace", "lognormal", "uniform", "gumbel"])
def test_on_a_line_pieces_of_one_mode_are_one_cluster_however_it_is_cut(kind, count):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        places = getattr(rng, kind)(size=count)
        groups = groups_of(*cut(places, 5 + 5 * seed, rng))
        np.testing.assert_array_equal(groups.clusters, 0)


@pytest.mark.parametrize("seed", range(3))
def test_on_a_line_small_pieces_of_a_valley_do_not_hide_it(seed):
    rng = np.random.default_rng(seed)
    places = np.concatenate([rng.normal(size=800), rng.normal(size=800) + 4.0])
    points, labels = cut(places, 15, rng)
    clusters = groups_of(points, labels).clusters
    assert clusters.max() == 1
    # Seen from the middle, 2.3 % of each lie on the other's side.
    assert np.mean(clusters[labels] == np.repeat([0, 1], 800)) > 0.93


def test_rounded_values_on_a_line_have_no_valleys_between_them():
    rng = np.random.default_rng(0)
    for places in (rng.poisson(20.0, 2000), rng.integers(0, 10, 2000), rng.geometric(0.1, 2000)):
        points, labels = cut(places.astype(float), 6, rng)
        labels = np.unique(labels, return_inverse=True)[1]
        np.testing.assert_array_equal(groups_of(points, labels).clusters, 0)


def test_on_a_line_density_may_fall_by_any_factor_at_once():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, 2000) * (rng.uniform(size=2000) < 0.6)  # six in ten are zero
    points = counts[:, np.newaxis].astype(float)
    np.testing.assert_array_equal(groups_of(points, np.minimum(counts, 1)).clusters, 0)
    # After the zeros, a mode at five.
    counts = rng.poisson(5.0, 2000) * (rng.uniform(size=2000) < 0.6)
    points = counts[:, np.newaxis].astype(float)
    np.testing.assert_array_equal(groups_of(points, np.minimum(counts, 1)).clusters, [0, 1])
