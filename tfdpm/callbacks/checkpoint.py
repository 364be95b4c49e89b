"""`Checkpoint`, which lets a fit that was killed go on, and the states of the other callbacks."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdpm import checks
from tfdpm.deepdpm import DeepDPM
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.moves.ledger import MoveCounts
from tfdpm.progress.files import local_path, read_arrays, write_arrays
from tfdpm.search.state import MixtureState
from tfdpm.training.progress_bar import ProgressBar

_FORMAT = "tfdpm checkpoint 1"
_PARTS = ("clustering", "subclustering", "optimizer", "subcluster_optimizer")
_Arrays = dict[str, np.ndarray]
_State = tuple[str, dict[str, Any]]  # class name and attributes of a callback


class Checkpoint(keras.callbacks.Callback):
    """Writes all of a fit's state to one file between epochs, and goes on from it.

    Run the same program again after a crash: `fit` starts, finds the file, and continues. It ends
    in the model of a run that was never interrupted, bit for bit on the same machine and where a
    `tf.data` stream gives the same batches at every pass. Saved are networks, optimisers, mixture,
    statistics, capacity, epoch, history, and the numbers, texts and arrays that other callbacks
    keep. The file is replaced in one step, so there is always a whole one.

    Args:
        path: file; missing folders are made.
        every_epochs: number of epochs between two writes, >= 1.
    """

    def __init__(self, path: str | os.PathLike[str], *, every_epochs: int = 1):
        super().__init__()
        self.path = local_path(path)
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)
        self._companions: list[keras.callbacks.Callback] = []
        self._callback_states: list[_State] | None = None  # until the first epoch begins

    def accompany(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Names the callbacks of the fit, whose states are saved too. `fit` calls it."""
        self._companions = [
            each for each in callbacks if not isinstance(each, (Checkpoint, ProgressBar))
        ]

    def on_train_begin(self, logs=None):
        """Takes up the fit that the file is of, if there is one.

        Raises:
            ValueError: if the file is of a fit with other settings or data, or no checkpoint.
        """
        self._callback_states = None
        if not self.path.exists():
            return
        arrays, progress = _read(self.path)
        if not fits(self.model, arrays):
            wanted = "the checkpoint of a fit with these settings and data, or another path"
            checks.fail("path", f"{str(self.path)!r} of another fit", wanted)
        if int(arrays["fit_start"]) != self.model.trainer.start_epoch:
            return  # an earlier fit's
        put_back(self.model, arrays)
        self.model.trainer.first_epoch = progress["epoch"]
        self._callback_states = [
            (name, {key: _decode(value, arrays) for key, value in attributes.items()})
            for name, attributes in progress["callbacks"]
        ]

    def on_epoch_begin(self, epoch, logs=None):
        """Writes the state after the epochs before, whose ends all callbacks have seen."""
        if self._callback_states is not None:
            # Not when training begins, since the other callbacks forget earlier fits then.
            _restore(self._companions, self._callback_states)
            self._callback_states = None
        elif epoch % self.every_epochs == 0:
            arrays = take_snapshot(self.model)
            progress = {"format": _FORMAT, "epoch": epoch}
            progress["callbacks"] = [_state_of(each, arrays) for each in self._companions]
            arrays["progress"] = as_bytes(json.dumps(progress))
            write_arrays(self.path, arrays)


def take_snapshot(model: DeepDPM) -> _Arrays:
    """All that the rest of a fit depends on, as arrays; a saved model holds what predictions need.

    Nothing random is missing: every draw is a function of the seed and the epoch.
    """
    fitted = model.fitted
    arrays = {f"state/{name}": value for name, value in fitted.state.to_arrays().items()}
    for part in _PARTS:
        for index, variable in enumerate(getattr(model, part).variables):
            arrays[f"{part}/{index}"] = np.asarray(variable)
    arrays["moves"] = np.array(dataclasses.astuple(fitted.result.moves))
    arrays["capacity"] = np.array(fitted.networks.capacity)
    start = fitted.state.epoch if model.trainer is None else model.trainer.start_epoch
    arrays["fit_start"] = np.array(start)
    arrays["genealogy"] = as_bytes(fitted.genealogy.to_json())
    arrays["identity"] = as_bytes(json.dumps(_identity(model)))
    return arrays


