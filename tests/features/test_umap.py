"""Neighbour graphs and layouts: against slow loops, the paper's curve, and what they keep."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import sklearn.neighbors

from tfdpm.features import umap as manifold

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def far_groups(per_group=40, groups=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), per_group)
    centres = 30.0 * np.eye(groups, 6)
    points = centres[labels] + generator.normal(size=(groups * per_group, 6))
    return points.astype(np.float32), labels


def graph_of(x, count=10):
    return manifold.membership_graph(*manifold.neighbours(x, count))


def test_neighbours_are_those_of_a_loop_over_all_pairs():
    indices, distances = manifold.neighbours(X, 5)
    for i in range(len(X)):
        apart = np.linalg.norm(X - X[i], axis=1)
        apart[i] = np.inf
        np.testing.assert_allclose(distances[i], np.sort(apart)[:5], rtol=1e-4)
        assert set(indices[i]) == set(np.argsort(apart)[:5])


@pytest.mark.parametrize("columns", [40, 768, 775])
def test_largest_values_are_those_of_a_sort(columns):
    values = np.random.default_rng(0).normal(size=(50, columns)).astype(np.float32)
    values[:, -1] = 9.0  # in no full group
    found, places = manifold._largest(values, 3)
    np.testing.assert_array_equal(found, np.sort(values, axis=1)[:, :-4:-1])
    np.testing.assert_array_equal(found, np.take_along_axis(values, places, axis=1))


def test_neighbours_of_many_points_are_those_of_another_library():
    x = np.random.default_rng(1).normal(size=(1500, 3)).astype(np.float32) + 50.0
    trees = sklearn.neighbors.NearestNeighbors(n_neighbors=3).fit(x.astype(np.float64))
    _, found = manifold.neighbours(x, 2)
    expected, _ = trees.kneighbors()
    np.testing.assert_allclose(found, expected[:, :2], rtol=1e-9)


def test_memberships_of_a_point_sum_to_the_logarithm_of_its_neighbours():
    indices, distances = manifold.neighbours(X, 15)
    graph = manifold.membership_graph(indices, distances)
    one_way = np.zeros((60, 60))
    for i in range(60):
        low, high = 1e-6, 1e3
        for _ in range(100):  # a plain bisection for this one point
            width = (low + high) / 2
            total = np.exp(-(distances[i] - distances[i, 0]) / width).sum()
            low, high = (low, width) if total > np.log2(16) else (width, high)
        one_way[i, indices[i]] = np.exp(-(distances[i] - distances[i, 0]) / width)
    expected = 1.0 - (1.0 - one_way) * (1.0 - one_way.T)
    np.testing.assert_allclose(graph.toarray(), expected, atol=1e-5)


def test_units_of_distance_do_not_matter_to_the_graph():
    difference = graph_of(X) - graph_of(100.0 * X)
    assert np.abs(difference).max() < 1e-4


def test_many_copies_of_one_point_give_finite_weights():
    graph = graph_of(np.repeat(X[:12], 5, axis=0), 6)
    assert np.isfinite(graph.data).all() and graph.data.max() <= 1.0 + 1e-12


def test_separation_is_edges_within_and_entropy_by_a_loop():
    labels = np.random.default_rng(1).integers(0, 3, len(X))
    indices = manifold.neighbours(X, 5)[0]
    within = [labels[i] == labels[j] for i in range(len(X)) for j in indices[i]]
    shares = [np.mean(labels == k) for k in range(3)]
    entropy = -sum(share * np.log(share) for share in shares)
    expected = np.mean(within) + 0.3 * entropy
    assert manifold.separation(indices, labels, 0.3) == pytest.approx(expected)


def test_separation_is_largest_for_the_groups_however_many_there_are():
    for copies in (1, 20):
        x, labels = far_groups()
        x = np.concatenate([x + 1000.0 * copy for copy in range(copies)])
        labels = np.concatenate([labels + 3 * copy for copy in range(copies)])
        indices = manifold.neighbours(x, 10)[0]
        best = manifold.separation(indices, labels, 0.1)
        assert best == pytest.approx(1.0 + 0.1 * np.log(3 * copies))
        joined = np.where(labels == 1, 0, labels)
        halves = 2 * labels + np.arange(len(x)) % 2
        for others in (np.unique(joined, return_inverse=True)[1], halves):
            assert manifold.separation(indices, others, 0.1) < best


def test_classes_with_few_neighbours_in_another_stay_apart_among_many_and_few():
    for num_pairs in (2, 40):
        groups = np.repeat(np.arange(2 * num_pairs), 30)
        first = 30 * groups[:, np.newaxis]
        indices = first + np.arange(20)
        indices[:, 0] = 30 * (groups ^ 1)  # 5 % of edges lead to the other class of the pair
        apart = manifold.separation(indices, groups, 0.1)
        assert apart - manifold.separation(indices, groups // 2, 0.1) == pytest.approx(
            0.1 * np.log(2.0) - 0.05
        )


def test_curve_is_one_up_to_the_minimum_distance_and_falls_exponentially():
    a, b = manifold.closeness_curve(0.5)
    curve = lambda d: 1.0 / (1.0 + a * d ** (2 * b))  # noqa: E731
    for distance in (0.1, 0.5, 1.0, 2.0):
        assert abs(curve(distance) - np.exp(-max(distance - 0.5, 0.0))) < 0.1
    # The values that [UMAP]'s own default distance of 0.1 is known for.
    np.testing.assert_allclose(manifold.closeness_curve(0.1), (1.577, 0.895), rtol=2e-3)


def test_pulls_descend_the_cross_entropy():
    """An edge's step is the gradient of minus the log of its membership, at either end."""
    a, b = manifold.closeness_curve(0.0)
    places = np.array([[0.0, 0.0], [1.3, -0.4], [9.0, 9.0]])
    heads, tails = np.array([0]), np.array([1])
    moved = places + manifold._pulls(places.astype(np.float32), heads, tails, a, b)

    def cost(place):
        squared = np.sum((place - places[1]) ** 2)
        return np.log1p(a * squared**b)

    steps = 1e-6 * np.eye(2)
    slope = [(cost(places[0] + h) - cost(places[0] - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(moved[0] - places[0], -np.array(slope), rtol=1e-3)
    np.testing.assert_allclose(moved[1] - places[1], np.array(slope), rtol=1e-3)
    np.testing.assert_array_equal(moved[2], places[2])


def test_pushes_are_those_of_a_loop_over_points_and_others():
    a, b = manifold.closeness_curve(0.0)
    generator = np.random.default_rng(3)
    places = generator.normal(size=(2, 5, 3)).astype(np.float32)
    places[0, 1] = places[0, 0] + 1e-3  # so near that its push is cut
    others = np.stack([places[0, [0, 3]], places[0, [4, 1]]])
    weights = generator.uniform(size=(2, 5, 1)).astype(np.float32)
    expected = np.zeros(places.shape)
    for group, point, other in np.ndindex(2, 5, 2):
        apart = (places[group, point] - others[group, other]).astype(np.float64)
        squared = apart @ apart
        slope = 2 * b / ((1e-3 + squared) * (1 + a * squared**b))
        slope = min(slope, 4 * np.sqrt(3) / np.sqrt(1e-3 + squared))
        expected[group, point] += weights[group, point, 0] * slope * apart
    found = manifold._pushes(places, weights, others, a, b)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    assert np.abs(expected).max() > 0.1


def test_pushes_descend_the_cross_entropy_where_points_are_apart():
    a, b = manifold.closeness_curve(0.0)
    place, other = np.array([1.0, 0.5]), np.array([-0.5, 1.0])

    def cost(place):
        squared = np.sum((place - other) ** 2)
        return -np.log(1.0 - 1.0 / (1.0 + a * squared**b))

    slope = [(cost(place + h) - cost(place - h)) / 2e-6 for h in 1e-6 * np.eye(2)]
    given = place[None, None].astype(np.float32), np.ones((1, 1, 1)), other[None, None]
    found = manifold._pushes(*given, a, b)[0, 0]
    np.testing.assert_allclose(found, -np.array(slope), rtol=1e-3)  # but for 0.001 in d^2


@pytest.mark.parametrize("copies", [1, 30])
def test_neighbours_far_from_the_origin_and_of_copies_are_exact(copies):
    """Products in float32 have no digits left for these distances."""
    x = np.repeat(X.astype(np.float64), copies, axis=0)
    x[0] += 1e6
    indices, distances = manifold.neighbours(x, 5)
    apart = np.linalg.norm(x[:, None] - x, axis=-1)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :5], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(
        np.take_along_axis(apart, indices, axis=1), distances, rtol=1e-12, atol=1e-12
    )


def test_far_groups_stay_apart_and_together():
    x, labels = far_groups()
    places = manifold.layout(graph_of(x), manifold.principal_start(x, 2, 0), epochs=100, seed=0)
    found = sklearn.neighbors.KNeighborsClassifier(5).fit(places, labels).predict(places)
    np.testing.assert_array_equal(found, labels)
    centres = np.stack([places[labels == k].mean(axis=0) for k in range(3)])
    spread = max(np.linalg.norm(places[labels == k].std(axis=0)) for k in range(3))
    between = np.linalg.norm(centres[0] - centres[1:], axis=1).min()
    assert between > 3 * spread


def test_the_same_seed_gives_the_same_layout_and_another_seed_another():
    x, _ = far_groups(15)
    start = manifold.principal_start(x, 2, 0)
    first, again, other = (
        manifold.layout(graph_of(x), start, epochs=20, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_epochs_are_counted_for_whoever_asks():
    seen = []
    graph = scipy.sparse.csr_matrix(np.ones((3, 3)) - np.eye(3))
    start = np.eye(3, 2, dtype=np.float32)
    manifold.layout(graph, start, epochs=4, on_epoch=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("dim", [2, 10])
def test_the_start_has_the_principal_axes_first(dim):
    x = X * [5, 1, 1, 1]
    start = manifold.principal_start(x, dim, 0)
    assert start.shape == (60, dim)
    assert abs(np.corrcoef(start[:, 0], x[:, 0])[0, 1]) > (0.9 if dim == 2 else 0.0)
    np.testing.assert_allclose(np.abs(start).max(), 10.0, rtol=0.01)
