"""`Checkpoint`, which lets a fit that was killed go on, and the states of the other callbacks."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.deepdpm import DeepDPM
from tfdpm.deepdpm.arrays import checked_sizes
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.moves.ledger import MoveCounts
from tfdpm.progress.files import (
    UNREADABLE,
    claim,
    local_path,
    read_arrays,
    release,
    replace_file,
    write_arrays,
)
from tfdpm.search.state import MixtureState
from tfdpm.training.progress_bar import ProgressBar

_FORMAT = "tfdpm checkpoint 1"
_MOST_EPOCHS = 2**31
_PARTS = ("clustering", "subclustering", "optimizer", "subcluster_optimizer")
_Arrays = dict[str, np.ndarray]
_State = tuple[str, dict[str, Any]]  # class name and attributes of a callback


class _OtherFitError(ValueError):
    """A whole checkpoint, but of another fit."""


class Checkpoint(keras.callbacks.Callback):
    """Writes all of a fit's state to one file between epochs, and goes on from it.

    Run the same program again after a crash: `fit` starts, finds the file, and continues. It ends
    in the model of a run that was never interrupted, bit for bit on the same machine and where a
    `tf.data` stream gives the same batches at every pass. Saved are networks, optimisers, mixture,
    statistics, capacity, epoch, history, and the numbers, texts and arrays that other callbacks
    keep. The file is replaced in one step, so there is always a whole one. While a fit runs, a
    second process is not let at the same file.

    Of a stream without an end (`steps_per_epoch`), what was read before is skipped. In a loop of
    `partial_fit`, use `restore` before it and `save` within.

    Args:
        path: file; missing folders are made.
        every_epochs: number of epochs between two writes, >= 1.

    Examples:
        >>> keep = tfdpm.callbacks.Checkpoint("fit.npz")
        >>> for number in range(keep.restore(model), len(batches)):
        ...     model.partial_fit(batches[number])
        ...     keep.save(model, number + 1)
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

    def restore(self, model: DeepDPM) -> int:
        """Brings a model to where `save` left it; returns the number that `save` was given, or 0.

        Raises:
            ValueError: if the file is of a model with other settings, or no checkpoint.
            BlockingIOError: if another process uses the file.
        """
        self._claim()
        if not self.path.exists():
            return 0
        with self._reading():
            arrays, progress = _read(self.path)
            self._refuse_other(_differences_of(model, arrays))
            put_back_learned(model, arrays)
            return _count(progress["epoch"])

    def save(self, model: DeepDPM, number: int) -> None:
        """Writes all that further calls of `partial_fit` depend on, and a number of the caller's.

        Raises:
            OSError: if the file cannot be written; the one of before is then unchanged.
        """
        self._write(take_learned(model), {"epoch": checks.integer(number, "number", minimum=0)})

    def on_train_begin(self, logs=None):
        """Takes up the fit that the file is of, if there is one.

        Raises:
            ValueError: if the file is of a fit with other settings or data, or no checkpoint.
            BlockingIOError: if another process uses the file.
        """
        self._callback_states = None
        self._claim()
        with self._reading():
            found = [_read(path) for path in (self.path, self._older) if path.exists()]
            if self.model.has_workers:
                found = _agreed(found, self.model.strategy)
            if found:
                self._take_up(*found[0])

    @property
    def _older(self) -> Path:
        """Where each of several workers keeps the file before, as another may lack the last one."""
        return self.path.with_name(f"{self.path.name}.before")

    def _take_up(self, arrays: _Arrays, progress: dict[str, Any]) -> None:
        model, epoch = self.model, _count(progress["epoch"])
        if model.trainer is None:
            self._refuse_other(_differences_of(model, arrays))
            put_back_learned(model, arrays)
            model.stream.first_epoch, model.stream.num_read = epoch, _count(progress["num_read"])
        else:
            self._refuse_other(differences(model, arrays))
            if int(arrays["fit_start"]) != model.trainer.start_epoch:
                return  # an earlier fit's
            num_done = int(arrays["state/progress"][0]) - model.trainer.start_epoch
            if num_done < 0 or epoch != model.trainer.first_epoch + num_done:
                raise ValueError(f"epoch {epoch} after {num_done} epochs")
            put_back(model, arrays)
            model.trainer.first_epoch = epoch
        self._callback_states = [
            (name, {key: _decode(value, arrays) for key, value in attributes.items()})
            for name, attributes in progress["callbacks"]
        ]
        for name, attributes in self._callback_states:
            if name == "History":
                series = [attributes["epoch"], *attributes["history"].values()]
                if not all(isinstance(each, list) for each in series):
                    raise ValueError("a history without lists")

    def on_epoch_begin(self, epoch, logs=None):
        """Writes the state after the epochs before, whose ends all callbacks have seen."""
        if self._callback_states is not None:
            # Not when training begins, since the other callbacks forget earlier fits then.
            _restore(self._companions, self._callback_states)
            self._callback_states = None
        elif epoch % self.every_epochs == 0:
            if self.model.trainer is None:  # a stream without an end
                progress = {"epoch": epoch, "num_read": self.model.stream.num_read}
                self._write(take_learned(self.model), progress)
            else:
                self._write(take_snapshot(self.model), {"epoch": epoch})

    def on_train_end(self, logs=None):
        """Lets other processes have the file."""
        release(self.path)

    def _write(self, arrays: _Arrays, progress: dict[str, Any]) -> None:
        callbacks = [_state_of(each, arrays) for each in self._companions]
        progress = {"format": _FORMAT, **progress, "callbacks": callbacks}
        try:
            if self.model is not None and self.model.has_workers and self.path.exists():
                with replace_file(self._older) as temporary:
                    shutil.copyfile(self.path, temporary)
            write_arrays(self.path, {**arrays, "progress": as_bytes(json.dumps(progress))})
        except OSError as error:
            release(self.path)
            reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
            got = f"{str(self.path)!r}, which cannot be written ({reason.strerror or reason})"
            checks.fail("path", got, "a folder with room that may be written", OSError)

    def _claim(self) -> None:
        try:
            claim(self.path)
        except BlockingIOError as error:
            got = f"{str(self.path)!r}, which {error} uses"
            checks.fail("path", got, "another path, or the end of that process", BlockingIOError)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Tells of damage of any kind by one error."""
        try:
            yield
        except _OtherFitError:
            raise
        except (*UNREADABLE, TypeError, IndexError, OverflowError) as error:
            reason = checks.one_line(error)
            got = f"{str(self.path)!r}, which is something else or damaged ({reason})"
            checks.fail("path", got, "a file that `Checkpoint` wrote")

    def _refuse_other(self, found: list[str]) -> None:
        if found:
            wanted = "the checkpoint of a fit with these settings and data, or another path"
            got = f"{str(self.path)!r} of another fit (other {', '.join(found)})"
            checks.fail("path", got, wanted, _OtherFitError)


def _agreed(found: list[tuple], strategy: tf.distribute.Strategy) -> list[tuple]:
    """Of a worker's files, last one first, the one of the last epoch that all workers have."""
    last = _count(found[0][1]["epoch"]) if found else -1
    each = strategy.run(lambda: tf.constant([last]))
    agreed = int(tf.reduce_min(strategy.gather(each, axis=0)))
    if agreed < 0:
        return []
    chosen = [each for each in found if each[1]["epoch"] == agreed]
    if not chosen:
        raise ValueError(f"epoch {last}, where another worker is at {agreed}")
    return chosen


