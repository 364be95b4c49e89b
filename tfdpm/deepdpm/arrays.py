"""A fit as arrays for a file, and back, with checks of files that come from strangers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.interpret.fitted import FitResult, Fitted
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.interpret.identity import Identity
from tfdpm.moves.ledger import MoveCounts
from tfdpm.shapes.groups import ComponentGroups
from tfdpm.training.memory import Memory

# Of networks whose sizes a file tells. A thousand clusters have 1,280 slots and 1,024 hidden units.
_MOST_WEIGHTS, _MOST_WIDTH = 2**27, 2**17
_MOST_SLOTS, _FEW_COMPONENTS = 64, 16  # slots for each component, which moves leave, of so many


def to_arrays(
    parts: Fitted | None, memory: Memory | None, point_shape: tuple[int, ...], columns: Columns
) -> dict[str, np.ndarray]:
    """What is no network weight by name, in which dots stand between the parts."""
    arrays: dict[str, np.ndarray] = {}
    if memory is not None:
        arrays |= {f"memory.{name}": value for name, value in memory.to_arrays().items()}
    if memory is not None or parts is not None:
        arrays["feature_shape"] = np.array(point_shape, np.int64)
        arrays["columns"] = as_bytes(columns.to_json())
    if parts is None:
        return arrays
    result, network = parts.result, parts.networks.clustering
    arrays |= {name.replace("/", "."): value for name, value in parts.state.to_arrays().items()}
    arrays["moves"] = np.array(dataclasses.astuple(result.moves))
    arrays["capacity"] = np.array(network.capacity)
    arrays["hidden_units"] = np.array(network.hidden_units)
    arrays["genealogy"] = as_bytes(parts.genealogy.to_json())
    arrays["identity"] = as_bytes(parts.identity.to_json())
    if result.groups is not None:
        arrays["valleys"] = result.groups.valleys
    if result.tree is not None:
        arrays["tree"] = as_bytes(result.tree.to_json())
    for name in ("labels", "waiting", "unlike"):
        if (value := getattr(result, name)) is not None:
            arrays[name] = np.array(value)
    return arrays


def read_result(arrays: Mapping[str, Any], num_components: int, capacity: int) -> FitResult:
    """The result of a fit from what `to_arrays` gave, with slashes for dots.

    Raises:
        ValueError: unless it is of so many components, and they have so many slots.
    """
    if not num_components <= capacity <= _MOST_SLOTS * max(num_components, _FEW_COMPONENTS):
        checks.fail("capacity", capacity, f"slots for {num_components} components")
    found: dict[str, Any] = {"moves": MoveCounts(*as_integers(arrays["moves"]))}
    if "genealogy" in arrays:
        found["identity"] = Identity.from_json(as_text(arrays["identity"]))
    for name in ("genealogy", "tree"):
        if name in arrays:
            found[name] = Genealogy.from_json(as_text(arrays[name]))
    if "valleys" in arrays:
        groups = ComponentGroups.from_valleys(np.asarray(arrays["valleys"]))
        if groups.valleys.shape != (num_components, num_components):
            checks.fail("valleys", groups.valleys.shape, f"of {num_components} components")
        found["groups"] = groups
    if "labels" in arrays:
        labels = found["labels"] = np.array(arrays["labels"])
        if labels.size and not 0 <= labels.min() <= labels.max() < num_components:
            checks.fail("labels", "labels out of range", f"below {num_components}")
    if "waiting" in arrays:
        found["waiting"] = np.array(arrays["waiting"])
    if "unlike" in arrays:
        found["unlike"] = as_integers(arrays["unlike"])
    return FitResult(**found)


def checked_sizes(config: dict[str, Any]) -> dict[str, int]:
    """Returns sizes of networks from a file, or raises where no memory would hold them."""
    names = ("feature_dim", "hidden_units", "capacity")
    sizes = {name: checks.integer(config[name], name, minimum=1) for name in names}
    width = max(sizes["feature_dim"], sizes["hidden_units"])
    if sizes["capacity"] * width > _MOST_WEIGHTS or width > _MOST_WIDTH:
        checks.fail("capacity", config, "sizes of networks that memory holds")
    return sizes


def as_integers(values: Any) -> tuple[int, ...]:
    """Values `[n]` of a file as integers of Python."""
    return tuple(int(value) for value in np.array(values))
