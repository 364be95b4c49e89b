"""Checks of arguments, whose errors name the argument, what was got and what was wanted.

Shape letters in all docstrings: N points, D features, K components, C capacity (K rounded up to
spare units), B batch, E embedding size, P prototypes, H hidden units.
"""

from __future__ import annotations

import importlib
import math
import numbers
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NoReturn

_FEWEST_KEY_BYTES = 16
_QUOTED = 200  # characters of an error within another


def fail(name: str, got: Any, wanted: str, error: type[Exception] = ValueError) -> NoReturn:
    """Raises `error` with the message "`name`: got ..., wanted ...", the form of all errors."""
    raise error(f"`{name}`: got {got}, wanted {wanted}.")


def one_line(error: Exception) -> str:
    """The beginning of an error's message in one line, as another error quotes it."""
    return " ".join(str(error).split())[:_QUOTED]


def secret(value: Any, name: str) -> bytes:
    """Returns `value` as `bytes`, or raises unless it is enough of them to be a key."""
    if not isinstance(value, bytes):
        fail(name, f"a {type(value).__name__}", "bytes", TypeError)
    if len(value) < _FEWEST_KEY_BYTES:
        fail(name, f"{len(value)} bytes", f"at least {_FEWEST_KEY_BYTES}")
    return value


def integer(
    value: Any, name: str, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Returns `value` as an `int`, or raises unless it is an integer within the bounds."""
    _check_bounds(value, name, numbers.Integral, "an integer", minimum, maximum)
    return int(value)


def number(
    value: Any,
    name: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
) -> float:
    """Returns `value` as a finite `float` in `[minimum, maximum]` and strictly above `above`."""
    _check_bounds(value, name, numbers.Real, "a finite number", minimum, maximum, above)
    return float(value)


def one_of(value: Any, name: str, choices: Iterable[Any]) -> Any:
    """Returns `value` if it is among `choices`, else raises and lists the choices."""
    choices = tuple(choices)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        fail(name, repr(value), "one of " + ", ".join(repr(choice) for choice in choices))
    return value


def boolean(value: Any, name: str) -> bool:
    """Returns `value` if it is `True` or `False`; text such as "False" is an error."""
    if not isinstance(value, bool):
        fail(name, f"{value!r} of type {type(value).__name__}", "True or False", TypeError)
    return value


def cluster_names(names: Any, count: int) -> tuple[str, ...]:
    """Returns a name for each of `count` clusters, empty ones where none is given.

    Names are a mapping from numbers of clusters, a sequence, or `None`.
    """
    if isinstance(names, (str, bytes)):
        fail("names", repr(names), "a name for each cluster, or names by their numbers", TypeError)
    given = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
    for k, name in given.items():
        if not isinstance(name, str) or k not in range(count):
            wanted = f"texts by the numbers of clusters, 0 to {count - 1}"
            fail("names", f"{name!r} for cluster {k!r}", wanted)
    return tuple(given.get(k, "") for k in range(count))


def import_optional(module: str, name: str, extra: str) -> ModuleType:
    """Imports a module of an optional package, such as `matplotlib.pyplot`.

    The `ImportError` names the argument or function that needs it, and the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:  # of the module, or of one that it imports
        package = (error.name or module).partition(".")[0]
        fail(name, f"no {package}", f"it installed: pip install 'tfdpm[{extra}]'", ImportError)


def _check_bounds(
    value: Any, name: str, kind: type, wanted: str, minimum: Any, maximum: Any, above: Any = None
) -> None:
    """Raises unless `value` is finite, of that kind (`True` is not) and within the bounds."""
    if minimum is not None and maximum is not None:
        wanted += f" from {minimum} to {maximum}"
    elif minimum is not None:
        wanted += f" of at least {minimum}"
    elif maximum is not None:
        wanted += f" of at most {maximum}"
    if above is not None:
        wanted += f" above {above}"
    if isinstance(value, bool) or not isinstance(value, kind):
        fail(name, f"{value!r} of type {type(value).__name__}", wanted, TypeError)
    is_inside = (
        (kind is numbers.Integral or math.isfinite(value))
        and (minimum is None or value >= minimum)
        and (maximum is None or value <= maximum)
        and (above is None or value > above)
    )
    if not is_inside:
        fail(name, value, wanted)
