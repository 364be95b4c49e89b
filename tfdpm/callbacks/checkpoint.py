"""`Checkpoint`: a fit that is killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import inspect
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdpm import checks
from tfdpm.callbacks import snapshot
from tfdpm.training.progress_bar import ProgressBar

_FORMAT = "tfdpm checkpoint 1"


class Checkpoint(keras.callbacks.Callback):
    """Writes all of a fit's state to one file between epochs, and goes on from it.

    Run the same program again after a crash: `fit` starts, finds the file, and continues. It ends
    in the model of a run that was never interrupted, bit for bit on the same machine and where a
    `tf.data` stream gives the same batches at every pass. Saved are networks, optimisers, mixture,
    statistics, capacity, epoch, history, and the numbers, texts and arrays that other callbacks
    keep. The file is replaced in one step, so there is always a whole one.

    Args:
        path: of the file; folders are made if needed.
        every_epochs: epochs between two writes, >= 1.
    """

    def __init__(self, path: str | os.PathLike[str], *, every_epochs: int = 1):
        super().__init__()
        self.path = Path(path)
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)
        self._companions: list[keras.callbacks.Callback] = []
        self._restored: dict[str, np.ndarray] | None = None

    def accompany(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Names the callbacks of the fit, whose states are saved too. `fit` calls it."""
        self._companions = [
            each for each in callbacks if not isinstance(each, (Checkpoint, ProgressBar))
        ]

    def on_train_begin(self, logs=None):
        """Takes up the fit that the file is of, if there is one.

        Raises:
            ValueError: if the file is of a fit with other settings or data, or no checkpoint.
        """
        self._restored = None
        if not self.path.exists():
            return
        arrays = _read(self.path)
        wanted = "the checkpoint of a fit with these settings and data, or another path"
        if not snapshot.fits(self.model, arrays):
            checks.fail("path", f"{str(self.path)!r} of another fit", wanted)
        if snapshot.is_of_earlier_fit(self.model, arrays):
            return
        snapshot.put_back(self.model, arrays)
        self.model.trainer.resume_at(json.loads(arrays["progress"].tobytes())["epoch"])
        self._restored = arrays

    def on_epoch_begin(self, epoch, logs=None):
        """Writes what the epochs before have led to; all callbacks have seen their ends."""
        if self._restored is not None:
            # Not before: the others forget earlier fits when training begins.
            _restore_callbacks(self._companions, self._restored)
            self._restored = None
            return
        if epoch % self.every_epochs:
            return
        arrays = snapshot.take(self.model)
        progress = {"format": _FORMAT, "epoch": epoch}
        progress["callbacks"] = _callback_states(self._companions, arrays)
        arrays["progress"] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
        _write(self.path, arrays)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Replaces the file in one step that is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: Path) -> dict[str, np.ndarray]:
    wanted = "a file that `Checkpoint` wrote"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        is_known = json.loads(arrays["progress"].tobytes())["format"] == _FORMAT
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile):
        is_known = False
    if not is_known:
        checks.fail("path", f"{str(path)!r}, which is something else or damaged", wanted)
    return arrays


def _callback_states(callbacks, arrays: dict[str, np.ndarray]) -> list[list[Any]]:
    """Class name and attributes of each callback; arrays among them are added to `arrays`."""
    states = []
    for callback in callbacks:
        # Arguments of the constructor come from the program that is run again.
        given = {*inspect.signature(type(callback).__init__).parameters, "params", "_model"}
        kept = {}
        for name, value in vars(callback).items():
            if name not in given and _is_storable(value):
                kept[name] = _stored(value, arrays)
        states.append([type(callback).__name__, kept])
    return states


def _restore_callbacks(callbacks, arrays: dict[str, np.ndarray]) -> None:
    """Gives callbacks their attributes back; those that came or went since are left alone."""
    states = json.loads(arrays["progress"].tobytes())["callbacks"]
    for callback in callbacks:
        name = type(callback).__name__
        found = next((state for state in states if state[0] == name), None)
        if found is not None:
            states.remove(found)
            for attribute, value in found[1].items():
                setattr(callback, attribute, _from_stored(value, arrays))


def _is_storable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_storable(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_storable, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biuf"
    return value is None or isinstance(value, (bool, int, float, str))


def _stored(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON knows it, with a reference in the place of each array."""
    if isinstance(value, dict):
        return {"dict": {key: _stored(each, arrays) for key, each in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_stored(each, arrays) for each in value]}
    if isinstance(value, list):
        return [_stored(each, arrays) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        name = f"callbacks/{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name}
    return value


def _from_stored(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_from_stored(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: _from_stored(each, arrays) for key, each in content.items()}
    if kind == "tuple":
        return tuple(_from_stored(each, arrays) for each in content)
    found = arrays[content]
    return found[()] if found.ndim == 0 else found
