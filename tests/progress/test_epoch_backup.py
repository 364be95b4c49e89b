"""Epochs that are kept: a training that is cut short ends as one that was not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.features import autoencoder
from tfdpm.features import parametric_umap as embedding
from tfdpm.progress.epoch_backup import EpochBackup, Kept
from tfdpm.progress.stages import Stages

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def variables(*values):
    return [tf.Variable(value) for value in values]


def test_values_epochs_and_notes_come_back(tmp_path) -> None:
    path = tmp_path / "run" / "kept.npz"
    kept = variables([[1.5, -2.0]], np.int64(2**40 + 1), True)
    EpochBackup(path).save(7, kept, (0.25, 3.0))
    again = variables([[0.0, 0.0]], np.int64(0), False)
    assert EpochBackup(path).restore(again) == Kept(7, (0.25, 3.0))
    for one, two in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert [each.name for each in path.parent.iterdir()] == ["kept.npz"]


def test_bfloat16_comes_back_bit_for_bit(tmp_path) -> None:
    kept = tf.Variable(tf.constant([1.0 / 3.0, 1e-30], tf.bfloat16))
    EpochBackup(tmp_path / "kept.npz").save(1, [kept])
    again = tf.Variable(tf.zeros(2, tf.bfloat16))
    assert EpochBackup(tmp_path / "kept.npz").restore([again]).epochs == 1
    np.testing.assert_array_equal(tf.cast(again, tf.float32), tf.cast(kept, tf.float32))


@pytest.mark.parametrize(
    "others", [([1.0, 2.0, 3.0], 0.0), ([1.0, 2.0],), ([1.0, 2.0], 0.0, 0.0)], ids=str
)
def test_another_network_meets_nothing(tmp_path, others) -> None:
    EpochBackup(tmp_path / "kept.npz").save(3, variables([8.0, 9.0], 7.0))
    found = variables(*others)
    assert EpochBackup(tmp_path / "kept.npz").restore(found) == Kept()
    for variable, value in zip(found, others, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_another_name_or_a_damaged_file_is_no_backup(tmp_path) -> None:
    path = tmp_path / "kept.npz"
    EpochBackup(path, "one").save(3, variables(1.0))
    assert EpochBackup(path, "two").restore(variables(0.0)) == Kept()
    assert EpochBackup(path, "one").restore(variables(0.0)).epochs == 3
    path.write_bytes(path.read_bytes()[:100])
    assert EpochBackup(path, "one").restore(variables(0.0)) == Kept()
    EpochBackup(path).remove()
    assert EpochBackup(path).restore(variables(0.0)) == Kept()


def test_without_a_path_nothing_is_kept_and_no_callback_runs() -> None:
    EpochBackup(None).save(3, variables(1.0))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    assert EpochBackup(None).resume(model) == (0, [])


class Stop(keras.callbacks.Callback):
    """Interrupts within the epoch of that number."""

    def __init__(self, epoch: int):
        super().__init__()
        self._wanted = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == self._wanted:
            raise KeyboardInterrupt


def test_an_autoencoder_that_is_interrupted_ends_as_if_it_had_not_been(tmp_path) -> None:
    def train(path, callbacks=()):
        model = autoencoder.dense(6, latent_dim=2, hidden_units=(8,), seed=0)
        model.compile(keras.optimizers.Adam(1e-2))
        first, own = EpochBackup(path).resume(model)
        model.fit_reconstruction(
            X, epochs=5, batch_size=16, initial_epoch=first, callbacks=[*callbacks, *own]
        )
        return first, model(X).numpy()

    _, wanted = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "kept.npz", [Stop(3)])
    first, found = train(tmp_path / "kept.npz")
    assert first == 3
    np.testing.assert_array_equal(found, wanted)
    assert train(tmp_path / "kept.npz")[0] == 5  # all epochs are done: nothing is trained
    np.testing.assert_array_equal(train(tmp_path / "kept.npz")[1], wanted)


def test_an_encoder_that_is_interrupted_ends_as_if_it_had_not_been(tmp_path) -> None:
    """Its noise and its rate follow the step, not the run."""
    places, seen = X[:, :2].copy(), []

    class Run(Stages):
        def progress(self, done, total):
            seen.append(done)
            if len(seen) == 4:
                raise KeyboardInterrupt

    def train(stages):
        model = embedding.fit_encoder(X, places, hidden_units=(8,), epochs=6, stages=stages)
        return model(X).numpy()

    wanted = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(Run(("encoder",), directory=tmp_path))
    found = train(Run(("encoder",), directory=tmp_path))
    assert seen == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(found, wanted)
