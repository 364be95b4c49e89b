"""The estimator by scikit-learn's own checks, and where it is used: pipelines, searches."""

from __future__ import annotations

import copy
import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import tfdpm
from tfdpm import DeepDPMConfig
from tfdpm.sklearn import DeepDPMClusterer

FAST = DeepDPMConfig(min_steps_per_epoch=10, stable_epochs=None)
X, Y = tfdpm.data.gaussian_mixture(3, 2, 150, seed=0)

# Those that tell most for their time; `check_estimator` runs all.
TELLING = (
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimators_unfitted",
    "check_estimators_empty_data_messages",
    "check_complex_data",
    "check_estimator_sparse_array",
    "check_fit1d",
    "check_fit2d_1sample",
    "check_mixin_order",
    "check_transformer_preserve_dtypes",
    "check_transformer_get_feature_names_out",
)


def clusterer(**arguments):
    return DeepDPMClusterer(FAST, **{"epochs": 1, **arguments})


@pytest.fixture(scope="module")
def fitted():
    return clusterer(reject_below=0.05).fit(X)


@pytest.mark.parametrize("name", TELLING)
def test_scikit_learns_check_passes(name):
    getattr(estimator_checks, name)("DeepDPMClusterer", clusterer())


@pytest.mark.slow
def test_all_of_scikit_learns_checks_pass():
    # K is sought among the points that have weight, once each: a weight is no number of copies.
    weights = {"check_sample_weight_equivalence_on_dense_data": "weights are no copies"}
    results = estimator_checks.check_estimator(
        clusterer(epochs=2), on_fail="raise", expected_failed_checks=weights
    )
    assert len(results) > 40


def test_attributes_and_methods_are_those_of_the_model(fitted):
    assert fitted.n_clusters_ == 3 and fitted.n_features_in_ == 2 and fitted.n_iter_ == 1
    assert tfdpm.metrics.ari(Y, fitted.labels_) == pytest.approx(1.0)
    np.testing.assert_array_equal(fitted.labels_, fitted.model_.labels_)
    np.testing.assert_array_equal(fitted.predict_proba(X), fitted.model_.predict(X))
    np.testing.assert_allclose(fitted.score(X), fitted.model_.score_samples(X).mean())
    labels = fitted.predict(X)
    assert 0 < (labels == -1).sum() < 30
    np.testing.assert_array_equal(labels[labels >= 0], fitted.labels_[labels >= 0])


def test_pickled_estimator_answers_the_same(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_clone_has_the_settings_and_nothing_learned(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)


def test_works_at_the_end_of_a_pipeline_and_knows_columns():
    frame = pd.DataFrame(X, columns=["width", "height"])
    steps = make_pipeline(StandardScaler().set_output(transform="pandas"), clusterer())
    labels = steps.fit_predict(frame)
    assert tfdpm.metrics.ari(Y, labels) == pytest.approx(1.0)
    np.testing.assert_array_equal(steps.predict(frame), labels)
    np.testing.assert_array_equal(steps[-1].feature_names_in_, ["width", "height"])
    with pytest.raises(ValueError, match="feature names"):
        steps.predict(frame.rename(columns={"width": "depth"}))


def test_all_columns_of_a_frame_with_text_are_clustered():
    frame = pd.DataFrame(X, columns=["width", "height"])
    frame["species"] = np.array(["a", "b", "c"])[Y]
    estimator = clusterer(epochs=1).fit(frame)
    assert estimator.model_.columns.names == ("width", "height", "species")
    assert estimator.n_features_in_ == 3
    np.testing.assert_array_equal(estimator.predict(frame), estimator.labels_)


def test_responsibilities_come_as_a_frame_where_that_is_asked_for():
    frame = pd.DataFrame(X, columns=["width", "height"], index=np.arange(len(X)) + 7)
    estimator = clusterer().set_output(transform="pandas").fit(frame)
    shares = estimator.transform(frame)
    assert list(shares.columns) == [f"deepdpmclusterer{k}" for k in range(3)]
    assert shares.index.equals(frame.index) and (shares.dtypes == np.float32).all()
    np.testing.assert_array_equal(shares.to_numpy(), estimator.model_.predict(X))
    np.testing.assert_array_equal(shares.to_numpy().argmax(axis=1), estimator.labels_)


def test_responsibilities_are_features_of_what_follows():
    steps = make_pipeline(clusterer(), LogisticRegression()).fit(X, Y)
    assert steps.score(X, Y) == 1.0
    assert steps[-1].coef_.shape == (3, 3)


def test_grid_search_prefers_the_settings_that_predict_held_out_points():
    once = ShuffleSplit(1, random_state=0)
    search = GridSearchCV(clusterer(epochs=8), {"fixed_k": [1, 3]}, cv=once, refit=False).fit(X)
    assert search.best_params_ == {"fixed_k": 3}


def test_settings_replace_those_of_the_configuration():
    config = clusterer(initial_clusters=4, prior_scale=0.5, dp_concentration=2.0)._config()
    expected = FAST.replace(initial_clusters=4, prior_scale=0.5, dp_concentration=2.0, epochs=1)
    assert config == expected
    with pytest.raises(ValueError, match="`prior_scale`"):
        clusterer(prior_scale=-1.0).fit(X)


def test_seed_may_be_a_generator_or_none():
    generator = np.random.RandomState(5)
    expected = np.random.RandomState(5).randint(2**31 - 1)
    assert clusterer(random_state=generator).fit(X).model_.seed == expected


def test_noise_is_minus_one_in_labels_and_predictions_alike():
    far = np.array([[300.0, -200.0], [-250.0, 400.0]])
    points = np.concatenate([X, X.mean(axis=0) + far])
    estimator = clusterer(noise=0.02, reject_below=None).fit(points)
    is_noise = estimator.labels_ == -1
    assert is_noise[-2:].all() and 2 < is_noise.sum() < 30
    np.testing.assert_array_equal(estimator.predict(points), estimator.labels_)
    np.testing.assert_array_equal(estimator.outlier_scores_ > 0.98, is_noise)
    assert estimator.outlier_scores_.min() >= 0.0 and estimator.outlier_scores_.max() <= 1.0
    np.testing.assert_array_equal(estimator.probabilities_ == 0.0, is_noise)
    shares = estimator.predict_proba(points).max(axis=1)
    np.testing.assert_array_equal(estimator.probabilities_[~is_noise], shares[~is_noise])
    assert set(estimator.labels_) <= {-1, *range(estimator.n_clusters_)}


def test_noise_needs_a_probability_and_replaces_the_other_level():
    with pytest.raises(ValueError, match="`noise`: got 1.5"):
        clusterer(noise=1.5, reject_below=None).fit(X)
    with pytest.raises(ValueError, match="`reject_below`: got 0.1, wanted None"):
        clusterer(noise=0.01, reject_below=0.1).fit(X)
    assert not hasattr(clusterer(reject_below=None).fit(X), "outlier_scores_")


@pytest.mark.parametrize("features", ["auto", "pca", "model"])
def test_features_are_those_of_fit(features):
    x = np.random.default_rng(0).normal(size=(150, 12)) + 9.0 * (np.arange(150) % 3)[:, None]
    if features == "model":
        features = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3)])
    estimator = clusterer(features=features, epochs=2).fit(x)
    model = tfdpm.fit(x, features=features, config=FAST, epochs=2, verbose=0)
    np.testing.assert_array_equal(estimator.labels_, model.labels_)
    assert estimator.model_.features_ == model.features_
    assert (estimator.model_.encoder is None) == (model.encoder is None)
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict(x), model.labels_)
    assert clone(estimator).fit(x).n_clusters_ == model.n_clusters == 3


