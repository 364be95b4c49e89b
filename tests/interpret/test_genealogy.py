"""Trees of clusters: from partitions, from transitions, and those of real fits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.moves import transition as transitions
from tfdpm.moves.ledger import Proposal

PARTS = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
TERMS = {1: [-100.0], 2: [-50.0, -30.0], 3: [-20.0, -25.0, -30.0], 4: [-20.0, -25.0, -8.0, -7.0]}


def terms_of(labels):
    count = labels.max() + 1
    return np.array(TERMS[count]), np.full(count, 0.25)


def followed(*partitions):
    return Genealogy.of_partitions([np.asarray(each) for each in partitions], terms_of)


def test_splits_of_partitions_have_their_parents_sizes_and_ratios():
    tree = followed(0 * PARTS, np.minimum(PARTS, 1), np.minimum(PARTS, 2), np.minimum(PARTS, 2))
    found = [(node.parents, node.kind, node.size, node.step) for node in tree.nodes]
    assert found == [
        ((), "start", 100.0, 0),
        ((0,), "split", 40.0, 0),
        ((0,), "split", 60.0, 0),
        ((2,), "split", 30.0, 1),
        ((2,), "split", 30.0, 1),
    ]
    ratios = [node.log_ratio for node in tree.nodes[1:]]
    assert ratios == [20.0, 20.0, -25.0, -25.0]
    assert tree.current == (1, 3, 4)


def test_renumbered_clusters_and_a_few_points_that_change_are_the_same_clusters():
    before, after = np.minimum(PARTS, 2), 2 - np.minimum(PARTS, 2)
    after[:4] = 1
    tree = followed(before, after)
    assert len(tree.nodes) == 3 and tree.current == (2, 1, 0)


def test_merges_of_partitions_count_tails_too():
    tree = followed(np.minimum(PARTS, 2), np.minimum(PARTS, 1))
    (merge,) = tree.nodes[3:]
    assert (merge.kind, merge.parents, merge.size) == ("merge", (1, 2), 60.0)
    assert merge.log_ratio == pytest.approx(-30.0 + 0.25 - (-55.0 + 0.5))
    assert tree.current == (0, 3)


def test_split_into_many_has_one_parent():
    tree = followed(0 * PARTS, PARTS)
    assert [node.parents for node in tree.nodes[1:]] == [(0,)] * 4
    assert sum(node.size for node in tree.nodes[1:]) == 100.0


def test_moves_of_training_are_taken_up_with_their_proposals():
    tree = Genealogy.of_sizes([30.0, 70.0], "training")
    ledger = [
        Proposal("split", (0,), (10.0, 20.0), -3.0, False),
        Proposal("split", (1,), (25.0, 45.0), 8.0, True),
        Proposal("merge", (0, 2), (30.0, 45.0), 4.0, True),
    ]
    tree = tree.after(transitions.of_splits(2, [False, True]), ledger, 5, np.array([30.0, 70.0]))
    assert tree.current == (0, 2, 3)
    assert [(n.size, n.log_ratio, n.step) for n in tree.nodes[2:]] == [
        (25.0, 8.0, 5),
        (45.0, 8.0, 5),
    ]
    tree = tree.after(transitions.of_merges(3, [[0, 2]]), ledger, 6, np.array([30.0, 25.0, 45.0]))
    assert tree.current == (4, 2)
    merge = tree.nodes[4]
    assert (merge.parents, merge.size, merge.log_ratio) == ((0, 3), 75.0, 4.0)
    tree = tree.after(transitions.of_removals(2, [True, False]), ledger, 7, np.array([75.0, 0.0]))
    assert tree.current == (4,)
    assert [node.node for node in tree.ancestors(0)] == [4, 3, 1, 0]


def test_weights_from_elsewhere_start_a_new_tree():
    tree = Genealogy.of_sizes([10.0], "training")
    tree = tree.after(transitions.of_splits(3, [False, True, False]), [], 2, np.full(3, 4.0))
    assert [node.kind for node in tree.nodes] == ["start"] * 3 + ["split"] * 2
    assert tree.current == (0, 3, 4, 2)


def test_text_of_a_tree_shows_every_node_once_and_json_keeps_all():
    tree = followed(0 * PARTS, np.minimum(PARTS, 2), np.minimum(PARTS, 1))
    lines = str(tree).splitlines()
    assert len(lines) == len(tree.nodes) == 5
    assert lines[0] == "[0] 100 points"
    assert lines[1] == "  [1] 40 points, split in step 0, log ratio 25.0 -> cluster 0"
    assert "merge of 2 and 3 in step 1" in str(tree)
    again = Genealogy.from_json(as_text(as_bytes(tree.to_json())))
    assert (again.current, str(again)) == (tree.current, str(tree))
    for ours, theirs in zip(again.nodes, tree.nodes, strict=True):
        np.testing.assert_equal(dataclasses.astuple(ours), dataclasses.astuple(theirs))


def test_a_last_level_joins_components_and_leaves_single_ones():
    tree = followed(0 * PARTS, PARTS)
    joined = tree.joined(
        np.array([0, 1, 0, 2]), np.array([60.0, 30.0, 10.0]), np.array([2.5, 9, 9])
    )
    assert joined.nodes[:-1] == tree.nodes
    last = joined.nodes[-1]
    assert (last.kind, last.stage, last.size, last.log_ratio) == ("join", "end", 60.0, 2.5)
    assert last.parents == (tree.current[0], tree.current[2])
    assert joined.current == (last.node, tree.current[1], tree.current[3])
    assert "60 points, join of 1 and 3 at the end, log ratio 2.5 -> cluster 0" in str(joined)
    assert str(Genealogy.from_json(joined.to_json())) == str(joined)


def test_a_join_of_many_names_the_first_alone():
    tree = Genealogy.of_sizes([1.0] * 6, "training")
    text = str(tree.joined(np.zeros(6, int), np.array([6.0]), np.array([1.0])))
    assert "join of 0 and 5 others at the end" in text
