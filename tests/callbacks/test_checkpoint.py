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
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.callbacks import Checkpoint, MoveLedger, checkpoint, snapshot, states
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
    ours, theirs = snapshot.take_snapshot(model), snapshot.take_snapshot(expected)
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
import time
import keras
import numpy as np
sys.path.insert(0, {root!r})
from tests.callbacks.test_checkpoint import CONFIG, EPOCHS, X, others
from tfdpm import DeepDPM
from tfdpm.callbacks import Checkpoint
from tfdpm.callbacks.snapshot import take_snapshot
model = DeepDPM(CONFIG, seed=1)
pause = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: time.sleep(0.1))
callbacks = [Checkpoint(sys.argv[1]), *others(), pause]
model.fit(X, epochs=EPOCHS, verbose=2, callbacks=callbacks)
np.savez(sys.argv[2], labels=model.labels_, **take_snapshot(model))
"""


@pytest.mark.parametrize(
    ("epochs", "kind"),
    [
        ((3,), signal.SIGKILL),
        pytest.param((2, 4), signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param((2, 4), signal.SIGINT, marks=pytest.mark.slow),
        pytest.param((1, 2, 3, 3, 4, 5, 5, 6, 7, 7), signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_killed_process_goes_on_to_the_same_model(uninterrupted, tmp_path, epochs, kind):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    (tmp_path / "program.py").write_text(PROGRAM.format(root=root))
    files = [str(tmp_path / "fit.npz"), str(tmp_path / "result.npz")]
    command = [sys.executable, str(tmp_path / "program.py"), *files]
    generator = np.random.default_rng(0)
    # Killed some time into an epoch, or into the writing before it; in the end left alone. Epochs
    # are short even with a pause: a later one than was meant may have begun, or all have ended.
    num_killed = 0
    for epoch in epochs:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        lines = (re.match(r"epoch (\d+) of ", line) for line in process.stdout)
        assert any(line and int(line[1]) >= epoch for line in lines)
        time.sleep(generator.uniform(0.0, 0.15))
        process.send_signal(kind)
        process.communicate(timeout=60)
        if os.path.exists(files[1]):
            break
        assert process.returncode == -kind
        num_killed += 1
    assert num_killed >= min(4, (len(epochs) + 1) // 2)
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "epoch 1 of" not in result.stdout
    expected, _ = uninterrupted
    with np.load(files[1]) as arrays:
        theirs = {**snapshot.take_snapshot(expected), "labels": expected.labels_}
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
    arrays = snapshot.take_snapshot(model)
    assert snapshot.differences(model, arrays) == []
    for name, said in (
        ("state/preprocessing/mean", "data"),
        ("state/prior/scale", "data"),
        ("identity", "seed"),
    ):
        assert snapshot.differences(model, {**arrays, name: other(arrays, name)}) == [said]


def test_resuming_with_other_arguments_is_said(tmp_path):
    path = tmp_path / "fit.npz"
    weights = np.ones(len(X))
    older = fit(epochs=1)

    def interrupted(**arguments):
        model = DeepDPM(CONFIG, seed=1)
        callbacks = [Checkpoint(path), Dying(0)]
        model.fit(X, epochs=3, verbose=0, callbacks=callbacks, **arguments)

    with pytest.raises(KeyboardInterrupt):
        interrupted(batch_size=64, sample_weight=weights)
    for arguments, said in (
        ({"batch_size": 32, "sample_weight": weights}, "batch_size"),
        ({"batch_size": 64}, "sample_weight"),
        ({"batch_size": 64, "sample_weight": 2 * weights}, "sample_weight"),
        ({"batch_size": 64, "sample_weight": weights, "reference": older}, "reference"),
        ({"batch_size": 64, "sample_weight": weights, "initial_epoch": 1}, "damaged"),
    ):
        with pytest.raises(ValueError, match=f"`path`: got .*{said}.*, wanted") as caught:
            interrupted(**arguments)
        assert ("of another fit" in str(caught.value)) == (said != "damaged")


def other(arrays, name):
    """What another seed, or other data, would have left under this name."""
    if name != "identity":
        return arrays[name] + 1e-3
    text = arrays[name].tobytes().replace(b'"seed": 1', b'"seed": 2')
    return np.frombuffer(text, np.uint8)


def test_checkpoint_of_another_processor_fits(uninterrupted):
    model, _ = uninterrupted
    arrays = snapshot.take_snapshot(model)
    for name in ("state/preprocessing/mean", "state/prior/scale"):
        arrays[name] = arrays[name] * (1 + 1e-13)
    assert snapshot.differences(model, arrays) == []


@pytest.mark.parametrize("damage", [lambda data: data[:500], lambda data: b"", lambda data: b"x"])
def test_damaged_file_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "fit.npz"
    np.savez(path, progress=np.frombuffer(json.dumps({"format": "other"}).encode(), np.uint8))
    with pytest.raises(ValueError, match="`path`: got .*something else or damaged"):
        Checkpoint(path).restore(DeepDPM())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="`path`: got .*something else or damaged"):
        Checkpoint(path).restore(DeepDPM())


def test_pickles_are_not_opened(tmp_path):
    np.savez(tmp_path / "fit.npz", progress=np.array([{"format": checkpoint._FORMAT}], object))
    with pytest.raises(ValueError, match="`path`"):
        Checkpoint(tmp_path / "fit.npz").restore(DeepDPM())


def as_json(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def progress_of(arrays):
    return json.loads(arrays["progress"].tobytes())


def with_history(arrays, value):
    progress = progress_of(arrays)
    (attributes,) = (found for name, found in progress["callbacks"] if name == "History")
    attributes["history"]["dict"]["loss"] = value
    return progress


DAMAGED = {
    "no state": lambda arrays: arrays.pop("state/parameters/means"),
    "no progress": lambda arrays: arrays.pop("progress"),
    "no optimiser": lambda arrays: arrays.pop("optimizer/0"),
    "bad JSON": lambda arrays: arrays.update(progress=np.frombuffer(b"{", np.uint8)),
    "no object": lambda arrays: arrays.update(identity=as_json(3)),
    "weights are NaN": lambda arrays: arrays.update(
        {"clustering/0": np.full_like(arrays["clustering/0"], np.nan)}
    ),
    "weights of other shapes": lambda arrays: arrays.update({"clustering/0": np.ones(3)}),
    "means are NaN": lambda arrays: arrays.update(
        {"state/parameters/means": arrays["state/parameters/means"] * np.nan}
    ),
    "one covariance": lambda arrays: arrays.update(
        {"state/parameters/covariances": arrays["state/parameters/covariances"][:1]}
    ),
    "epoch of 1e9": lambda arrays: arrays.update(
        progress=as_json({**progress_of(arrays), "epoch": 10**9})
    ),
    "epoch of text": lambda arrays: arrays.update(
        progress=as_json({**progress_of(arrays), "epoch": "1"})
    ),
    "capacity of 1e8": lambda arrays: arrays.update(capacity=np.array(10**8)),
    "callbacks of none": lambda arrays: arrays.update(
        progress=as_json({**progress_of(arrays), "callbacks": [["History", {"x": {"array": "y"}}]]})
    ),
    "history of a number": lambda arrays: arrays.update(progress=as_json(with_history(arrays, -1))),
    "history of none": lambda arrays: arrays.update(progress=as_json(with_history(arrays, None))),
    "counts negative": lambda arrays: arrays.update(
        {"state/soft/counts": -arrays["state/soft/counts"]}
    ),
    "genealogy": lambda arrays: arrays.update(genealogy=arrays["genealogy"][:9]),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The arrays of a fit that died in its second epoch."""
    path = tmp_path_factory.mktemp("kept") / "fit.npz"
    fit_and_die(path, 2)
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_contents_are_one_clear_error(kept, tmp_path, name):
    arrays = dict(kept)
    DAMAGED[name](arrays)
    write_arrays(tmp_path / "fit.npz", arrays)
    with pytest.raises(ValueError, match="`path`: got .*something else or damaged") as caught:
        fit([Checkpoint(tmp_path / "fit.npz")])
    assert "\n" not in str(caught.value)


