"""`Checkpoint`, which lets a fit that was killed go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.callbacks.snapshot import (
    Arrays,
    changed_settings,
    differences,
    put_back,
    put_back_learned,
    take_learned,
    take_snapshot,
)
from tfdpm.callbacks.states import State, decode, restore_states, state_of
from tfdpm.deepdpm import DeepDPM
from tfdpm.interpret.genealogy import as_bytes, as_text
from tfdpm.progress.files import (
    UNREADABLE,
    claim,
    local_path,
    read_arrays,
    release,
    replace_file,
    write_arrays,
)
from tfdpm.training.progress_bar import ProgressBar

_FORMAT = "tfdpm checkpoint 1"
_MOST_EPOCHS = 2**31


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
        self._callback_states: list[State] | None = None  # until the first epoch begins

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
            self._refuse_other(changed_settings(model, arrays))
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

    def _take_up(self, arrays: Arrays, progress: dict[str, Any]) -> None:
        model, epoch = self.model, _count(progress["epoch"])
        if model.trainer is None:
            self._refuse_other(changed_settings(model, arrays))
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
            (name, {key: decode(value, arrays) for key, value in attributes.items()})
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
            restore_states(self._companions, self._callback_states)
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

    def _write(self, arrays: Arrays, progress: dict[str, Any]) -> None:
        callbacks = [state_of(each, arrays) for each in self._companions]
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


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST_EPOCHS:
        raise ValueError(f"{value!r} epochs")
    return value


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    arrays = read_arrays(path)
    progress = json.loads(as_text(arrays["progress"]))
    if progress["format"] != _FORMAT:
        raise ValueError(f"format {progress['format']!r}")
    return arrays, progress
