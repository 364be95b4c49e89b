"""The tree, the cuts and the evidence of fitted models."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

import tfdpm
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.callbacks import MoveLedger
from tfdpm.interpret.hierarchy import (
    deepest_within,
    joined_below,
    joined_to,
    list_levels,
    merged_to,
)
from tfdpm.interpret.judges import merge_judge
from tfdpm.metrics import ari
from tfdpm.mixture.statistics import accumulate_hard
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.shapes.groups import ComponentGroups

X, Y = tfdpm.data.gaussian_mixture(5, 3, 800, separation=6.0, seed=1)
STEPWISE = DeepDPMConfig(
    start="kmeans",
    min_steps_per_epoch=15,
    first_move_epoch=1,
    move_interval_epochs=1,
    stable_epochs=None,
)


@pytest.fixture(scope="module")
def model():
    """Whose moves were made by the search."""
    model = DeepDPM(DeepDPMConfig(min_steps_per_epoch=10), seed=0)
    model.fit(X, epochs=2, verbose=0)
    assert model.n_clusters == 5
    return model


@pytest.fixture(scope="module")
def stepwise():
    """Whose moves were made in training, and their ledger."""
    ledger = MoveLedger()
    model = DeepDPM(STEPWISE, seed=0)
    model.fit(X, epochs=6, verbose=0, callbacks=[ledger])
    assert model.n_clusters > 2
    return model, ledger


def test_tree_of_a_search_ends_in_the_clusters_with_their_sizes(model):
    tree = model.tree_
    assert len(tree.current) == 5 and len(set(tree.current)) == 5
    assert [node.size for node in tree.nodes if node.kind == "start"] == [800.0]
    births = np.array([tree.nodes[node].size for node in tree.current])
    np.testing.assert_allclose(births, model.cluster_sizes_, atol=20)
    for node in tree.nodes[1:]:
        assert node.stage == "search" and node.log_ratio > 0
    for k in range(5):
        assert tree.ancestors(k)[-1].kind == "start"


def test_tree_of_a_training_agrees_with_the_ledger(stepwise):
    model, ledger = stepwise
    made = [each for each in ledger.records if each["is_accepted"] and each["kind"] != "removal"]
    born = [node for node in model.tree_.nodes if node.kind != "start"]
    assert len(born) == sum({"split": 2, "merge": 1}[each["kind"]] for each in made)
    for epoch in {node.step for node in born}:
        ratios = {node.log_ratio for node in born if node.step == epoch}
        assert ratios == {each["log_ratio"] for each in made if each["epoch"] == epoch}
    assert len(model.tree_.current) == model.n_clusters


def test_tree_is_saved_with_the_model_and_goes_on(stepwise, tmp_path):
    model, _ = stepwise
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert str(loaded.tree_) == str(model.tree_)
    before = len(loaded.tree_.nodes)
    loaded.fit(X, epochs=1, verbose=0)
    assert len(loaded.tree_.nodes) >= before and len(loaded.tree_.current) == loaded.n_clusters


def test_coarser_cuts_are_nested_and_merge_the_nearest(model):
    levels = {count: model.cut(count) for count in (1, 2, 3, 4, 5)}
    np.testing.assert_array_equal(levels[5], model.labels_)
    for count, labels in levels.items():
        np.testing.assert_array_equal(np.unique(labels), np.arange(count))
    for coarse, fine in itertools.pairwise(levels):
        pairs = np.unique(np.stack([levels[fine], levels[coarse]]), axis=1)
        assert pairs.shape[1] == fine  # every finer cluster lies in one coarser one
    np.testing.assert_array_equal(model.cut(3, X), levels[3])


def test_finer_cuts_split_clusters_into_halves(model):
    labels = model.cut(7, X)
    assert len(np.unique(labels)) == 7
    pairs = np.unique(np.stack([labels, model.labels_]), axis=1)
    assert pairs.shape[1] == 7
    with pytest.raises(ValueError, match="`x`: got None"):
        model.cut(7)
    with pytest.raises(ValueError, match="`n_clusters`: got 11"):
        model.cut(11, X)
    with pytest.raises(ValueError, match="`n_clusters`: got 0"):
        model.cut(0)


def on_a_line(centres):
    """Statistics of 50 points around each centre."""
    points = [np.random.default_rng(k).normal(c, 0.5, (50, 1)) for k, c in enumerate(centres)]
    return accumulate_hard(np.concatenate(points), np.repeat(np.arange(4), 50), 4)


def terms(each):
    """A Gaussian's log likelihood, where wide clusters cost."""
    counts, sums, products = (np.asarray(part) for part in each)
    variance = products[:, 0, 0] / counts - (sums[:, 0] / counts) ** 2
    return -0.5 * counts * np.log(variance)


def test_greedy_merging_takes_the_pair_that_raises_the_probability_most():
    statistics = on_a_line([0.0, 10.0, 1.0, 1e4])
    np.testing.assert_array_equal(merged_to(3, terms, statistics), [0, 1, 0, 2])
    np.testing.assert_array_equal(merged_to(2, terms, statistics), [0, 0, 0, 1])
    np.testing.assert_array_equal(merged_to(1, terms, statistics), [0, 0, 0, 0])


def groups_of(count, *between):
    """Groups of components with valleys `(first, second, depth)`, all others apart."""
    valleys = np.full((count, count), np.inf)
    np.fill_diagonal(valleys, 0.0)
    for first, second, depth in between:
        valleys[first, second] = valleys[second, first] = depth
    return ComponentGroups.from_valleys(valleys)