def test_only_state_of_callbacks_is_put_back():
    class Writes(keras.callbacks.Callback):
        limit = 3.0

        def __init__(self, directory):
            super().__init__()
            self.directory, self.count, self.hook = directory, 0, print

    callback = Writes("ours")
    attributes = {
        "directory": "/etc",
        "hook": "os.system",
        "on_epoch_end": 1,
        "__class__": "x",
        "params": {},
        "count": 7,
        "limit": 4.0,
        "new": [1],
    }
    states.restore_states([callback], [("Writes", attributes)])
    assert (callback.directory, callback.hook, callback.params) == ("ours", print, None)
    assert callable(callback.on_epoch_end) and type(callback) is Writes
    assert (callback.count, callback.limit, callback.new) == (7, 4.0, [1])


def test_values_that_callbacks_keep_survive(tmp_path):
    values = {
        "number": np.float64(0.1),
        "history": {"loss": [1.0, float("inf")], "array": []},
        "best": [np.arange(3.0), np.ones((2, 2), np.float32)],
        "pair": (1, "two"),
        "nothing": None,
    }
    arrays = {}
    stored = json.loads(json.dumps(states._encode(values, arrays)))
    again = states.decode(stored, arrays)
    np.testing.assert_equal(again, values)
    assert isinstance(again["pair"], tuple) and isinstance(again["number"], np.float64)
    assert not states._is_storable({"file": object()})


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="`every_epochs`"):
        Checkpoint(tmp_path / "fit.npz", every_epochs=0)


