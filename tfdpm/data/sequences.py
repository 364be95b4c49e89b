"""What else Keras's `fit` takes, `PyDataset`s, generators and loaders, as `tf.data.Dataset`s."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.streams import is_batched

_MOST_VALUES = 2**27  # that a generator may give, which is held in memory: 1 GiB in float64
_WANTED = "batches of x, (x, y) or (x, y, weight)"


def is_sequence(data: Any) -> bool:
    """Whether `as_dataset` takes it."""
    return isinstance(data, keras.utils.PyDataset) or hasattr(data, "__next__") or _is_loader(data)


def _is_loader(data: Any) -> bool:
    torch = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(data, torch.DataLoader)


def as_dataset(data: Any, name: str, *, endless: bool = False) -> tf.data.Dataset:
    """Returns a `PyDataset`, a generator or a `DataLoader`, of batches or points, as a stream.

    A generator can be read once. It is read to its end and held, unless it is said to be endless,
    and then its stream can be read once. Batches of the others are made anew in each pass.

    Raises:
        ValueError: if there is nothing, if no end is seen, or elements have no one shape.
        TypeError: if elements are none of numbers.
    """
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        if count is None and not endless:
            checks.fail(name, "a PyDataset without an end", "one with an end, or steps_per_epoch")
        if not endless:
            return _of_elements(lambda: (data[i] for i in range(count)), name)
        return _endless(data[i] if count is None else data[i % count] for i in itertools.count())
    if _is_loader(data):

        def one_pass() -> Iterator[Any]:
            return (tuple(each) if isinstance(each, list) else each for each in data)

        if not endless:
            stream = _of_elements(one_pass, name)
            # Of one element, so that it counts as a stream that shuffles.
            return stream.shuffle(1) if "Random" in type(data.sampler).__name__ else stream
        return _endless(itertools.chain.from_iterable(one_pass() for _ in itertools.count()), name)
    if endless:
        return _endless(data, name)
    held, total = [], 0
    for element in data:
        total += np.size(element[0] if isinstance(element, tuple) else element)
        if total > _MOST_VALUES:
            got = f"a generator that has not ended after {total} values"
            wanted = "one with an end, a tf.data.Dataset, or steps_per_epoch in `DeepDPM.fit`"
            checks.fail(name, got, wanted)
        held.append(element)
    return _of_elements(lambda: iter(held), name)


def first_batches(data: Any, count: int | None, name: str = "steps") -> Any:
    """The first elements of a stream of any kind, which need have no end; other data unchanged.

    `name` is that of `count` in errors; of `None` all elements are meant.
    """
    if count is None:
        return data
    count = checks.integer(count, name, minimum=1)
    if is_sequence(data):
        data = as_dataset(data, "x", endless=True)
    return data.take(count) if isinstance(data, tf.data.Dataset) else data


def _endless(elements: Iterator[Any], name: str = "x") -> tf.data.Dataset:
    first = next(elements, None)
    stream = _of_elements(lambda: itertools.chain([first], elements), name, first)
    return stream.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def _of_elements(
    elements: Callable[[], Iterable[Any]], name: str, first: Any = None
) -> tf.data.Dataset:
    """A stream of what `elements()` gives, with the dtypes and ranks of the first."""
    first = next(iter(elements()), None) if first is None else first
    if first is None:
        checks.fail(name, "nothing", _WANTED)
    known = tuple(np.asarray(part) for part in _parts(first, name))
    if not 1 <= len(known) <= 3 or known[0].dtype.kind not in "biuf" or known[0].ndim == 0:
        got = f"elements such as {type(first).__name__} of {[part.dtype.name for part in known]}"
        checks.fail(name, got, _WANTED, TypeError)
    labels = tf.TensorSpec(known[1].shape) if len(known) > 1 else None
    is_point = not is_batched(tf.TensorShape(known[0].shape), labels)
    shapes = [known[0].shape if is_point else (None, *known[0].shape[1:])]
    shapes += [
        part.shape if is_point else (None, *part.shape[1:])[: part.ndim] for part in known[1:]
    ]

    def arrays() -> Iterator[Any]:
        for element in elements():
            parts = _parts(element, name)
            pairs = zip(parts, known, strict=True)
            found = tuple(np.asarray(part).astype(like.dtype) for part, like in pairs)
            yield found if len(found) > 1 else found[0]

    specs = tuple(
        tf.TensorSpec(shape, tf.string if part.dtype.kind in "OUS" else part.dtype)
        for shape, part in zip(shapes, known, strict=True)
    )
    return tf.data.Dataset.from_generator(
        arrays, output_signature=specs if len(specs) > 1 else specs[0]
    )


def _parts(element: Any, name: str) -> tuple[Any, ...]:
    """x, y and weights of an element, as many as there are."""
    parts = element if isinstance(element, tuple) else (element,)
    if any(isinstance(part, (dict, str, bytes)) for part in parts):
        checks.fail(name, f"elements of {type(parts[0]).__name__}", _WANTED, TypeError)
    while len(parts) > 1 and parts[-1] is None:  # as Keras writes "no labels"
        parts = parts[:-1]
    return tuple(parts)
