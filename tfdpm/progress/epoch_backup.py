"""The values of a training's variables after its last whole epoch, kept in one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdpm.progress.files import local_path, read_arrays, write_arrays


class Kept(NamedTuple):
    """How far a training was."""

    epochs: int = 0  # whole ones that are done
    notes: tuple[float, ...] = ()  # numbers that were kept beside the variables


class EpochBackup:
    """Keeps values of variables after each epoch, in a file that is whole at any moment.

    A training that is restored, and whose batches follow from the number of the epoch, ends in
    the values of one that was never interrupted. Without a path nothing is kept. Several trainings
    may use one path, since a file of another name is ignored.
    """

    def __init__(self, path: str | os.PathLike[str] | None, name: str = ""):
        self.path = None if path is None else local_path(path)
        self.name = name

    def restore(self, variables: Sequence[Any]) -> Kept:
        """Gives variables the values that are kept, if there are any of these shapes."""
        try:
            arrays = {} if self.path is None else read_arrays(self.path)
        except (FileNotFoundError, ValueError):
            return Kept()
        values = [arrays.get(f"variable_{index}") for index in range(len(variables))]
        shapes = [None if value is None else value.shape for value in values]
        is_own = str(arrays.get("name")) == self.name and len(arrays) == len(variables) + 3
        if not is_own or shapes != [tuple(v.shape) for v in variables]:
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
        """Restores a compiled Keras model, and makes the callbacks that keep the epochs to come.

        The number returned first is that of the epoch for `fit` to start at.
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
