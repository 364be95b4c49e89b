"""What other callbacks know, as JSON and arrays, so that they go on with an interrupted fit."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfdpm.callbacks.snapshot import Arrays

State = tuple[str, dict[str, Any]]  # class name and attributes of a callback


def state_of(callback: keras.callbacks.Callback, arrays: Arrays) -> list[Any]:
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


def restore_states(callbacks: Sequence[keras.callbacks.Callback], states: list[State]) -> None:
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


def _encode(value: Any, arrays: Arrays) -> Any:
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


def decode(value: Any, arrays: Arrays) -> Any:
    """The value that `_encode` was given."""
    if isinstance(value, list):
        return [decode(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: decode(each, arrays) for key, each in content.items()}
    if kind == "tuple":
        return tuple(decode(each, arrays) for each in content)
    return arrays[content][()]