def fits(model: DeepDPM, arrays: _Arrays) -> bool:
    """Whether a snapshot is of a fit with the settings and the data of this model's fit.

    Data show in the preprocessing and the prior that they lead to, up to the rounding of another
    processor.
    """
    kept, wanted = json.loads(as_text(arrays["identity"])), _identity(model)
    # Settings that came later than the snapshot are the program's.
    if {**kept, "config": {**wanted["config"], **kept["config"]}} != wanted:
        return False
    own = model.fitted.state.to_arrays()
    pairs = [
        (own[name], arrays[f"state/{name}"])
        for name in own
        # Checkpoints of before lack what was not known then.
        if name.startswith(("preprocessing/", "prior/")) and f"state/{name}" in arrays
    ]
    return all(
        mine.shape == kept.shape and np.allclose(mine, kept, rtol=1e-6, atol=1e-9)
        for mine, kept in pairs
    )


def put_back(model: DeepDPM, arrays: _Arrays) -> None:
    """Brings a model whose fit has begun to where the snapshot, which `fits` it, was taken."""
    capacity = int(arrays["capacity"])
    if capacity > model.fitted.networks.capacity:
        networks = model.fitted.networks.grown_to(capacity)
        model.adopt(model.fitted.replace(networks=networks))
    for part in _PARTS:
        variables = getattr(model, part).variables
        count = sum(name.startswith(f"{part}/") for name in arrays)
        values = [arrays[f"{part}/{index}"] for index in range(count)]
        if [v.shape for v in variables] != [v.shape for v in values]:
            checks.fail(part, "weights of other shapes", "those of the fit that is taken up")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    states = {name[6:]: value for name, value in arrays.items() if name.startswith("state/")}
    model.adopt(
        model.fitted.replace(
            state=MixtureState.from_arrays(states),
            moves=MoveCounts(*(int(count) for count in arrays["moves"])),
            genealogy=Genealogy.from_json(as_text(arrays["genealogy"])),
            labels=None,
            groups=None,
        )
    )


def _identity(model: DeepDPM) -> dict[str, Any]:
    """What two fits must share for one to go on where the other stopped, besides their data."""
    return {"config": dataclasses.asdict(model.config), "seed": model.seed}


def _read(path: Path) -> tuple[_Arrays, dict[str, Any]]:
    try:
        arrays = read_arrays(path)
        progress = json.loads(as_text(arrays["progress"]))
        if progress["format"] != _FORMAT:
            raise ValueError(progress["format"])
    except (ValueError, KeyError, TypeError):
        got = f"{str(path)!r}, which is something else or damaged"
        checks.fail("path", got, "a file that `Checkpoint` wrote")
    return arrays, progress


def _state_of(callback: keras.callbacks.Callback, arrays: _Arrays) -> list[Any]:
    """Class name and attributes of a callback as JSON; arrays among them go to `arrays`."""
    # Arguments of the constructor come from the program that is run again.
    given = {*inspect.signature(type(callback).__init__).parameters, "params", "_model"}
    attributes = {
        name: _encode(value, arrays)
        for name, value in vars(callback).items()
        if name not in given and _is_storable(value)
    }
    return [type(callback).__name__, attributes]


def _restore(callbacks: Sequence[keras.callbacks.Callback], states: list[_State]) -> None:
    """Gives callbacks their attributes back; those that are new since are left alone."""
    for callback in callbacks:
        names = [name for name, _ in states]
        if type(callback).__name__ in names:
            _, attributes = states.pop(names.index(type(callback).__name__))
            vars(callback).update(attributes)


def _is_storable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_storable(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_storable, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biuf"
    return value is None or isinstance(value, (bool, int, float, str))


def _encode(value: Any, arrays: _Arrays) -> Any:
    """A value that JSON can write; arrays go to `arrays`, and their names take their places."""
    if isinstance(value, dict):
        return {"dict": {key: _encode(each, arrays) for key, each in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_encode(each, arrays) for each in value]}
    if isinstance(value, list):
        return [_encode(each, arrays) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        name = f"callbacks/{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name}
    return value


def _decode(value: Any, arrays: _Arrays) -> Any:
    """The value that `_encode` was given."""
    if isinstance(value, list):
        return [_decode(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: _decode(each, arrays) for key, each in content.items()}
    if kind == "tuple":
        return tuple(_decode(each, arrays) for each in content)
    return arrays[content][()]
