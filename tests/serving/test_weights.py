"""Constants and variables of served graphs, and what they compute."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.serving import weights as serving_weights
from tfdpm.serving.weights import ServedEncoder, affine, held, held_affine


def encoder(seed=0):
    """Takes images, and has weights that training would change but no gradient."""
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Conv2D(3, 3, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential([keras.Input([6, 6, 1]), *layers])
    model.layers[1].set_weights([np.full(3, v, np.float32) for v in (2.0, 1.0, 0.5, 4.0)])
    return model


def test_small_weights_are_constants_and_large_ones_are_variables():
    assert isinstance(held(np.zeros(2**18)), np.ndarray)
    large = held(np.ones(2**18 + 1))
    assert isinstance(large, tf.Variable) and not large.trainable and large.dtype == tf.float32
    assert held(np.zeros(3), tf.float64).dtype == np.float64


def test_affine_map_adds_its_bias():
    rng = np.random.default_rng(0)
    rows, kernel, bias = rng.normal(size=(5, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
    result = affine(tf.cast(rows, tf.float32), held_affine(kernel, bias))
    np.testing.assert_allclose(result, rows @ kernel + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("limit", [0, 2**25])
def test_encoder_gives_the_features_of_prediction(monkeypatch, limit):
    monkeypatch.setattr(serving_weights, "_LARGEST_ENCODER", limit)
    original = encoder()
    served = ServedEncoder(original)
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 1)).astype(np.float32)
    expected = original.predict(x, verbose=0)
    np.testing.assert_allclose(served(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(served(x.reshape(4, 36)), expected, rtol=1e-5, atol=1e-6)
    # Four of convolution and dense layer, four of the normalisation, the state of the dropout.
    assert len(served.variables) == (0 if limit else 9)


def test_weights_of_an_encoder_stand_in_the_file_once(tmp_path):
    module = tf.Module()
    served = ServedEncoder(keras.Sequential([keras.Input([500]), keras.layers.Dense(500)]))
    inputs = tf.TensorSpec([None, 500], tf.float32)
    module.encoder = served
    module.one = tf.function(lambda x: served(x), input_signature=[inputs])
    module.two = tf.function(lambda x: 2.0 * served(x), input_signature=[inputs])
    tf.saved_model.save(module, str(tmp_path), signatures={"one": module.one, "two": module.two})
    assert 1e6 < (tmp_path / "saved_model.pb").stat().st_size < 1.2e6
    assert sum(path.stat().st_size for path in (tmp_path / "variables").iterdir()) < 1e4