def test_clusters_between_which_nothing_lies_merge_by_evidence():
    """Components at 0 and 10 have a shallow valley; of the others, that at 1 is the nearest."""
    groups, statistics = groups_of(4, (0, 1, 5.0)), on_a_line([0.0, 10.0, 1.0, 1e4])
    for count, expected in enumerate([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3]], 1):
        np.testing.assert_array_equal(joined_to(count, groups, terms, statistics), expected)


def test_levels_stop_where_nothing_lies_between_and_end_with_one_cluster():
    levels = list_levels(groups_of(4, (2, 3, -1.5), (0, 1, 4.0)))
    assert [(level.depth, level.n_clusters) for level in levels] == [
        (-1.5, 4), (4.0, 3), (np.inf, 2), (np.inf, 1)
    ]  # fmt: skip
    np.testing.assert_array_equal(levels[2].clusters, [0, 0, 1, 1])
    (only,) = list_levels(groups_of(1))
    assert (only.depth, only.n_clusters) == (np.inf, 1)


def test_a_cut_at_depth_zero_joins_what_has_no_valley_and_others_keep_the_depth_they_name():
    groups = groups_of(3, (0, 1, 0.0), (1, 2, 4.0))
    np.testing.assert_array_equal(joined_below(0.0, groups), groups.clusters)
    np.testing.assert_array_equal(groups.clusters, [0, 0, 1])
    np.testing.assert_array_equal(joined_below(4.0, groups), [0, 0, 1])
    np.testing.assert_array_equal(joined_below(4.1, groups), [0, 0, 0])
    np.testing.assert_array_equal(joined_below(-1.0, groups), [0, 1, 2])


def test_the_deepest_valley_within_a_cluster_is_that_of_its_last_join():
    groups = groups_of(5, (0, 2, -3.0), (2, 4, -1.0), (0, 4, -2.0), (1, 3, 6.0))
    np.testing.assert_array_equal(deepest_within(groups), [-2.0, -np.inf, -np.inf])


def test_every_separated_cluster_is_whole_and_the_evidence_says_why(model, capsys):
    for k in range(5):
        evidence = model.why(k)
        assert evidence.is_whole and evidence.size == model.cluster_sizes_[k]
        assert sum(evidence.split_sizes) == pytest.approx(evidence.size)
        assert min(evidence.split_sizes) > 1 and np.isfinite(evidence.split_log_ratio)
        assert evidence.merge_with != k and evidence.merge_log_ratio < -50.0
    out = capsys.readouterr().out
    assert out.count("rejected.") == 10 and "Cluster 0, " in out
    with pytest.raises(ValueError, match="`k`: got 5"):
        model.why(5)


def test_evidence_of_a_cluster_that_is_two_says_split():
    model = DeepDPM(DeepDPMConfig(fixed_k=1, min_steps_per_epoch=60), seed=0)
    pair = np.concatenate([X[Y == 0], X[Y == 1]])
    model.fit(pair, epochs=3, verbose=0)
    lines = []
    evidence = model.why(0, print_fn=lines.append)
    assert evidence.split_log_ratio > 50.0 and not evidence.is_whole
    assert (evidence.merge_with, evidence.merge_log_ratio) == (None, -np.inf)
    assert len(lines) == 2 and "better told as two" in lines[1]
    halves = model.cut(2, pair)
    assert ari(np.repeat([0, 1], [(Y == 0).sum(), (Y == 1).sum()]), halves) > 0.9


def test_loaded_model_has_evidence_from_its_statistics(model, tmp_path):
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    ours, theirs = (each.why(1, print_fn=str) for each in (model, loaded))
    assert theirs.merge_with == ours.merge_with
    # Without heavy tails to explain it, merging costs no less.
    assert theirs.merge_log_ratio <= ours.merge_log_ratio + 1e-6 * abs(ours.merge_log_ratio)
    np.testing.assert_array_equal(loaded.cut(3), model.cut(3))


@pytest.mark.parametrize("covariance", ["diagonal", "spherical"])
def test_evidence_is_judged_by_the_structure_of_the_covariances(covariance):
    config = DeepDPMConfig(covariance=covariance, min_steps_per_epoch=5)
    model = DeepDPM(config, seed=0)
    model.fit(X, epochs=1, verbose=0)
    pairs, ratios = merge_judge(model.fitted, config).merge_ratios()
    model.adopt(model.fitted.replace(search=None))
    # The sample is all of the points, and no heavy tail explains clusters this far apart.
    evidence = model.why(int(pairs[0, 0]), print_fn=str)
    assert ratios[(pairs == pairs[0, 0]).any(axis=1)].max() == pytest.approx(
        evidence.merge_log_ratio, rel=1e-6
    )


def test_search_keeps_each_better_partition(monkeypatch):
    model = DeepDPM(DeepDPMConfig(min_steps_per_epoch=1), seed=0)
    model.fit(X, epochs=1, verbose=0)
    search = model.fitted.result.search
    assert isinstance(search, MixtureSearch)
    scores = [search.score(labels) for labels in search.trace]
    assert scores[0] < scores[-1] and max(scores[:-1]) <= scores[-1] + 1e-6 * abs(scores[-1])
    terms, tails = search.shares(search.trace[-1])
    assert terms.sum() == pytest.approx(scores[-1]) and (tails >= 0).all()
