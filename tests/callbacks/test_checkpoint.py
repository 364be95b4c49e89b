"""A fit that is killed ends in the model of a fit that was not, bit for bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import tfdpm
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.callbacks import Checkpoint, MoveLedger, checkpoint
from tfdpm.progress.files import write_arrays

# Starts from one cluster and splits, so that networks and optimisers are rebuilt on the way.
CONFIG = DeepDPMConfig(
    start="kmeans",
    min_steps_per_epoch=10,
    first_move_epoch=1,
    move_interval_epochs=1,
    stable_epochs=None,
)
X, _ = tfdpm.data.gaussian_mixture(4, 3, 300, seed=0)
EPOCHS = 8


class Dying(keras.callbacks.Callback):
    """Ends a fit as a crash in `epoch` would."""

    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.last:
            raise KeyboardInterrupt


class Growing(keras.callbacks.Callback):
    """Gives the networks more slots after the first epoch, as many clusters would."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            fitted = self.model.fitted
            self.model.adopt(fitted.replace(networks=fitted.networks.grown_to(32)))


def others():
    return [keras.callbacks.EarlyStopping("loss", patience=50), MoveLedger(), Growing()]


def fit(callbacks=(), *, config=CONFIG, x=X, epochs=EPOCHS, model=None):
    model = model or DeepDPM(config, seed=1)
    model.fit(x, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def fit_and_die(path, epoch):
    with pytest.raises(KeyboardInterrupt):
        fit([Checkpoint(path), *others(), Dying(epoch)])


def assert_same(model, expected):
    ours, theirs = checkpoint.take_snapshot(model), checkpoint.take_snapshot(expected)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    np.testing.assert_array_equal(model.labels_, expected.labels_)


@pytest.fixture(scope="module")
def uninterrupted():
    callbacks = others()
    return fit(callbacks), callbacks


def test_fit_that_died_goes_on_to_the_same_model(uninterrupted, tmp_path):
    expected, expected_callbacks = uninterrupted
    assert expected.n_clusters > 2 and len(expected_callbacks[1].records) > 10
    fit_and_die(tmp_path / "fit.npz", 5)
    callbacks = others()
    model = fit([Checkpoint(tmp_path / "fit.npz"), *callbacks])
    assert model.clustering.capacity == 32
    assert_same(model, expected)
    assert model.history.epoch == list(range(EPOCHS))
    assert model.history.history == expected.history.history
    assert callbacks[1].records == expected_callbacks[1].records
    for name in ("best", "wait", "best_epoch"):
        assert getattr(callbacks[0], name) == getattr(expected_callbacks[0], name)


PROGRAM = """
import sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.callbacks.test_checkpoint import CONFIG, EPOCHS, X, others
from tfdpm import DeepDPM
from tfdpm.callbacks import Checkpoint
from tfdpm.callbacks.checkpoint import take_snapshot
model = DeepDPM(CONFIG, seed=1)
model.fit(X, epochs=EPOCHS, verbose=2, callbacks=[Checkpoint(sys.argv[1]), *others()])
np.savez(sys.argv[2], labels=model.labels_, **take_snapshot(model))
"""


@pytest.mark.parametrize(
    "epochs", [(3,), pytest.param((1, 2, 3, 3, 4, 5, 5, 6, 7, 7), marks=pytest.mark.slow)]
)
def test_killed_process_goes_on_to_the_same_model(uninterrupted, tmp_path, epochs):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    (tmp_path / "program.py").write_text(PROGRAM.format(root=root))
    files = [str(tmp_path / "fit.npz"), str(tmp_path / "result.npz")]
    command = [sys.executable, str(tmp_path / "program.py"), *files]
    generator = np.random.default_rng(0)
    # Killed some time into an epoch, or into the writing before it; in the end left alone. Epochs
    # are short: a later one than was meant may have begun, or all may have ended.
    num_killed = 0
    for epoch in epochs:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        lines = (re.match(r"epoch (\d+)/", line) for line in process.stdout)
        assert any(line and int(line[1]) >= epoch for line in lines)
        time.sleep(generator.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        if os.path.exists(files[1]):
            break
        assert process.returncode == -signal.SIGKILL
        num_killed += 1
    assert num_killed >= min(4, len(epochs))
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "epoch 1/" not in result.stdout
    expected, _ = uninterrupted
    with np.load(files[1]) as arrays:
        theirs = {**checkpoint.take_snapshot(expected), "labels": expected.labels_}
        assert set(arrays.files) == set(theirs)
        for name in theirs:
            np.testing.assert_array_equal(arrays[name], theirs[name], err_msg=name)


def test_later_fit_of_the_same_model_does_not_go_back(tmp_path):
    saving = Checkpoint(tmp_path / "fit.npz")
    model = fit([saving], epochs=1)
    fit([saving], model=model, epochs=2)
    assert model.history.epoch == [0, 1]
    assert model.fitted.state.epoch == 3


def test_checkpoint_of_another_fit_is_an_error(uninterrupted, tmp_path):
    model, _ = uninterrupted
    arrays = checkpoint.take_snapshot(model)
    assert checkpoint.fits(model, arrays)
    progress = {"format": checkpoint._FORMAT, "epoch": 1, "callbacks": []}
    arrays["progress"] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
    saving = Checkpoint(tmp_path / "fit.npz")
    saving.set_model(model)
    for name in ("state/preprocessing/mean", "state/prior/scale", "identity"):
        write_arrays(saving.path, {**arrays, name: other(arrays, name)})
        with pytest.raises(ValueError, match="`path`: got .* of another fit, wanted"):
            saving.on_train_begin()


def other(arrays, name):
    """What another seed, or other data, would have left under this name."""
    if name != "identity":
        return arrays[name] + 1e-3
    text = arrays[name].tobytes().replace(b'"seed": 1', b'"seed": 2')
    return np.frombuffer(text, np.uint8)


def test_checkpoint_of_another_processor_fits(uninterrupted):
    model, _ = uninterrupted
    arrays = checkpoint.take_snapshot(model)
    for name in ("state/preprocessing/mean", "state/prior/scale"):
        arrays[name] = arrays[name] * (1 + 1e-13)
    assert checkpoint.fits(model, arrays)


@pytest.mark.parametrize("damage", [lambda data: data[:500], lambda data: b"", lambda data: b"x"])
def test_damaged_file_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "fit.npz"
    np.savez(path, progress=np.frombuffer(json.dumps({"format": "other"}).encode(), np.uint8))
    with pytest.raises(ValueError, match="`path`: got .*something else or damaged"):
        checkpoint._read(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="`path`: got .*something else or damaged"):
        checkpoint._read(path)


def test_pickles_are_not_opened(tmp_path):
    np.savez(tmp_path / "fit.npz", progress=np.array([{"format": checkpoint._FORMAT}], object))
    with pytest.raises(ValueError, match="`path`"):
        checkpoint._read(tmp_path / "fit.npz")


def test_values_that_callbacks_keep_survive(tmp_path):
    values = {
        "number": np.float64(0.1),
        "history": {"loss": [1.0, float("inf")], "array": []},
        "best": [np.arange(3.0), np.ones((2, 2), np.float32)],
        "pair": (1, "two"),
        "nothing": None,
    }
    arrays = {}
    stored = json.loads(json.dumps(checkpoint._encode(values, arrays)))
    again = checkpoint._decode(stored, arrays)
    np.testing.assert_equal(again, values)
    assert isinstance(again["pair"], tuple) and isinstance(again["number"], np.float64)
    assert not checkpoint._is_storable({"file": object()})


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="`every_epochs`"):
        Checkpoint(tmp_path / "fit.npz", every_epochs=0)
