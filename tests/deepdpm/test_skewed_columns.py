"""A model whose skewed columns became logarithms, wherever it goes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm

FAST = tfdpm.DeepDPMConfig(min_steps_per_epoch=5)


def lognormal(num_points=600, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, num_points)
    logs = np.array([[0.0, 5.0], [3.0, 2.0]])[labels]
    x = np.exp(logs + 0.7 * generator.normal(size=(num_points, 2)))
    return (x * [1.0, -1.0] + [0.0, 40.0]).astype(np.float32)  # one falls away downwards


X = lognormal()
NEW = np.concatenate([lognormal(200, seed=1), [[0.0, 0.0], [-1.0, 20.0], [1e4, 1e5]]])


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(X, epochs=1, verbose=0)
    assert np.isfinite(model.preprocessing_.log_scales).all() and model.n_clusters == 2
    np.testing.assert_array_equal(model.preprocessing_.log_origins, [0.0, X[:, 1].max()])
    return model


def test_labels_and_densities_survive_saving(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.preprocessing_.log_scales, model.preprocessing_.log_scales)
    np.testing.assert_array_equal(again.predict_labels(NEW), model.predict_labels(NEW))
    np.testing.assert_allclose(again.score_samples(NEW), model.score_samples(NEW), rtol=1e-9)


def test_labels_and_densities_are_those_of_the_saved_model(model, tmp_path):
    model.export(tmp_path / "served")
    outputs = tf.saved_model.load(str(tmp_path / "served")).serve(tf.constant(NEW, tf.float32))
    np.testing.assert_array_equal(outputs["labels"], model.predict_labels(NEW))
    np.testing.assert_allclose(outputs["log_density"], model.score_samples(NEW), atol=2e-3)
    np.testing.assert_allclose(outputs["outlier_p"], model.outlier_p(NEW), atol=1e-3)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_labels_are_those_of_other_runtimes(model, tmp_path, kind):
    points = NEW.astype(np.float32)
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
        session_of = pytest.importorskip("onnxruntime").InferenceSession
        model.export_onnx(tmp_path / "model")
        session = session_of(str(tmp_path / "model"), providers=["CPUExecutionProvider"])
        (labels,) = session.run(["labels"], {session.get_inputs()[0].name: points})
    else:
        model.export_tflite(tmp_path / "model")
        interpreter = tf.lite.Interpreter(str(tmp_path / "model"))
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], points.shape)
        labels = interpreter.get_signature_runner("serving_default")(inputs=points)["labels"]
    np.testing.assert_array_equal(labels, model.predict_labels(NEW))


def test_streams_and_arrays_have_the_same_labels(model):
    stream = tf.data.Dataset.from_tensor_slices(NEW.astype(np.float32)).batch(64)
    np.testing.assert_array_equal(model.predict_labels(stream), model.predict_labels(NEW))
    np.testing.assert_allclose(model.predict(stream), model.predict(NEW), atol=1e-5)


def test_densities_of_raw_points_integrate_to_one():
    x = np.random.default_rng(0).exponential(size=(500, 1)).astype(np.float32)
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.fit(x, epochs=1, verbose=0)
    assert model.n_clusters == 1 and model.preprocessing_.log_scales is not None
    grid = np.concatenate([-np.geomspace(1e6, 1e-6, 40_000), np.geomspace(1e-6, 1e6, 40_000)])
    density = np.exp(model.score_samples(grid[:, np.newaxis]))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=2e-3)


def test_means_are_medians_of_the_clusters(model):
    order = np.argsort(model.means_[:, 0])
    labels = np.argsort(order)[model.labels_]
    medians = np.stack([np.median(X[labels == k], axis=0) for k in (0, 1)])
    np.testing.assert_allclose(model.means_[order], medians, rtol=0.15)
    assert model.covariances_.shape == (2, 2, 2)
    # Of a log-normal column, the standard deviation is about that of its logarithm times its size.
    deviations = np.sqrt(model.covariances_[:, [0, 1], [0, 1]])
    np.testing.assert_allclose(deviations / np.abs(model.means_ - [0.0, 40.0]), 0.7, rtol=0.25)


def test_further_batches_are_mapped_alike():
    model = tfdpm.DeepDPM(FAST, seed=0)
    model.partial_fit(X)
    log_scales = model.preprocessing_.log_scales
    model.partial_fit(lognormal(300, seed=2))
    np.testing.assert_array_equal(
        np.isfinite(model.preprocessing_.log_scales), np.isfinite(log_scales)
    )
    assert model.n_clusters == 2 and log_scales is not None


@pytest.mark.parametrize("kind", ["stream", "encoder", "images"])
def test_only_columns_of_a_table_have_logarithms(kind, monkeypatch):
    encoder, x = None, X
    if kind == "encoder":
        encoder = keras.Sequential([keras.Input([2]), keras.layers.Identity()])
    elif kind == "stream":
        monkeypatch.setattr(tfdpm.data.inputs, "_HELD_ELEMENTS", 0)  # small ones are read whole
        x = tf.data.Dataset.from_tensor_slices(X).batch(100)
    else:
        x = X.reshape(-1, 1, 2)
    model = tfdpm.DeepDPM(FAST, seed=0, encoder=encoder)
    model.fit(x, epochs=1, verbose=0)
    assert model.preprocessing_.log_scales is None