def take_learned(model: DeepDPM) -> _Arrays:
    """All that further calls of `partial_fit` depend on, as arrays."""
    own: _Arrays = {}
    model.save_own_variables(own)
    arrays = {f"own/{name}": np.asarray(value) for name, value in own.items()}
    arrays["sizes"] = as_bytes(json.dumps(model.get_build_config()))
    arrays["identity"] = as_bytes(json.dumps(_identity(model)))
    return arrays if model.parts is None else {**arrays, **_variables(model)}


def put_back_learned(model: DeepDPM, arrays: _Arrays) -> None:
    """Brings a model of the same settings to where `take_learned` was called."""
    sizes = json.loads(as_text(arrays["sizes"]))
    if not model.compiled:
        model.compile()
    if sizes:
        networks = model.create_networks(**checked_sizes(sizes))
        if model.parts is not None:
            model.adopt(model.parts.replace(networks=networks))
    model.load_own_variables({k[4:]: each for k, each in arrays.items() if k.startswith("own/")})
    if sizes:
        _assign(model, arrays)


def _variables(model: DeepDPM) -> _Arrays:
    """Variables of networks and optimisers."""
    return {
        f"{part}/{index}": np.asarray(variable)
        for part in _PARTS
        for index, variable in enumerate(getattr(model, part).variables)
    }


def _assign(model: DeepDPM, arrays: _Arrays) -> None:
    """Gives networks and optimisers the values that `_variables` took."""
    for part in _PARTS:
        variables = getattr(model, part).variables
        count = sum(name.startswith(f"{part}/") for name in arrays)
        values = [arrays[f"{part}/{index}"] for index in range(count)]
        if [v.shape for v in variables] != [v.shape for v in values]:
            raise ValueError(f"{part} has weights of other shapes")
        for variable, value in zip(variables, values, strict=True):
            if not np.isfinite(value).all():
                raise ValueError(f"{part} has weights that are not finite")
            variable.assign(value)


