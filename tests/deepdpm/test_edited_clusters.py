"""Clusters that someone merges or splits by hand, and pairs of rows that a fit respects."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdpm
from tests.deepdpm.test_joined_clusters import QUICK, X, ringed  # noqa: F401
from tfdpm import DeepDPM

BLOBS, TRUTH = tfdpm.data.gaussian_mixture(5, 2, 400, separation=6.0, seed=1)


@pytest.fixture
def blobs():
    model = DeepDPM(QUICK, seed=0)
    model.fit(BLOBS, epochs=2, verbose=0)
    return model


def test_merged_clusters_add_up_everywhere(blobs, tmp_path):
    before, old, ids = blobs.predict(BLOBS), blobs.labels_, blobs.ids_
    number = blobs.merge(3, 1, x=BLOBS)
    assert (number, blobs.n_clusters, blobs.n_components) == (1, 4, 5)
    after = blobs.predict(BLOBS)
    np.testing.assert_allclose(after[:, number], before[:, [1, 3]].sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(np.delete(after, number, 1), before[:, [0, 2, 4]], atol=1e-6)
    np.testing.assert_array_equal(blobs.labels_, blobs.predict_labels(BLOBS))
    np.testing.assert_array_equal(blobs.labels_ == number, np.isin(old, [1, 3]))
    assert blobs.ids_[number] in ids[[1, 3]] and set(np.delete(blobs.ids_, number)) < set(ids)
    assert list(blobs.identity_.merges.values()) == [(1, 3)]
    node = blobs.tree_.nodes[blobs.tree_.current[number]]
    assert (node.kind, node.stage, node.size) == ("merge", "hand", pytest.approx(160, abs=1))
    assert "by hand -> cluster 1" in str(blobs.tree_)
    blobs.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.labels_, blobs.labels_)
    assert loaded.tree_.to_json() == blobs.tree_.to_json()
    np.testing.assert_array_equal(loaded.ids_, blobs.ids_)
    blobs.export(tmp_path / "served")
    served = tfdpm.load(tmp_path / "served")
    np.testing.assert_array_equal(served.predict_labels(BLOBS), blobs.labels_)


def test_merged_clusters_can_be_split_again(blobs):
    before = blobs.predict(BLOBS)
    blobs.merge(0, 2, 4)
    assert blobs.n_clusters == 3
    for _ in range(2):
        blobs.split(int(np.argmax(blobs.cluster_sizes_)))
    np.testing.assert_allclose(blobs.predict(BLOBS), before, atol=1e-6)
    assert [node.stage for node in blobs.tree_.nodes].count("hand") == 5


def test_a_component_that_holds_two_blobs_is_split_between_them():
    two = np.concatenate([BLOBS[TRUTH == k] for k in (0, 1)])
    truth = np.repeat([0, 1], [(TRUTH == k).sum() for k in (0, 1)])
    model = DeepDPM(QUICK.replace(fixed_k=1), seed=0)
    model.fit(two, epochs=2, verbose=0)
    assert model.n_clusters == 1
    assert model.split(0, two) == (0, 1)
    assert tfdpm.metrics.ari(model.labels_, truth) > 0.98
    np.testing.assert_array_equal(model.labels_, model.predict_labels(two))
    np.testing.assert_allclose(model.weights_, [0.5, 0.5], atol=0.02)
    assert model.identity_.splits == {0: (0, 1)} and list(model.ids_) == [0, 1]


def test_a_loaded_model_splits_and_says_that_labels_are_unknown(blobs, tmp_path):
    blobs.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    first, second = loaded.split(2)
    sizes = np.bincount(loaded.predict_labels(BLOBS), minlength=6)
    assert sizes.sum() == 400 and sizes[first] + sizes[second] == pytest.approx(80, abs=4)
    assert min(sizes[first], sizes[second]) >= 10
    with pytest.raises(RuntimeError, match=r"labels_.*predict_labels"):
        _ = loaded.labels_
    np.testing.assert_allclose(loaded.weights_.sum(), 1.0)


def test_rings_that_are_merged_and_split_are_the_rings(ringed):  # noqa: F811
    before, parts = ringed.labels_, ringed.parts
    assert ringed.merge(0, 1) == 0 and ringed.n_clusters == 1
    ringed.split(0)
    np.testing.assert_array_equal(ringed.labels_, before)
    np.testing.assert_array_equal(ringed.labels_, ringed.predict_labels(X))
    ringed.adopt(parts)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [((0, 0), r"`clusters`: got \[0, 0\]"), ((0, 5), "`clusters`: got 5"), ((0, 1.0), "integer")],
)
def test_merges_of_no_two_clusters_are_errors(blobs, given, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):
        blobs.merge(*given)


# -- pairs of rows --------------------------------------------------------------------------------

OF_BLOB = [np.flatnonzero(TRUTH == k) for k in range(5)]


def pairs_fit(must=None, cannot=None, seed=0, **changes):
    model = DeepDPM(QUICK.replace(**changes), seed=seed)
    model.fit(BLOBS, epochs=2, verbose=0, must_link=must, cannot_link=cannot)
    return model


@pytest.mark.parametrize("shape", ["any", "gaussian"])
def test_linked_rows_of_two_blobs_join_them_and_nothing_else(shape):
    must = [(OF_BLOB[0][0], OF_BLOB[1][0]), (OF_BLOB[1][5], OF_BLOB[2][5])]
    model = pairs_fit(must, shape=shape)
    truth = np.where(TRUTH <= 2, 0, TRUTH)
    assert tfdpm.metrics.ari(model.labels_, truth) == 1.0
    np.testing.assert_array_equal(model.labels_, model.predict_labels(BLOBS))


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_one_blob_that_are_to_be_apart_split_it_and_nothing_else(seed):
    one, other = OF_BLOB[3][:2]
    labels = pairs_fit(cannot=[(one, other)], seed=seed).labels_
    assert labels[one] != labels[other] and labels.max() == 5
    rest = TRUTH != 3
    assert tfdpm.metrics.ari(labels[rest], TRUTH[rest]) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_every_pair_is_respected_where_both_kinds_meet(seed):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(400)[:6]
    must, cannot = (
        [(rows[0], rows[1]), (rows[2], rows[3])],
        [(rows[0], rows[2]), (rows[4], rows[5])],
    )
    model = pairs_fit(must, cannot, seed)
    labels = model.labels_
    assert all(labels[a] == labels[b] for a, b in must)
    assert all(labels[a] != labels[b] for a, b in cannot)
    np.testing.assert_array_equal(labels, model.predict_labels(BLOBS))
    np.testing.assert_array_equal(labels, pairs_fit(must, cannot, seed).labels_)


def test_pieces_of_a_ring_are_not_joined_over_rows_that_are_apart():
    one, other = np.argmax(X[:, 0]), np.argmin(X[:, 0])  # of the outer ring
    model = DeepDPM(QUICK, seed=0)
    model.fit(X, epochs=3, verbose=0, cannot_link=[(one, other)])
    assert model.labels_[one] != model.labels_[other]
    assert model.n_clusters == 3


@pytest.mark.parametrize(
    ("must", "cannot", "complaint"),
    [
        ([(0, 1), (1, 2)], [(2, 0)], r"`cannot_link`: got \(2, 0\), which must be together"),
        (None, [(3, 3)], r"`cannot_link`: got \(3, 3\)"),
        ([(0, 400)], None, r"`must_link`: got \(0, 400\), wanted .* to 399"),
        ([0, 1], None, r"`must_link`: got shape \(2,\)"),
        ([(0.5, 1.0)], None, "`must_link`: got .* float64"),
    ],
)
def test_impossible_pairs_are_named(must, cannot, complaint):
    with pytest.raises(ValueError, match=complaint):
        pairs_fit(must, cannot)


def test_equal_points_cannot_be_apart():
    x = np.concatenate([BLOBS, BLOBS[:1]])
    with pytest.raises(ValueError, match=r"`cannot_link`: got \(0, 400\), .* too near"):
        DeepDPM(QUICK, seed=0).fit(x, epochs=2, verbose=0, cannot_link=[(0, 400)])


def test_pairs_of_a_stream_or_of_a_fixed_number_of_clusters_are_errors():
    with pytest.raises(ValueError, match="`must_link`: got pairs, and fixed_k=3"):
        pairs_fit([(0, 1)], fixed_k=3)
    with pytest.raises(ValueError, match="`cannot_link`: got pairs of rows of a stream"):
        DeepDPM(QUICK).fit(iter([BLOBS]), cannot_link=[(0, 1)], steps_per_epoch=1)


def test_fit_of_any_data_passes_pairs_on():
    pair = (int(OF_BLOB[0][0]), int(OF_BLOB[1][0]))
    model = tfdpm.fit(BLOBS, config=QUICK, epochs=2, verbose=0, must_link=[pair])
    assert model.labels_[pair[0]] == model.labels_[pair[1]]
