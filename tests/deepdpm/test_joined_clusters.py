"""Clusters of several components: what a model says of them, and what it keeps."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tests.reference.joined import join
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.interpret.identity import Identity
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.training import online

QUICK = DeepDPMConfig(min_steps_per_epoch=20)
BLOBS, TRUTH = tfdpm.data.gaussian_mixture(5, 2, 400, separation=6.0, seed=1)


def rings(per_ring=500, noise=0.03, seed=0):
    """Two rings, one within the other, and which of them each point is of."""
    generator = np.random.default_rng(seed)
    angles, truth = generator.uniform(0, 2 * np.pi, 2 * per_ring), np.repeat([0, 1], per_ring)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = places * np.array([1.0, 3.0])[truth, np.newaxis]
    return x + generator.normal(0, noise, x.shape), truth


X, Y = rings()


@pytest.fixture(scope="module")
def ringed():
    model = DeepDPM(QUICK, seed=0)
    model.fit(X, Y, epochs=3, verbose=0)
    return model


@pytest.fixture
def joined():
    """Five blobs, of which 0 and 3, and 1 and 4, are told to have no valley between them."""
    model = DeepDPM(QUICK, seed=0)
    model.fit(BLOBS, epochs=2, verbose=0)
    join(model, (0, 3, -2.0), (1, 4, -0.5), (3, 4, 3.0), (0, 2, 7.0))
    return model


# -- whole fits -----------------------------------------------------------------------------------


def test_rings_are_clusters_of_many_components(ringed):
    assert ringed.n_clusters == 2 < ringed.n_components
    assert tfdpm.metrics.ari(Y, ringed.labels_) == 1.0
    np.testing.assert_array_equal(ringed.labels_, ringed.predict_labels(X))
    np.testing.assert_array_equal(ringed.labels_, ringed.predict(X).argmax(axis=1))
    np.testing.assert_array_equal(ringed.components_, ringed.predict_components(X))
    np.testing.assert_array_equal(ringed.labels_, ringed.cluster_of_component_[ringed.components_])


def test_the_last_epoch_tells_of_clusters_and_the_others_of_components(ringed):
    history = ringed.history.history
    assert set(history["n_components"]) == {ringed.n_components}
    *before, last = history["n_clusters"]
    assert last == 2 and set(before) <= {ringed.n_components}
    assert history["ari"][-1] == 1.0 > 0.5 > max(history["ari"][:-1])


def test_moments_are_those_of_the_points_of_each_ring(ringed):
    for cluster in range(2):
        own = X[ringed.labels_ == cluster]
        np.testing.assert_allclose(ringed.means_[cluster], own.mean(axis=0), atol=0.1)
        np.testing.assert_allclose(ringed.covariances_[cluster], np.cov(own.T), atol=0.2)
        assert ringed.weights_[cluster] == pytest.approx(len(own) / len(X), abs=0.01)


def test_most_chains_agree_on_the_number_of_rings(ringed):
    assert ringed.k_posterior_[2] >= 0.75 and max(ringed.k_posterior_) < 5
    stability = ringed.stability(X, num_chains=2)
    assert max(stability.k_posterior) < 5 and stability.scores.mean() > 0.9


def test_the_next_fit_keeps_the_names_of_the_rings(ringed):
    again = DeepDPM(QUICK, seed=3)
    again.fit(X[::-1], epochs=1, verbose=0, reference=ringed)
    np.testing.assert_array_equal(again.ids_, [0, 1])
    np.testing.assert_array_equal(again.labels_, ringed.labels_[::-1])
    assert again.identity_.kept == (0, 1)


def test_a_loaded_model_of_rings_says_the_same(ringed, tmp_path):
    ringed.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.labels_, ringed.labels_)
    np.testing.assert_array_equal(loaded.predict_labels(X), ringed.labels_)
    np.testing.assert_array_equal(loaded.cut(5), ringed.cut(5))
    assert str(loaded.tree_) == str(ringed.tree_)
    loaded.fit(X, epochs=1, verbose=0)
    assert loaded.n_clusters == 2


def test_a_file_from_within_a_fit_is_joined_by_a_fit_of_no_epochs(ringed, tmp_path):
    saver = keras.callbacks.ModelCheckpoint(str(tmp_path / "m.keras"))
    DeepDPM(QUICK, seed=0).fit(X, epochs=1, verbose=0, callbacks=[saver])
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.n_clusters == loaded.n_components > 2
    loaded.fit(X, epochs=0, verbose=0)
    assert loaded.n_clusters == 2 and tfdpm.metrics.ari(Y, loaded.labels_) == 1.0


def test_shape_gaussian_makes_every_component_a_cluster():
    model = tfdpm.fit(X, shape="gaussian", config=QUICK, epochs=1, verbose=0)
    assert model.n_clusters == model.n_components > 10
    np.testing.assert_array_equal(model.labels_, model.components_)
    np.testing.assert_allclose(model.means_, model.preprocessing_.inverse(model.mixture_.means))
    for ask in (lambda: model.levels_, lambda: model.cut(depth=1.0)):
        with pytest.raises(RuntimeError, match="wanted one that was fitted with shape='any'"):
            ask()
    assert len(np.unique(model.cut(3))) == 3


def test_a_given_number_of_clusters_is_kept():
    model = tfdpm.fit(X, config=QUICK.replace(fixed_k=6), epochs=1, verbose=0)
    assert model.n_clusters == model.n_components == 6


def test_a_stream_of_rings_ends_with_rings():
    model = DeepDPM(QUICK, seed=0)
    order = np.random.default_rng(0).permutation(len(X))
    for batch in np.split(order, 2):
        model.partial_fit(X[batch])
    assert model.n_clusters == 2 < model.n_components
    assert tfdpm.metrics.ari(Y, model.predict_labels(X)) == 1.0


def test_rings_stay_rings_when_a_stream_goes_on_from_their_fit():
    """The stream remembers points of the mixture, which have valleys, and is fitted anew."""
    model = DeepDPM(QUICK, seed=0)
    model.fit(X, epochs=1, verbose=0)
    more, truth = rings(seed=5)
    order = np.random.default_rng(1).permutation(len(more))
    for batch in np.split(order, 2):
        model.partial_fit(more[batch])
    assert model.memory.num_new == 0 and model.memory.is_recalled  # it was fitted anew
    assert model.n_clusters == 2 < model.n_components
    assert tfdpm.metrics.ari(truth, model.predict_labels(more)) == 1.0
    np.testing.assert_array_equal(model.ids_, [0, 1])


# -- what is said of joined components -------------------------------------------------------------


def test_probabilities_of_clusters_are_sums_over_their_components(joined):
    features = joined.embed(BLOBS)
    of_components = joined.fitted.networks.responsibilities(features, 5)
    expected = np.zeros((len(BLOBS), 3))
    for component, cluster in enumerate([0, 1, 2, 0, 1]):
        expected[:, cluster] += of_components[:, component]
    np.testing.assert_allclose(joined.predict(BLOBS), expected, atol=1e-6)
    np.testing.assert_allclose(joined(BLOBS.astype(np.float32)), expected, atol=1e-6)
    assert joined.n_clusters == 3 and joined.n_components == 5
    np.testing.assert_array_equal(joined.cluster_of_component_, [0, 1, 2, 0, 1])


def test_densities_do_not_depend_on_what_is_joined(joined):
    scores, p_values = joined.score_samples(BLOBS), joined.outlier_p(BLOBS)
    joined.adopt(joined.fitted.replace(groups=None))
    np.testing.assert_array_equal(joined.score_samples(BLOBS), scores)
    np.testing.assert_array_equal(joined.outlier_p(BLOBS), p_values)


def test_a_point_between_joined_components_is_of_their_cluster(joined):
    """Two components of .3 together beat one of .4, and the larger of the two is the point's."""
    of_components = np.array([[0.3, 0.0, 0.4, 0.3 - 1e-3, 1e-3]], np.float32)

    class Networks:
        def responsibilities(self, features, count):
            return of_components

    fitted = joined.fitted.replace(networks=Networks())
    np.testing.assert_array_equal(fitted.labels_of([None]), [0])
    np.testing.assert_array_equal(fitted.clusters_of([None]), [0])
    np.testing.assert_array_equal(fitted.replace(groups=None).labels_of([None]), [2])


