"""Files of earlier versions load and answer as they did; each folder's make.py wrote them."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdpm

FOLDERS = sorted(path for path in (Path(__file__).parent / "fixtures").iterdir() if path.is_dir())


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request) -> Path:
    return request.param


@pytest.fixture
def expected(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "expected.npz") as file:
        return dict(file)


def assert_answers(model, name: str, expected) -> None:
    new = expected["new"]
    responsibilities = expected[f"{name}_responsibilities"]
    np.testing.assert_allclose(model.predict(new), responsibilities, atol=1e-5)
    np.testing.assert_array_equal(model.predict_labels(new), responsibilities.argmax(axis=1))
    np.testing.assert_allclose(
        model.score_samples(new), expected[f"{name}_log_density"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["deepdpm", "encoder", "joint"])
def test_keras_files_answer_as_before(folder, expected, name) -> None:
    model = keras.saving.load_model(folder / f"{name}.keras")
    assert_answers(model, name, expected)
    np.testing.assert_array_equal(model.labels_, expected[f"{name}_labels"])
    np.testing.assert_array_equal(model.predict_labels(expected["x"]), expected[f"{name}_labels"])


def test_components_of_before_are_clusters_each_and_stay_so(folder, expected) -> None:
    model = keras.saving.load_model(folder / "deepdpm.keras")
    assert model.config.shape == "gaussian"
    np.testing.assert_array_equal(model.components_, expected["deepdpm_labels"])
    np.testing.assert_array_equal(model.cluster_of_component_, np.arange(model.n_components))
    model.fit(expected["x"], epochs=1, verbose=0)
    assert model.n_clusters == model.n_components


def test_saved_model_answers_as_before(folder, expected) -> None:
    assert_answers(tfdpm.load(folder / "saved_model"), "deepdpm", expected)


def test_checkpoint_goes_on_to_the_same_model(folder, expected, tmp_path) -> None:
    class Epochs(keras.callbacks.Callback):
        seen: list[int] = []

        def on_epoch_begin(self, epoch, logs=None):
            self.seen.append(epoch)

    path = shutil.copy(folder / "checkpoint.npz", tmp_path)
    config = tfdpm.DeepDPMConfig(start="kmeans", initial_clusters=1, epochs=4, hidden_units=8)
    model = tfdpm.DeepDPM(config)
    model.fit(expected["x"], callbacks=[tfdpm.callbacks.Checkpoint(path), Epochs()], verbose=0)
    assert Epochs.seen == [1, 2, 3]
    np.testing.assert_array_equal(model.labels_, expected["resumed_labels"])
    np.testing.assert_allclose(model.means_, expected["resumed_means"], rtol=1e-5, atol=1e-5)


def test_kept_joint_training_goes_on_with_a_further_round(folder, expected, tmp_path) -> None:
    shutil.copy(folder / "joint.keras", tmp_path)
    before = keras.saving.load_model(folder / "joint.keras")
    rounds, seen = len(before.history.epoch), []
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    model = tfdpm.JointClustering(before.config, seed=before.seed)
    model.fit(expected["x"], rounds=rounds + 1, directory=tmp_path, callbacks=[callback], verbose=0)
    assert seen == [rounds]
    other = tfdpm.JointClustering(before.config.replace(latent_dim=3), seed=before.seed)
    with pytest.raises(ValueError, match="`directory`: got .* other data, settings"):
        other.fit(expected["x"], directory=tmp_path, verbose=0)
