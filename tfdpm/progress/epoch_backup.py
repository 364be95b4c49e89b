"""The values of a training's variables after its last whole epoch, kept in one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdpm.progress.files import read_arrays, write_arrays


class Kept(NamedTuple):
    """How far a training was.

    Attributes:
        epochs: number of whole epochs that are done; 0 where nothing is kept.
        notes: numbers that were kept beside the variables.
    """

    epochs: int = 0
    notes: tuple[float, ...] = ()


class EpochBackup:
    """Keeps values of variables after each epoch, in a file that is whole at any moment.

    A training that is restored, and whose batches follow from the number of the epoch, ends in
    the values of one that was never interrupted.

    Args:
        path: file; `None` keeps nothing.
        name: name of the training, where several use one path; a file of another name is ignored.
    """

    def __init__(self, path: str | os.PathLike[str] | None, name: str = ""):
        self.path = None if path is None else Path(path)
        self.name = name

    def restore(self, variables: Sequence[Any]) -> Kept:
        """Gives variables the values that are kept, if there are any of these shapes."""
        try:
            arrays = {} if self.path is None else read_arrays(self.path)
        except (FileNotFoundError, ValueError):
            return Kept()
        if str(arrays.get("name")) != self.name:
            return Kept()
        values = [arrays.get(f"variable_{index}") for index in range(len(variables))]
        shapes = [None if value is None else value.shape for value in values]
        if len(arrays) != len(variables) + 3 or shapes != [tuple(v.shape) for v in variables]:
            return Kept()
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return Kept(int(arrays["epochs"]), tuple(arrays["notes"].tolist()))

    def save(self, epochs: int, variables: Sequence[Any], notes: Sequence[float] = ()) -> None:
        """Replaces the file by one with the values after so many epochs."""
        if self.path is None:
            return
        arrays = {f"variable_{i}": _as_array(variable) for i, variable in enumerate(variables)}
        arrays |= {"name": np.array(self.name), "epochs": np.array(epochs)}
        write_arrays(self.path, {**arrays, "notes": np.array(notes, np.float64)})

    def remove(self) -> None:
        """Deletes the file, once the trained model is kept elsewhere."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def resume(self, model: keras.Model) -> tuple[int, list[keras.callbacks.Callback]]:
        """Restores a compiled Keras model.

        Returns:
            The epoch for `fit` to start at, and the callbacks that keep the epochs to come.
        """
        if self.path is None:
            return 0, []
        model.optimizer.build(model.trainable_variables)

        def keep(epoch: int, logs: dict[str, Any] | None) -> None:
            self.save(epoch + 1, _training_variables(model))

        kept = self.restore(_training_variables(model))
        return kept.epochs, [keras.callbacks.LambdaCallback(on_epoch_end=keep)]


def _training_variables(model: keras.Model) -> list[Any]:
    """What training changes, except metrics, which start anew in each epoch."""
    return [*model.weights, *model.optimizer.variables]


def _as_array(variable: Any) -> np.ndarray:
    """The values of a variable; types that NumPy cannot save, such as bfloat16, are widened."""
    values = keras.ops.convert_to_numpy(variable)
    return values if values.dtype.kind in "biuf" else values.astype(np.float32)