def test_levels_lead_from_components_to_one_cluster(joined):
    levels = joined.levels_
    assert [level.n_clusters for level in levels] == [5, 4, 3, 2, 1]
    assert [level.depth for level in levels] == [-2.0, -0.5, 3.0, 7.0, np.inf]
    for level in levels:
        labels = level.clusters[joined.components_]
        np.testing.assert_array_equal(joined.cut(depth=level.depth), labels)
        np.testing.assert_array_equal(joined.cut(level.n_clusters), labels)
        np.testing.assert_array_equal(joined.cut(level.n_clusters, BLOBS), labels)
    np.testing.assert_array_equal(joined.cut(depth=0), joined.labels_)
    for fine, coarse in itertools.pairwise(levels):
        pairs = np.unique(np.stack([fine.clusters, coarse.clusters]), axis=1)
        assert pairs.shape[1] == fine.n_clusters


def test_halves_of_components_lie_within_their_clusters(joined):
    labels = joined.cut(6, BLOBS)
    pairs = np.unique(np.stack([labels, joined.labels_]), axis=1)
    assert pairs.shape[1] == 6


def test_a_cut_is_by_number_or_by_depth(joined):
    with pytest.raises(ValueError, match="`n_clusters`: got None, as `depth`"):
        joined.cut()
    with pytest.raises(ValueError, match="`n_clusters`: got 2, and a `depth` too"):
        joined.cut(2, depth=1.0)
    with pytest.raises(TypeError, match="`depth`"):
        joined.cut(depth="deep")