def take_snapshot(model: DeepDPM) -> _Arrays:
    """All that the rest of a fit depends on, as arrays; a saved model holds what predictions need.

    Nothing random is missing: every draw is a function of the seed and the epoch.
    """
    fitted = model.fitted
    arrays = {f"state/{name}": value for name, value in fitted.state.to_arrays().items()}
    arrays |= _variables(model)
    arrays["moves"] = np.array(dataclasses.astuple(fitted.result.moves))
    arrays["capacity"] = np.array(fitted.networks.capacity)
    start = fitted.state.epoch if model.trainer is None else model.trainer.start_epoch
    arrays["fit_start"] = np.array(start)
    arrays["genealogy"] = as_bytes(fitted.genealogy.to_json())
    arrays["identity"] = as_bytes(json.dumps(_identity(model)))
    return arrays


def differences(model: DeepDPM, arrays: _Arrays) -> list[str]:
    """In what a snapshot is of a fit with other settings or data than this model's fit.

    Data show in the preprocessing and the prior that they lead to, up to the rounding of another
    processor.
    """
    own = model.fitted.state.to_arrays()
    pairs = [
        (own[name], arrays[f"state/{name}"])
        for name in own
        # Checkpoints of before lack what was not known then.
        if name.startswith(("preprocessing/", "prior/")) and f"state/{name}" in arrays
    ]
    is_same = all(
        mine.shape == kept.shape and np.allclose(mine, kept, rtol=1e-6, atol=1e-9)
        for mine, kept in pairs
    )
    return [*_differences_of(model, arrays), *([] if is_same else ["data"])]


def _differences_of(model: DeepDPM, arrays: _Arrays) -> list[str]:
    """The settings and arguments that are not those of the snapshot."""
    kept, wanted = json.loads(as_text(arrays["identity"])), _identity(model)
    # What came later than the snapshot is the program's.
    config = {**wanted["config"], **kept["config"]}
    changed = [name for name, value in config.items() if wanted["config"].get(name) != value]
    if "given" in kept:
        mine, theirs = wanted.get("given", {}), kept["given"]
        changed += [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
    return changed if kept["seed"] == wanted["seed"] else [*changed, "seed"]


def put_back(model: DeepDPM, arrays: _Arrays) -> None:
    """Brings a model whose fit has begun to where a snapshot without `differences` was taken."""
    capacity = int(arrays["capacity"])
    network = model.clustering
    sizes = {"feature_dim": network.hidden.kernel.shape[0], "hidden_units": network.hidden_units}
    checked_sizes({**sizes, "capacity": capacity})
    if capacity > model.fitted.networks.capacity:
        networks = model.fitted.networks.grown_to(capacity)
        model.adopt(model.fitted.replace(networks=networks))
    _assign(model, arrays)
    states = {name[6:]: value for name, value in arrays.items() if name.startswith("state/")}
    model.adopt(
        model.fitted.replace(
            state=MixtureState.from_arrays(states),
            moves=MoveCounts(*(int(count) for count in arrays["moves"])),
            genealogy=Genealogy.from_json(as_text(arrays["genealogy"])),
            labels=None,
            groups=None,
            tree=None,
        )
    )


def _identity(model: DeepDPM) -> dict[str, Any]:
    """What two fits must share for one to go on where the other stopped, besides their data."""
    given = {} if model.trainer is None else {"given": model.trainer.given}
    return {"config": dataclasses.asdict(model.config), "seed": model.seed, **given}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST_EPOCHS:
        raise ValueError(f"{value!r} epochs")
    return value


def _read(path: Path) -> tuple[_Arrays, dict[str, Any]]:
    arrays = read_arrays(path)
    progress = json.loads(as_text(arrays["progress"]))
    if progress["format"] != _FORMAT:
        raise ValueError(f"format {progress['format']!r}")
    return arrays, progress


def _state_of(callback: keras.callbacks.Callback, arrays: _Arrays) -> list[Any]:
    """Class name and attributes of a callback as JSON; arrays among them go to `arrays`."""
    attributes = {
        name: _encode(value, arrays)
        for name, value in vars(callback).items()
        if _is_kept(callback, name) and _is_storable(value)
    }
    return [type(callback).__name__, attributes]


def _is_kept(callback: keras.callbacks.Callback, name: str) -> bool:
    """Whether an attribute of that name is state, and neither method nor argument.

    Arguments of the constructor come from the program that is run again.
    """
    given = inspect.signature(type(callback).__init__).parameters
    is_own = name not in given and name not in ("params", "_model")
    defaults = vars(callback).get(name), getattr(type(callback), name, None)
    return is_own and all(map(_is_storable, defaults))


def _restore(callbacks: Sequence[keras.callbacks.Callback], states: list[_State]) -> None:
    """Gives callbacks their attributes back; those that are new since are left alone."""
    for callback in callbacks:
        names = [name for name, _ in states]
        if type(callback).__name__ in names:
            _, attributes = states.pop(names.index(type(callback).__name__))
            # A file from elsewhere may name anything.
            kept = {name: value for name, value in attributes.items() if _is_kept(callback, name)}
            vars(callback).update(kept)


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
