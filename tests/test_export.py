"""SavedModels: run without this package, refused when damaged, never written over another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

import tfdpm
from tests.reference.joined import join
from tfdpm.config import DeepDPMConfig
from tfdpm.serving import saved_model as serving

CONFIG = DeepDPMConfig(min_steps_per_epoch=5, stable_epochs=None)
X = 10.0 * tfdpm.data.gaussian_mixture(3, 4, 200, seed=0)[0] + 100.0

# What a server without tfdpm does; prints arrays as JSON.
CLIENT = """
import json, sys
import tensorflow as tf
import numpy as np
folder, points = sys.argv[1:]
signatures = tf.saved_model.load(folder).signatures
inputs = tf.constant(np.load(points))
outputs = signatures["serving_default"](inputs=inputs)
outputs.update(signatures["embed"](inputs=inputs))
empty = signatures["serving_default"](inputs=inputs[:0])
outputs = {name: value.numpy().tolist() for name, value in outputs.items()}
outputs["empty"] = [value.shape[0] for value in empty.values()]
outputs["has_tfdpm"] = any(name.split(".")[0] == "tfdpm" for name in sys.modules)
print(json.dumps(outputs))
"""


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(CONFIG, seed=3)
    model.fit(X, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("served") / "name" / "1"
    model.export(directory, names={1: "first <one>"})
    return directory


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "1"))


def test_fresh_process_without_the_package_gives_the_models_outputs(model, folder, tmp_path):
    np.save(tmp_path / "points.npy", X)
    arguments = [sys.executable, "-c", CLIENT, str(folder), str(tmp_path / "points.npy")]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr
    outputs = json.loads(result.stdout)
    assert outputs.pop("has_tfdpm") is False
    assert outputs["empty"] == [0, 0, 0, 0]
    np.testing.assert_array_equal(outputs["labels"], model.predict_labels(X))
    np.testing.assert_allclose(outputs["responsibilities"], model.predict(X), atol=1e-6)
    np.testing.assert_allclose(outputs["log_density"], model.score_samples(X), rtol=1e-5)
    np.testing.assert_allclose(outputs["outlier_p"], model.outlier_p(X), atol=2e-5)
    features = model.fitted.state.preprocessing.transform(X)
    np.testing.assert_allclose(outputs["features"], features, atol=2e-6)


def test_loaded_model_answers_as_the_model(model, folder):
    loaded = tfdpm.load(folder)
    assert (loaded.n_clusters, loaded.input_dim) == (model.n_clusters, 4)
    np.testing.assert_array_equal(loaded.predict_labels(X), model.predict_labels(X))
    np.testing.assert_array_equal(
        loaded.predict_labels(X, reject_below=0.1), model.predict_labels(X, reject_below=0.1)
    )
    np.testing.assert_allclose(loaded.predict(X), model.predict(X), atol=1e-6)
    np.testing.assert_allclose(loaded.score_samples(X), model.score_samples(X), rtol=1e-5)
    np.testing.assert_allclose(loaded.outlier_p(X), model.outlier_p(X), atol=2e-5)
    stream = tf.data.Dataset.from_tensor_slices(X).batch(64)
    np.testing.assert_array_equal(loaded.predict_labels(stream), model.predict_labels(X))
    np.testing.assert_allclose(
        loaded.embed(X[:1]), model.fitted.state.preprocessing.transform(X[:1]), atol=1e-6
    )
    with pytest.raises(ValueError, match="`x`: got points of shape"):
        loaded.predict(X[:, :2])


def test_loaded_model_tells_the_drift_that_the_model_tells(model, folder):
    moved = np.concatenate([X[:150] + [6.0, 0.0, 0.0, 0.0], np.full((10, 4), 300.0)])
    wanted, found = model.drift(moved), tfdpm.load(folder).drift(moved)
    assert found.changes == wanted.changes and found.num_points == wanted.num_points
    assert found.has_appeared and any("moved" in each for each in found.changes)
    for name in ("shares", "share_p", "shifts", "shift_p", "unlike", "unlike_p"):
        got, expected = getattr(found, name), getattr(wanted, name)
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-9, err_msg=name)


def test_drift_is_not_told_by_a_folder_without_statistics_of_the_fit(folder):
    loaded = tf.saved_model.load(str(folder))
    del loaded.baseline  # as folders of before have none
    served = tfdpm.export.ServedModel(loaded, json.loads((folder / "model_card.json").read_text()))
    with pytest.raises(ValueError, match="wanted one that is exported anew"):
        served.drift(np.zeros((100, 2)))


def test_types_are_those_of_json_and_the_batch_is_free(folder):
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    dtypes = {name: spec.dtype for name, spec in signature.structured_outputs.items()}
    assert dtypes.pop("labels") == tf.int64
    assert set(dtypes) == {"responsibilities", "log_density", "outlier_p"}
    assert set(dtypes.values()) == {tf.float32}
    assert signature.structured_input_signature[1]["inputs"].shape.as_list() == [None, 4]


def test_model_of_images_takes_images(tmp_path):
    x = X.reshape(-1, 2, 2, 1)
    model = tfdpm.DeepDPM(CONFIG, seed=3)
    model.fit(x, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    keras.models.load_model(tmp_path / "m.keras").export(tmp_path / "1")
    loaded = tfdpm.load(tmp_path / "1")
    assert (loaded.input_shape, loaded.input_dim) == ((2, 2, 1), 4)
    np.testing.assert_allclose(loaded.predict(x), model.predict(x), atol=1e-6)
    np.testing.assert_allclose(loaded.predict(X), model.predict(x), atol=1e-6)


def test_card_says_what_the_model_is(model, folder):
    card = json.loads((folder / "model_card.json").read_text())
    assert card["n_clusters"] == model.n_clusters and card["seed"] == 3
    assert DeepDPMConfig(**card["config"]) == CONFIG
    assert card["versions"]["tensorflow"] == tf.__version__
    assert "saved_model.pb" in card["files"]
    assert card["names"] == ["", "first <one>"] + [""] * (model.n_clusters - 2)
    assert tfdpm.load(folder).card["names"] == card["names"]
    with pytest.raises(ValueError, match="`names`: got 'a' for cluster 99"):
        model.export(folder.parent / "other", names={99: "a"})
    with pytest.raises(ValueError, match="`names`: got some with the format 'litert'"):
        model.export(folder.parent / "other.tflite", "litert", names={0: "a"})


def test_parent_stands_for_its_newest_version(folder, tmp_path):
    for version in ("2", "10"):
        shutil.copytree(folder, tmp_path / version)
    card = json.loads((tmp_path / "10" / "model_card.json").read_text())
    (tmp_path / "10" / "model_card.json").write_text(json.dumps({**card, "seed": 77}))
    assert tfdpm.load(tmp_path).card["seed"] == 77


def test_existing_version_is_refused_and_left_alone(model, copy):
    before = serving.checksums(copy)
    with pytest.raises(FileExistsError, match="`directory`: got .*which exists, wanted a version"):
        model.export(copy)
    (copy.parent / "empty").mkdir()
    with pytest.raises(FileExistsError, match="`directory`"):
        tfdpm.export.export(model, copy.parent / "empty")
    assert serving.checksums(copy) == before
    with pytest.raises(NotADirectoryError, match="`directory`"):
        model.export(copy / "saved_model.pb" / "1")


def test_export_that_fails_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(serving, "checksums", fail)
    with pytest.raises(OSError, match="disk full"):
        model.export(tmp_path / "name" / "1")
    assert list((tmp_path / "name").iterdir()) == []


def damage_truncated(folder: Path) -> None:
    data = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(data[: len(data) // 2])


def damage_flipped_bit(folder: Path) -> None:
    path = next((folder / "variables").glob("*.data-*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_missing(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def damage_no_card(folder: Path) -> None:
    (folder / "model_card.json").unlink()


def damage_cut_card(folder: Path) -> None:
    path = folder / "model_card.json"
    path.write_text(path.read_text()[:-20])


def damage_foreign_card(folder: Path) -> None:
    (folder / "model_card.json").write_text("[1, 2]")


def damage_other_format(folder: Path) -> None:
    card = json.loads((folder / "model_card.json").read_text())
    (folder / "model_card.json").write_text(json.dumps({**card, "format": "tfdpm 999"}))


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_flipped_bit,
        damage_missing,
        damage_no_card,
        damage_cut_card,
        damage_foreign_card,
        damage_other_format,
    ],
)
def test_damaged_or_foreign_folder_is_one_clear_error(copy, damage):
    damage(copy)
    with pytest.raises(ValueError, match="`directory`: got .*, wanted .*") as caught:
        tfdpm.load(copy)
    assert str(copy) in str(caught.value)


def test_saved_file_is_opened_and_goes_on(model, tmp_path):
    model.save(tmp_path / "m.keras")
    loaded = tfdpm.load(tmp_path / "m.keras")
    assert isinstance(loaded, tfdpm.DeepDPM)
    np.testing.assert_array_equal(loaded.predict_labels(X), model.predict_labels(X))


def foreign_zip(data: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing of ours")
    return path.read_bytes()


def other_model(data: bytes, path: Path) -> bytes:
    keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save(path)
    return path.read_bytes()


def lambda_with_code(data: bytes, path: Path) -> bytes:
    keras.Sequential([keras.Input([2]), keras.layers.Lambda(lambda x: x + 1)]).save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, path: b"",
        lambda data, path: data[: len(data) // 2],
        lambda data, path: data[:-100],
        lambda data, path: data[: len(data) // 2] + b"!" + data[len(data) // 2 + 1 :],
        lambda data, path: b"\x80\x04K\x01.",  # a pickle
        foreign_zip,
        other_model,
        lambda_with_code,
    ],
)
def test_damaged_or_foreign_file_is_one_clear_error(model, tmp_path, damage):
    path = tmp_path / "m.keras"
    model.save(path)
    path.write_bytes(damage(path.read_bytes(), tmp_path / "other.keras"))
    with pytest.raises(ValueError, match="`path`: got .*, wanted a .keras file") as caught:
        tfdpm.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="`directory`"):
        tfdpm.load(tmp_path / "nothing")


def test_only_a_fitted_model_is_exported(tmp_path):
    with pytest.raises(RuntimeError, match="call fit first"):
        tfdpm.DeepDPM().export(tmp_path / "1")
    with pytest.raises(TypeError, match="`model`: got a str"):
        tfdpm.export.export("m.keras", tmp_path / "1")
    assert not (tmp_path / "1").exists()


def messages(data: bytes) -> dict[int, bytes]:
    """Fields of a protocol buffer whose fields are all texts or messages."""
    fields, at = {}, 0
    while at < len(data):
        number, at, shift, size = data[at] >> 3, at + 1, 0, 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        fields[number], at = data[at : at + size], at + size
    return fields


def test_warmup_requests_are_prediction_logs_that_the_model_answers(folder):
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    rows = []
    for record in tf.data.TFRecordDataset(str(path)):
        # PredictionLog.predict_log = 6, PredictLog.request = 1; then PredictRequest.
        request = messages(messages(messages(record.numpy())[6])[1])
        assert messages(request[1]) == {1: b"name", 3: b"serving_default"}
        entry = messages(request[2])
        assert entry[1] == b"inputs"
        tensor = tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry[2]))
        rows.append(signature(inputs=tf.constant(tensor))["labels"].shape[0])
    assert rows == [1, 64]


def test_saved_model_cli_runs_it(folder, tmp_path):
    np.save(tmp_path / "x.npy", X)
    program = ["-m", "tensorflow.python.tools.saved_model_cli", "run"]
    which = ["--dir", str(folder), "--tag_set", "serve", "--signature_def", "serving_default"]
    files = ["--inputs", f"inputs={tmp_path}/x.npy", "--outdir", str(tmp_path)]
    command = [sys.executable, *program, *which, *files]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(
        np.load(tmp_path / "labels.npy"), tfdpm.load(folder).predict_labels(X)
    )


def test_served_clusters_are_sums_over_their_components(tmp_path):
    model = tfdpm.DeepDPM(CONFIG, seed=3)
    model.fit(X, epochs=1, verbose=0)
    join(model, (0, 2, -1.0))
    model.export(tmp_path / "1")
    served = tfdpm.load(tmp_path / "1")
    assert (served.n_clusters, served.n_components) == (2, 3)
    np.testing.assert_array_equal(served.cluster_of_component_, [0, 1, 0])
    np.testing.assert_array_equal(served.predict_labels(X), model.predict_labels(X))
    np.testing.assert_allclose(served.predict(X), model.predict(X), atol=1e-5)
    np.testing.assert_allclose(served.score_samples(X), model.score_samples(X), rtol=1e-5)
    again = tfdpm.DeepDPM(CONFIG, seed=4)
    again.fit(X, epochs=1, verbose=0, reference=served)
    assert set(again.identity_.splits[0]) <= set(again.ids_.tolist())


def test_cards_of_before_say_that_each_component_is_a_cluster(copy, model):
    card = json.loads((copy / "model_card.json").read_text())
    assert card.pop("cluster_of_component") == [0, 1, 2] and card.pop("n_components") == 3
    (copy / "model_card.json").write_text(json.dumps(card))
    served = tfdpm.load(copy)
    assert served.n_components == 3
    np.testing.assert_array_equal(served.predict_labels(X), model.predict_labels(X))
