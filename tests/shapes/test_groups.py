from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from tfdpm.shapes.groups import ComponentGroups


def valleys_of(num_components, seed):
    rng = np.random.default_rng(seed)
    valleys = np.triu(rng.normal(size=(num_components, num_components)), 1)
    return valleys + valleys.T


def chain(*depths):
    """Components in a row with valleys of such depths, and nothing between others."""
    valleys = np.full((len(depths) + 1,) * 2, np.inf)
    np.fill_diagonal(valleys, 0.0)
    for place, depth in enumerate(depths):
        valleys[place, place + 1] = valleys[place + 1, place] = depth
    return valleys


def same_partition(first, second):
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


@pytest.mark.parametrize("seed", range(3))
def test_the_tree_without_clear_valleys_is_that_of_single_linkage(seed):
    valleys = valleys_of(12, seed)
    groups = ComponentGroups.from_valleys(valleys)
    shifted = valleys + 10.0 * (1.0 - np.eye(12))  # SciPy wants distances above zero
    tree = linkage(squareform(shifted), "single")
    np.testing.assert_allclose(groups.depths, tree[:, 2] - 10.0)
    for depth in (-1.0, 0.0, 0.3):
        assert same_partition(groups.at(depth), fcluster(tree, depth + 10.0, "distance"))
    for count in (1, 4, 12):
        assert same_partition(groups.down_to(count), fcluster(tree, count, "maxclust"))
    for (i, j), depth in zip(groups.merges, groups.depths, strict=True):
        assert valleys[i, j] == depth


def slow_tree(valleys):
    """Depths and partitions by looking at all pairs of groups anew before each merge."""
    groups, found = [[k] for k in range(len(valleys))], []
    while len(groups) > 1:
        best = (np.inf, 0, 1)
        for a in range(len(groups)):
            for b in range(a):
                apart = [valleys[i, j] for i in groups[a] for j in groups[b]]
                clear = sum(5.0 < depth < 99.0 for depth in apart)
                clear -= 5.0 < min(apart) < 99.0  # others than itself
                best = min(best, (min(apart) + np.log(1 + clear), b, a))
        depth, b, a = best
        groups[b] += groups.pop(a)
        found.append((depth, {frozenset(group) for group in groups}))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_clear_valleys_count_against_a_shallow_one_between_the_same_groups(seed):
    valleys = 8.0 * valleys_of(14, seed)
    groups = ComponentGroups.from_valleys(valleys)
    for count, (depth, wanted) in enumerate(slow_tree(valleys), start=1):
        assert groups.depths[count - 1] == pytest.approx(depth)
        found = groups.down_to(14 - count)
        assert {frozenset(np.flatnonzero(found == k)) for k in np.unique(found)} == wanted
    assert np.all(np.diff(groups.depths) >= 0.0)
    own, others = (np.flatnonzero(groups.down_to(2) == k) for k in (0, 1))
    first, second, depth = groups.between(own, others)
    assert depth == pytest.approx(groups.depths[-1]) and (first, second) == tuple(groups.merges[-1])


def test_two_walls_with_one_weak_gap_stay_apart_and_a_strong_gap_joins_them():
    valleys = np.full((20, 20), np.inf)
    for k in range(9):  # two walls of ten pieces, with a clear valley between opposite pieces
        valleys[k, k + 1] = valleys[10 + k, 11 + k] = -5.0
    for k in range(10):
        valleys[k, 10 + k] = 12.0
    for gap, count in ((-1.5, 2), (-4.0, 1)):
        valleys[3, 13] = gap
        groups = ComponentGroups.from_valleys(np.minimum(valleys, valleys.T))
        assert groups.clusters.max() + 1 == count


def test_clusters_are_joined_where_there_is_no_valley_and_numbered_by_first_component():
    groups = ComponentGroups.from_valleys(chain(5.0, -1.0, 0.0, 2.0, np.inf))
    np.testing.assert_array_equal(groups.clusters, [0, 1, 1, 1, 2, 3])
    np.testing.assert_array_equal(groups.at(0.0), groups.clusters)
    np.testing.assert_array_equal(groups.at(-0.5), [0, 1, 1, 2, 3, 4])
    np.testing.assert_array_equal(groups.at(2.0), [0, 1, 1, 1, 1, 2])
    np.testing.assert_array_equal(groups.at(-np.inf), np.arange(6))
    np.testing.assert_array_equal(groups.at(np.inf), np.zeros(6))
    assert groups.depths[-1] == np.inf
    assert groups.clusters.dtype == groups.merges.dtype == np.int32


def test_chosen_components_keep_their_valleys():
    groups = ComponentGroups.from_valleys(chain(5.0, -1.0, -2.0)).chosen(np.array([3, 2, 0]))
    np.testing.assert_array_equal(groups.clusters, [0, 0, 1])
    np.testing.assert_array_equal(groups.depths, [-2.0, np.inf])


def test_one_component_is_one_cluster():
    groups = ComponentGroups.from_valleys(np.zeros((1, 1)))
    assert groups.merges.shape == (0, 2) and groups.depths.shape == (0,)
    for clusters in (groups.clusters, groups.at(0.0), groups.down_to(1)):
        np.testing.assert_array_equal(clusters, [0])


@pytest.mark.parametrize("seed", range(5))
def test_any_clusters_can_be_asked_for_and_what_lies_between_stays(seed):
    rng = np.random.default_rng(seed)
    groups = ComponentGroups.from_valleys(3.0 * valleys_of(14, seed))
    wanted = rng.integers(0, 5, 14)
    found = groups.with_clusters(wanted)
    assert same_partition(found.clusters, wanted)
    assert list(dict.fromkeys(found.clusters)) == list(range(found.clusters.max() + 1))
    kept = (wanted[:, np.newaxis] != wanted) & (groups.valleys > 0)
    np.testing.assert_array_equal(found.valleys[kept], groups.valleys[kept])
    assert same_partition(ComponentGroups.from_valleys(found.valleys).clusters, wanted)
    chosen = rng.permutation(14)[:9]
    assert same_partition(found.chosen(chosen).clusters, wanted[chosen])
    assert groups.with_clusters(groups.clusters) is groups