SHORT = CONFIG.replace(epochs=2)  # each search among the points remembered


def endless(batches=40):
    points = X[np.random.default_rng(0).permutation(len(X))]
    dataset = tf.data.Dataset.from_tensor_slices(points).batch(20)
    return dataset.repeat().take(batches)


def learned(callbacks=(), epochs=5):
    model = DeepDPM(SHORT, seed=1)
    model.fit(
        endless(), steps_per_epoch=3, epochs=epochs, forgetting=0.1, verbose=0, callbacks=callbacks
    )
    return model


def assert_learned_the_same(model, expected):
    ours, theirs = checkpoint.take_learned(model), checkpoint.take_learned(expected)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_endless_fit_that_died_goes_on_to_the_same_model(tmp_path):
    expected = learned()
    with pytest.raises(KeyboardInterrupt):
        learned([Checkpoint(tmp_path / "fit.npz"), Dying(2)])
    model = learned([Checkpoint(tmp_path / "fit.npz")])
    assert model.history.epoch == list(range(5))
    assert_learned_the_same(model, expected)
    assert model.stream is None


def test_loop_of_batches_that_died_goes_on_to_the_same_model(tmp_path):
    batches = [each.numpy() for each in endless(9)]
    # The first one is held back, since one point makes no fit.
    batches[0] = batches[0][:1]

    def loop(last=None):
        model = DeepDPM(SHORT, seed=1)
        keep = Checkpoint(tmp_path / f"{last is None}" / "fit.npz")
        for number in range(keep.restore(model), len(batches)):
            model.partial_fit(batches[number])
            keep.save(model, number + 1)
            if number == last:
                return model
        return model

    expected = loop()
    for last in (0, 1, 6):
        loop(last)
    keep, model = Checkpoint(tmp_path / "False" / "fit.npz"), DeepDPM(SHORT, seed=1)
    assert keep.restore(model) == 7
    for number in range(7, len(batches)):
        model.partial_fit(batches[number])
    assert_learned_the_same(model, expected)
    with pytest.raises(ValueError, match=r"of another fit \(other seed\)"):
        keep.restore(DeepDPM(SHORT, seed=2))


CLAIMING = """
import sys, time
from tfdpm.progress.files import claim
claim(sys.argv[1])
print("claimed", flush=True)
time.sleep(60)
"""


def test_second_process_is_told_of_the_first(tmp_path):
    path = tmp_path / "fit.npz"
    command = [sys.executable, "-c", CLAIMING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "claimed\n"
            with pytest.raises(BlockingIOError, match=f"`path`: got .*process {process.pid} on "):
                fit([Checkpoint(path)])
            assert not path.exists()
        finally:
            process.kill()
    # What a killed process holds is free, and what it left is removed.
    (tmp_path / ".0123abcd-fit.npz").write_bytes(b"half")
    fit([Checkpoint(path)], epochs=1)
    assert [each.name for each in tmp_path.iterdir()] == ["fit.npz"]


def test_full_disk_is_one_clear_error_and_the_file_of_before_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    fit_and_die(path, 1)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="`path`: got .*cannot be written .No space left on device"):
        fit([Checkpoint(path), *others()])
    assert path.read_bytes() == before


WORKER = """
import sys
import keras
import numpy as np
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import tfdpm
from tests.networks.replica_worker import points
from tests.callbacks.test_checkpoint import CONFIG
with strategy.scope():
    model = tfdpm.DeepDPM(CONFIG.replace(stable_epochs=None), seed=0)
say = keras.callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: print("epoch", e, flush=True))
model.fit(points(), epochs=12, verbose=0, callbacks=[tfdpm.callbacks.Checkpoint(sys.argv[1]), say])
print("labels", *model.labels_, flush=True)
"""


@pytest.mark.slow  # starts TensorFlow six times
def test_lost_worker_ends_the_other_and_both_go_on_to_the_same_partition(tmp_path):
    from tests.networks.test_replicas import ROOT, free_ports

    def start(folder):
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        for index in range(2):
            task = {"type": "worker", "index": index}
            cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": cluster}
            path = tmp_path / folder / f"{index}.npz"
            yield subprocess.Popen(
                [sys.executable, "-c", WORKER, str(path)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def finish(processes):
        told = [each.communicate(timeout=300) for each in processes]
        assert [each.returncode for each in processes] == [0, 0], told
        return [out.partition("labels")[2].split() for out, _ in told], told[0][0]

    expected, _ = finish(list(start("whole")))
    one, other = start("killed")
    assert any(line.startswith("epoch 4") for line in other.stdout)
    other.kill()
    _, errors = one.communicate(timeout=300)
    other.communicate()
    assert one.returncode != 0
    assert "RuntimeError: `fit`: got a lost worker" in errors.splitlines()[-1]
    labels, printed = finish(list(start("killed")))
    assert "epoch 0" not in printed
    assert labels == expected and labels[0] == labels[1]
