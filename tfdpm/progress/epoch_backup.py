"""A training that is cut short goes on after its last whole epoch: all variables, in one file.

What is trained, and in which order points come, is the trainer's; this only keeps values.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

__all__ = ["EpochBackup", "Kept"]

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Kept(NamedTuple):
    """How far the training was.

    Attributes:
        epochs: whole epochs that are done; 0 where nothing is kept.
        notes: numbers that were kept beside the variables.
    """

    epochs: int = 0
    notes: tuple[float, ...] = ()


class EpochBackup:
    """Values of variables after each epoch, in a file that is whole at any moment.

    Restored to the same variables, with batches that follow from the number of the epoch, a
    training ends in the values of one that was never interrupted.

    Args:
        path: of the file; `None` keeps nothing.
        name: stands for the training, where several use one path; a file of another name is
            taken for none.
    """

    def __init__(self, path: str | os.PathLike[str] | None, name: str = ""):
        self.path = None if path is None else Path(path)
        self.name = name

    def restore(self, variables: Sequence[Any]) -> Kept:
        """Gives variables the values that are kept, if there are any of these shapes."""
        arrays = self._read()
        values = [arrays.get(f"variable_{index}") for index in range(len(variables))]
        if not arrays or len(arrays) != len(variables) + 3 or any(v is None for v in values):
            return Kept()
        if any(v.shape != tuple(w.shape) for v, w in zip(values, variables, strict=True)):
            return Kept()
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return Kept(int(arrays["epochs"]), tuple(arrays["notes"].tolist()))

    def save(self, epochs: int, variables: Sequence[Any], notes: Sequence[float] = ()) -> None:
        """Keeps variables as they are after so many epochs, in the place of what was kept."""
        if self.path is None:
            return
        arrays = {f"variable_{i}": _values(variable) for i, variable in enumerate(variables)}
        arrays |= {"name": np.array(self.name), "epochs": np.array(epochs)}
        arrays["notes"] = np.array(notes, np.float64)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(
            prefix=".", suffix=f"-{self.path.name}", dir=self.path.parent
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, self.path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the file, once what was trained is kept elsewhere."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def resume(self, model: keras.Model) -> tuple[int, list[keras.callbacks.Callback]]:
        """Takes up the training of a compiled Keras model.

        Returns:
            The epoch for `fit` to start at, and the callbacks that keep the epochs to come.
        """
        if self.path is None:
            return 0, []
        model.optimizer.build(model.trainable_variables)
        return self.restore(_variables(model)).epochs, [_AfterEachEpoch(self)]

    def _read(self) -> dict[str, np.ndarray]:
        """Arrays of the file; none where it is missing, damaged or of another training."""
        if self.path is None or not self.path.exists():
            return {}
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except _UNREADABLE:
            return {}
        return arrays if str(arrays.get("name")) == self.name else {}


class _AfterEachEpoch(keras.callbacks.Callback):
    """Keeps the weights and the optimiser's variables of a Keras model."""

    def __init__(self, backup: EpochBackup):
        super().__init__()
        self._backup = backup

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replaces the file."""
        self._backup.save(epoch + 1, _variables(self.model))


def _variables(model: keras.Model) -> list[Any]:
    """What training changes, metrics aside, which every epoch starts anew."""
    return [*model.weights, *model.optimizer.variables]


def _values(variable: Any) -> np.ndarray:
    """Values as NumPy can keep them; what it does not know, such as bfloat16, is widened."""
    values = keras.ops.convert_to_numpy(variable)
    return values if values.dtype.kind in "biuf" else values.astype(np.float32)
