"""Names of clusters that outlive a fit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.interpret.identity import Identity, first_identity, follow

OLD = first_identity(3)


def test_permuted_clusters_keep_their_names():
    found = follow(OLD, [[0, 90, 3], [80, 1, 0], [0, 2, 70], [0, 0, 0]])
    assert found.ids == (1, 0, 2) and found.kept == (0, 1, 2)
    assert (found.births, found.deaths, found.splits, found.merges) == ((), (), {}, {})
    assert found.next_id == 3


def test_split_keeps_the_name_in_its_larger_part():
    found = follow(OLD, [[30, 60, 0, 0], [0, 0, 80, 0], [0, 0, 0, 70], [0, 0, 0, 0]])
    assert found.ids == (3, 0, 1, 2) and found.splits == {0: (3, 0)}
    assert found.births == found.deaths == () and found.next_id == 4


def test_merge_has_the_name_of_its_larger_part_and_nobody_died():
    found = follow(OLD, [[40, 0], [60, 0], [0, 70], [0, 0]])
    assert found.ids == (1, 2) and found.merges == {1: (0, 1)}
    assert found.deaths == () and found.kept == (1, 2)


def test_cluster_of_points_that_nothing_was_like_is_born():
    found = follow(OLD, [[50, 0, 0, 5], [0, 50, 0, 0], [0, 0, 50, 0], [0, 0, 0, 45]])
    assert found.ids == (0, 1, 2, 3) and found.births == (3,) and found.splits == {}


def test_cluster_without_points_dies_and_its_name_is_not_used_again():
    found = follow(OLD, [[50, 0, 0], [0, 0, 0], [0, 50, 0], [0, 0, 40]])
    assert found.ids == (0, 2, 3) and found.deaths == (1,) and found.births == (3,)
    again = follow(found, [[50, 0], [0, 0], [0, 40], [0, 0]])
    assert again.ids == (0, 3) and again.deaths == (2,) and again.next_id == 4


def test_matching_is_best_for_all_points_together():
    # Greedily, 0 -> 0 and then 1 -> 1 with nothing in common.
    found = follow(first_identity(2), [[50, 45], [48, 0], [0, 0]])
    assert found.ids == (1, 0)


def test_report_is_kept_as_text_and_read_by_people():
    found = follow(OLD, [[30, 60, 0], [0, 0, 80], [0, 0, 70], [0, 0, 0]])
    assert Identity.from_json(found.to_json()) == found
    assert str(found).splitlines() == ["Kept: 0, 1", "Split: 0 into 3, 0", "Merged: 1, 2 into 1"]


# -- with models ----------------------------------------------------------------------------------

X, Y = tfdpm.data.gaussian_mixture(5, 2, 900, separation=9.0, seed=3)
FAST = DeepDPMConfig(min_steps_per_epoch=10)


def fitted(x, *, seed=0, reference=None):
    model = DeepDPM(FAST, seed=seed)
    model.fit(x, epochs=2, verbose=0, reference=reference)
    return model


@pytest.fixture(scope="module")
def old():
    model = fitted(X[Y < 4])
    assert model.n_clusters == 4
    np.testing.assert_array_equal(model.ids_, [0, 1, 2, 3])
    return model


def test_refit_on_other_points_in_another_order_has_the_same_labels(old):
    order = np.random.default_rng(0).permutation(np.flatnonzero(Y < 4))
    x = X[order][::2]
    plain, named = fitted(x, seed=5), fitted(x, seed=5, reference=old)
    np.testing.assert_array_equal(named.ids_, [0, 1, 2, 3])
    np.testing.assert_array_equal(named.labels_, old.predict_labels(x))
    np.testing.assert_array_equal(named.labels_, named.predict_labels(x))
    # Only the numbers differ from a fit without a reference.
    assert tfdpm.metrics.ari(plain.labels_, named.labels_) == 1.0
    np.testing.assert_allclose(named.score_samples(x[:20]), plain.score_samples(x[:20]), rtol=1e-9)
    np.testing.assert_array_equal(np.bincount(named.labels_), named.cluster_sizes_)


def test_births_and_deaths_are_told_and_names_are_saved(old, tmp_path):
    gone = old.predict_labels(X[Y == 0])[0]
    stream = tf.data.Dataset.from_tensor_slices(X[Y > 0]).shuffle(1000, seed=0).batch(100)
    new = fitted(stream, seed=2, reference=old)
    assert new.n_clusters == 4
    assert new.identity_.deaths == (gone,) and new.identity_.births == (4,)
    names = [k for k in range(4) if k != gone]
    np.testing.assert_array_equal(new.ids_, [*names, 4])
    for k in (1, 2, 3):
        labels = new.ids_[new.predict_labels(X[Y == k])]
        np.testing.assert_array_equal(labels, old.predict_labels(X[Y == k]))
    assert (new.ids_[new.predict_labels(X[Y == 4])] == 4).all()
    new.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.identity_ == new.identity_
    third = tfdpm.fit(X, config=FAST, epochs=1, verbose=0, reference=loaded)
    np.testing.assert_array_equal(third.ids_, [*names, 4, 5])


def test_reference_must_be_another_model(old):
    with pytest.raises(TypeError, match="`reference`: got a str"):
        DeepDPM(FAST).fit(X, epochs=1, verbose=0, reference="old.keras")
    with pytest.raises(ValueError, match="`reference`: got the model itself"):
        old.fit(X, epochs=1, verbose=0, reference=old)
