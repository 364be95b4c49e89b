"""Disks that are full and folders that may not be written: one line, and nothing half-written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

import tfdpm
from tfdpm import cli

resource = pytest.importorskip("resource")

X = tfdpm.data.gaussian_mixture(3, 4, 200, seed=0)[0].astype(np.float32)
CONFIG = tfdpm.DeepDPMConfig(min_steps_per_epoch=5)


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(CONFIG, seed=0)
    model.fit(X, epochs=1, verbose=0)
    return model


WRITES = {
    "save": lambda model, folder: model.save(folder / "m.keras"),
    "export": lambda model, folder: model.export(folder / "1"),
    "tflite": lambda model, folder: model.export_tflite(folder / "m.tflite"),
    "report": lambda model, folder: model.report(folder / "r.html", X),
    "checkpoint": lambda model, folder: tfdpm.callbacks.Checkpoint(folder / "c.npz").save(model, 1),
    "cache": lambda model, folder: tfdpm.fit(
        X, features="pca", directory=folder, epochs=1, config=CONFIG, verbose=0
    ),
}


def failing_line(write, model, folder) -> str:
    with pytest.raises(OSError, match="^`") as caught:
        write(model, folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_to_a_full_disk_name_the_folder_and_leave_nothing(model, tmp_path, write):
    """A limit on the size of files stops writes of Keras, HDF5 and TensorFlow half-way, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        failing_line(write, model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [each.name for each in tmp_path.iterdir()] == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_read_only_folder_is_named(model, tmp_path, write, monkeypatch):
    """Every way in which the system refuses to write, since tests may run with all rights."""

    def refusing(function):
        def refused(path, *args, **kwargs):
            if str(path).startswith(str(tmp_path)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return function(path, *args, **kwargs)

        return refused

    for owner, name in ((os, "mkdir"), (Path, "open"), (Path, "write_text"), (Path, "mkdir")):
        monkeypatch.setattr(owner, name, refusing(getattr(owner, name)))
    assert "Read-only file system" in failing_line(write, model, tmp_path / "new")


def test_the_command_line_names_a_full_disk_in_one_line(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", X)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        arguments = ["fit", str(tmp_path / "x.npy"), "--out", str(tmp_path / "out"), "--epochs=1"]
        assert cli.main(arguments) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("tfdpm: `path`: got") and str(tmp_path / "out") in line
    names = {each.name for each in (tmp_path / "out").iterdir()}
    assert not names & {"model.keras", "labels.npy", "history.json"}
