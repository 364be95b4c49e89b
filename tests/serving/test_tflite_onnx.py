"""TensorFlow Lite and ONNX files, run by their own interpreters, against the model."""

from __future__ import annotations

import importlib.util
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tests.reference.joined import join
from tfdpm.cli import main
from tfdpm.serving import tflite_onnx as edge

X = 10.0 * tfdpm.data.gaussian_mixture(4, 5, 300, seed=0)[0] + 100.0
FAST = tfdpm.DeepDPMConfig(min_steps_per_epoch=5)


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(FAST, seed=3)
    model.fit(X, epochs=1, verbose=0)
    return model


def run_tflite(path, x):
    """Outputs by name; only operations that are built in are there to run them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(path))
    (source,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(source["index"], x.shape)
    runner = interpreter.get_signature_runner("serving_default")
    return runner(inputs=x.astype(np.float32))


def run_onnx(path, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {source.name: x.astype(np.float32)})
    return dict(zip(names, outputs, strict=True))


def export(model, kind, path):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    getattr(model, f"export_{kind}")(path)
    return {"tflite": run_tflite, "onnx": run_onnx}[kind]


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_file_knows_clusters_of_several_components(tmp_path, kind):
    model = tfdpm.DeepDPM(FAST, seed=3)
    model.fit(X, epochs=1, verbose=0)
    join(model, (0, 2, -1.0))
    outputs = export(model, kind, tmp_path / "m")(tmp_path / "m", X)
    np.testing.assert_array_equal(outputs["labels"], model.predict_labels(X))
    assert outputs["responsibilities"].shape == (300, 3)
    np.testing.assert_allclose(outputs["responsibilities"], model.predict(X), atol=1e-5)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_file_answers_with_numbers_whatever_comes(model, tmp_path, kind):
    run = export(model, kind, tmp_path / "m")
    odd = np.array([np.nan, np.inf, -np.inf, 3e38, -1e30])[:, None] * np.ones(5)
    shares = run(tmp_path / "m", odd)["responsibilities"]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_file_gives_the_models_labels_and_responsibilities(model, tmp_path, kind):
    run = export(model, kind, tmp_path / "folder" / "m")
    for count in (1, 300):
        outputs = run(tmp_path / "folder" / "m", X[:count])
        np.testing.assert_array_equal(outputs["labels"], model.predict_labels(X[:count]))
        np.testing.assert_allclose(outputs["responsibilities"], model.predict(X[:count]), atol=1e-5)
    assert outputs["labels"].dtype == np.int64 and len(list((tmp_path / "folder").iterdir())) == 1


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_encoder_and_normalised_rows_are_inside(tmp_path, kind):
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, activation="tanh")]
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input([5, 1]), *layers])
    config = FAST.replace(preprocessing="normalize")
    model = tfdpm.DeepDPM(config, seed=0, encoder=encoder)
    images = (X - 100.0).reshape(-1, 5, 1)
    model.fit(images, epochs=1, verbose=0)
    run = export(model, kind, tmp_path / "m")
    outputs = run(tmp_path / "m", images)
    np.testing.assert_allclose(outputs["responsibilities"], model.predict(images), atol=1e-4)


def test_file_that_exists_is_refused_and_left_alone(model, tmp_path, monkeypatch):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(FileExistsError, match="`path`: got .*which exists"):
        model.export_tflite(tmp_path / "m")
    monkeypatch.setattr(edge, "_as_tflite", lambda module: (tmp_path / "n").write_text("x") and b"")
    with pytest.raises(FileExistsError, match="`path`"):
        model.export_tflite(tmp_path / "n")
    assert (tmp_path / "m").read_text() == "mine" and (tmp_path / "n").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 2


def test_onnx_needs_its_converter(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match="`export_onnx`: got no tf2onnx"):
        model.export_onnx(tmp_path / "m")


def test_command_line_writes_every_format(model, tmp_path, capsys):
    model.save(tmp_path / "m.keras")
    arguments = ["export", str(tmp_path / "m.keras"), str(tmp_path / "m.tflite")]
    assert main([*arguments, "--format", "tflite"]) == 0
    np.testing.assert_array_equal(
        run_tflite(tmp_path / "m.tflite", X)["labels"], model.predict_labels(X)
    )
    assert main([*arguments, "--format", "pickle"]) == 2
    assert "`--format`: got 'pickle'" in capsys.readouterr().err
    if importlib.util.find_spec("tf2onnx"):
        arguments[-1] = str(tmp_path / "m.onnx")
        assert main([*arguments, "--format", "onnx"]) == 0
        assert (tmp_path / "m.onnx").stat().st_size > 1000
