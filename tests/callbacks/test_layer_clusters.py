"""Clusters of another model's features, seen while it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm.callbacks import ClusterFeatures

X, Y = tfdpm.data.gaussian_mixture(3, 8, 450, separation=8.0, seed=0)
FAST = tfdpm.DeepDPMConfig(min_steps_per_epoch=10, epochs=2)


def classifier():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, name="seen"), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input([8]), *layers])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model


def test_clusters_of_a_layer_stand_in_the_history():
    seen = ClusterFeatures("seen", X, Y, every_epochs=2, config=FAST)
    model = classifier()
    history = model.fit(X, Y, epochs=4, verbose=0, callbacks=[seen]).history
    assert [record["epoch"] for record in seen.records] == [1, 3]
    assert len(history["loss"]) == 4 and len(history["feature_clusters"]) == 2
    assert history["feature_clusters"][-1] == seen.clusterer.n_clusters
    assert len(history["feature_change"]) == 1
    for record in seen.records:
        assert sum(record["sizes"]) == 450 and record["sizes"] == sorted(record["sizes"])[::-1]
        assert record["largest_cluster"] == record["sizes"][0] / 450
        assert len(record["sizes"]) == record["feature_clusters"]
    features = keras.Model(model.inputs, model.get_layer("seen").output).predict(X, verbose=0)
    labels = seen.clusterer.predict_labels(features)
    assert seen.records[-1]["feature_nmi"] == pytest.approx(tfdpm.metrics.nmi(Y, labels))
    assert seen.records[-1]["feature_nmi"] > 0.9


def test_collapsed_features_are_one_cluster():
    model = classifier()
    model.get_layer("seen").kernel.assign(0.0 * model.get_layer("seen").kernel)
    seen = ClusterFeatures(model.get_layer("seen"), X, config=FAST)
    seen.set_model(model)
    seen.on_train_begin()
    logs = {}
    seen.on_epoch_end(0, logs)
    assert logs == {"feature_clusters": 1, "largest_cluster": 1.0}


def test_features_with_more_axes_are_flattened_and_many_points_thinned():
    model = keras.Sequential([keras.Input([4, 4, 1]), keras.layers.Conv2D(2, 3, name="maps")])
    seen = ClusterFeatures("maps", np.zeros([12_001, 4, 4, 1], np.float32), config=FAST)
    assert len(seen.x) == 4001
    seen.set_model(model)
    seen.x = np.random.default_rng(0).normal(size=(60, 4, 4, 1)).astype(np.float32)
    seen.on_train_begin()
    seen.on_epoch_end(0)
    assert seen.clusterer.labels_.shape == (60,)
    assert seen.clusterer.fitted.state.preprocessing.input_dim == 8


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="`layer`: got 3"):
        ClusterFeatures(3, X)
    with pytest.raises(ValueError, match="`x`: got a stream"):
        ClusterFeatures("seen", tf.data.Dataset.from_tensor_slices(X))
    with pytest.raises(ValueError, match="`layer`: got 'nothing'"):
        classifier().fit(X, Y, epochs=1, verbose=0, callbacks=[ClusterFeatures("nothing", X)])