def test_unknown_features_are_named():
    with pytest.raises(ValueError, match="`features`: got 'magic'"):
        clusterer(features="magic").fit(X)


def test_probabilities_are_those_of_the_points_clusters(fitted):
    shares = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.probabilities_, shares.max(axis=1))
    np.testing.assert_array_equal(fitted.labels_, shares.argmax(axis=1))


def test_points_without_weight_decide_nothing():
    weights = (Y != 2).astype(int)
    estimator = clusterer().fit(X, sample_weight=weights)
    assert estimator.n_clusters_ == 2 and len(estimator.labels_) == len(X)
    with pytest.raises(ValueError, match="`sample_weight`: got shape"):
        clusterer().fit(X, sample_weight=weights[1:])


class TopicModel:
    """What BERTopic 0.17 does with a cluster model, `_cluster_embeddings` and `transform`."""

    def __init__(self, cluster_model):
        self.cluster_model = copy.deepcopy(cluster_model)

    def fit(self, embeddings, y=None):
        self.cluster_model.fit(embeddings, y=y)
        self.topics_ = self.cluster_model.labels_
        self.probabilities_ = self.cluster_model.probabilities_
        return self

    def transform(self, embeddings):
        return self.cluster_model.predict(embeddings)


def test_estimator_clusters_the_topics_of_a_topic_model():
    points = np.concatenate([X, X.mean(axis=0) + [[300.0, -200.0], [-250.0, 400.0]]])
    topics = TopicModel(clusterer(noise=0.02)).fit(points, y=np.append(Y, [-1, -1]))
    is_kept = topics.topics_[:-2] >= 0
    assert is_kept.mean() > 0.9 and tfdpm.metrics.ari(Y[is_kept], topics.topics_[:-2][is_kept]) == 1
    assert (topics.topics_[-2:] == -1).all() and (topics.probabilities_[-2:] == 0.0).all()
    np.testing.assert_array_equal(topics.transform(points), topics.topics_)


def test_bertopic_takes_the_estimator():
    bertopic = pytest.importorskip("bertopic")
    words = ["football goal player", "bread oven flour", "planet orbit star"]
    rng = np.random.default_rng(0)
    texts = [f"{words[k]} {rng.integers(100)}" for k in Y]
    topics = bertopic.BERTopic(
        embedding_model=bertopic.backend.BaseEmbedder(),
        umap_model=bertopic.dimensionality.BaseDimensionalityReduction(),
        hdbscan_model=clusterer(noise=0.001),
    )
    found, shares = topics.fit_transform(texts, embeddings=X.astype(np.float32))
    found = np.array(found)
    assert tfdpm.metrics.ari(Y[found >= 0], found[found >= 0]) > 0.99 and len(shares) == len(X)
    assert "planet" in str(topics.get_topics()) and set(found) - {-1} == {0, 1, 2}


def test_shape_is_that_of_the_model():
    assert clusterer(shape="gaussian")._config().shape == "gaussian"
    assert clusterer()._config().shape == FAST.shape
