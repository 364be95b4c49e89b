"""Graphs of passes that networks of the same shapes share, so that only the first are traced."""

from __future__ import annotations

import collections
import copy
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

__all__ = ["forget_graphs", "shared_graph"]

# A graph looks for the variables that it was traced with, which are kept: 32 MB in all at most.
_MOST_GRAPHS = 8
_MOST_ELEMENTS = 2**20
_MOST_KINDS = 4  # of arguments of one method: batches of a stream may come in any size
_graphs: collections.OrderedDict[Hashable, _Kept] = collections.OrderedDict()
_lock = threading.Lock()


class _Kept(NamedTuple):
    graph: Any
    places: list[int]  # of the variables that it uses, in its order, among all of a pair
    variables: list[tf.Variable]


def shared_graph(
    method: Callable,
    alone: Callable,
    kind: Hashable,
    variables: Sequence[keras.Variable],
    num_data: int,
) -> Callable:
    """`method` as a graph per kind of arguments, traced unless others of the `kind` were before.

    Args:
        method: whose graph depends on nothing but `kind`, its arguments and `variables`.
        alone: the method with graphs that are not shared, for large networks and arguments of ever
            new kinds.
        kind: what all methods have in common that may share graphs.
        variables: those that the graph uses, in an order that is the same for the whole kind.
        num_data: how many of the first arguments are tensors of any length.
    """
    own: dict[Hashable, Callable] = {}
    if sum(int(np.prod(each.shape)) for each in variables) > _MOST_ELEMENTS:
        return alone

    def call(*arguments):
        specs = [_spec(argument, place < num_data) for place, argument in enumerate(arguments)]
        name = kind, method.__name__, tuple(tf.nest.flatten(specs))
        if name not in own:
            if len(own) == _MOST_KINDS:
                return alone(*arguments)
            own[name] = _with_variables(name, variables) or _trace(method, specs, name, variables)
        return own[name](*arguments)

    return call


def forget_graphs() -> None:
    """Lets all graphs be traced anew, as where a module that they were made of has changed."""
    with _lock:
        _graphs.clear()


def _spec(argument: Any, is_data: bool) -> Any:
    def of_part(part):
        if not hasattr(part, "shape"):
            return part
        return tf.TensorSpec([None, *part.shape[1:]] if is_data else part.shape, part.dtype)

    return tf.nest.map_structure(of_part, argument)


def _with_variables(name: Hashable, variables: Sequence[keras.Variable]) -> Any:
    """The graph of this name with other variables; `None` where there is none."""
    with _lock:
        if name not in _graphs:
            return None
        _graphs.move_to_end(name)
        kept = _graphs[name]
    graph = copy.copy(kept.graph)
    graph.set_external_captures([variables[place].value.handle for place in kept.places])
    return graph


def _trace(
    method: Callable, specs: list[Any], name: Hashable, variables: Sequence[keras.Variable]
) -> Any:
    """A new graph, kept for others unless it uses other tensors than the variables."""
    graph = tf.function(method, autograph=False).get_concrete_function(*specs)
    places = {id(each.value.handle): place for place, each in enumerate(variables)}
    used = [places.get(id(handle)) for handle in graph.captured_inputs]
    with _lock:
        if None not in used:
            _graphs[name] = _Kept(graph, used, [each.value for each in variables])
        while len(_graphs) > _MOST_GRAPHS:
            _graphs.popitem(last=False)
    return graph