def test_the_valley_between_two_clusters_has_its_ends_and_its_depth(joined, capsys):
    evidence = joined.why(0)
    assert evidence.components == (0, 3) and evidence.inner_depth == -2.0
    assert evidence.size == pytest.approx(joined.cluster_sizes_[0])
    assert (evidence.valley.clusters, evidence.valley.ends) == ((0, 1), (3, 4))
    assert evidence.valley.depth == 3.0
    assert evidence.merge_with in (1, 2) and evidence.is_whole
    back = joined.why(1, 0).valley
    assert (back.clusters, back.ends, back.depth) == ((1, 0), (4, 3), 3.0)
    assert joined.why(2).valley.ends == (2, 0)
    assert joined.why(1, 2).valley.depth == np.inf
    out = capsys.readouterr().out
    assert "Valley to cluster 1: 3.0 nats deep, between components 3 and 4." in out
    assert "Deepest valley within: -2.0 nats, which is none." in out
    assert "Valley to cluster 2: none of their components are neighbours." in out
    for other in (0, 3):
        with pytest.raises(ValueError, match=f"`other`: got {other}"):
            joined.why(0, other)


def test_the_last_level_of_the_tree_joins_components(joined):
    tree = joined.tree_
    assert len(tree.current) == 3
    joins = [node for node in tree.nodes if node.kind == "join"]
    parents = [joined.fitted.genealogy.current[k] for k in (0, 3)]
    assert [node.log_ratio for node in joins] == [2.0, 0.5]
    assert joins[0].parents == tuple(parents) and joins[0].node == tree.current[0]
    assert tree.current[2] == joined.fitted.genealogy.current[2]
    np.testing.assert_allclose([node.size for node in joins], joined.cluster_sizes_[:2])
    assert "at the end, log ratio 2.0 -> cluster 0" in str(tree)


def test_the_summary_tells_of_clusters_and_components(joined):
    lines = []
    joined.summary(print_fn=lambda text, **_: lines.append(text))
    assert "Clusters: 3, of 5 components" in lines


def test_weights_that_are_put_back_come_without_what_was_joined(joined):
    joined.set_weights(joined.get_weights())
    assert joined.n_clusters == joined.n_components == 5


def test_renamed_clusters_keep_their_points_and_valleys(joined):
    """Names 7, 3, 5 of clusters 0, 1, 2: the second comes first."""
    before, sizes = joined.labels_, joined.cluster_sizes_
    joined.adopt(joined.fitted.renamed(Identity((7, 3, 5), next_id=8), joined.config, 0))
    np.testing.assert_array_equal(joined.ids_, [3, 5, 7])
    np.testing.assert_array_equal(joined.labels_, np.array([2, 0, 1])[before])
    np.testing.assert_array_equal(joined.predict_labels(BLOBS), joined.labels_)
    np.testing.assert_array_equal(joined.cluster_sizes_, sizes[[1, 2, 0]])
    assert joined.why(2, 0, print_fn=str).valley.depth == 3.0


def test_the_last_component_can_be_forgotten(joined):
    parts = [np.array(part) for part in joined.fitted.state.soft]
    for part in parts:
        part[-1] = 0.0
    gone = SufficientStatistics(*map(tf.constant, parts))
    state = dataclasses.replace(joined.fitted.state, soft=gone)
    fitted, has_removed = online._remove_forgotten(
        joined.fitted.replace(state=state), 0.1, QUICK, 0
    )
    assert has_removed and fitted.state.num_components == 4
    assert len(fitted.clusters) == 4


def test_a_cluster_lives_on_as_long_as_one_of_its_components(joined):
    """Component 0 is forgotten, so that component 3 alone is cluster 0, which is the third now."""
    soft = joined.fitted.state.soft
    parts = [np.array(part) for part in soft]
    for part in parts:
        part[0] = 0.0
    gone = SufficientStatistics(*map(tf.constant, parts))
    state = dataclasses.replace(joined.fitted.state, soft=gone)
    fitted, has_removed = online._remove_forgotten(
        joined.fitted.replace(state=state), 0.1, QUICK, 0
    )
    assert has_removed
    np.testing.assert_array_equal(fitted.clusters, [0, 1, 2, 0])
    assert fitted.identity.ids == (1, 2, 0) and fitted.identity.deaths == ()
