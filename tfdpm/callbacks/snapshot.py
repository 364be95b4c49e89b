"""All that the rest of a fit depends on, as arrays: taken between epochs, put back later.

A saved model holds what predictions need. A snapshot also holds where the fit stands.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdpm import checks
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.state import ModelState

if TYPE_CHECKING:
    from tfdpm.deepdpm.model import DeepDPM

_PARTS = ("clustering", "subclustering", "optimizer", "subcluster_optimizer")


def take(model: DeepDPM) -> dict[str, np.ndarray]:
    """Weights, optimisers' slots, mixture, statistics, capacity and progress of a fit.

    Nothing random is missing: every draw is a function of the seed and the epoch.
    """
    arrays = {f"state/{name}": value for name, value in model._state.to_arrays().items()}
    for part in _PARTS:
        for index, variable in enumerate(getattr(model, part).variables):
            arrays[f"{part}/{index}"] = np.asarray(variable)
    arrays["moves"] = np.array(dataclasses.astuple(model._moves))
    arrays["capacity"] = np.array(model.clustering.capacity)
    arrays["fit_start"] = np.array(model._fit_start)
    arrays["genealogy"] = as_bytes(model.tree_.to_json())
    arrays["identity"] = np.frombuffer(json.dumps(_identity(model)).encode(), np.uint8)
    return arrays


def fits(model: DeepDPM, arrays: dict[str, np.ndarray]) -> bool:
    """Whether a snapshot is of a fit with the settings and the data of this model's fit.

    Data show in the preprocessing and the prior that they lead to.
    """
    if json.loads(arrays["identity"].tobytes()) != _identity(model):
        return False
    own = model._state.to_arrays()
    return all(
        np.array_equal(own[name], arrays[f"state/{name}"])
        for name in own
        if name.startswith(("preprocessing/", "prior/"))
    )


def is_of_earlier_fit(model: DeepDPM, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the model's present fit began at another epoch than that of the snapshot."""
    return int(arrays["fit_start"]) != model._fit_start


def put_back(model: DeepDPM, arrays: dict[str, np.ndarray]) -> None:
    """Brings a model whose fit has begun to where the snapshot was taken.

    Args:
        model: for which `fits` is true.
        arrays: from `take`.

    Raises:
        ValueError: if networks or optimisers have other shapes than those of the snapshot.
    """
    if int(arrays["capacity"]) > model.clustering.capacity:
        model._grow(int(arrays["capacity"]))
    for part in _PARTS:
        variables = getattr(model, part).variables
        count = sum(name.startswith(f"{part}/") for name in arrays)
        values = [arrays[f"{part}/{index}"] for index in range(count)]
        if [v.shape for v in variables] != [v.shape for v in values]:
            checks.fail(part, "weights of other shapes", "those of the fit that is taken up")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    states = {name[6:]: value for name, value in arrays.items() if name.startswith("state/")}
    model._state = ModelState.from_arrays(states)
    model._moves = MoveCounts(*(int(count) for count in arrays["moves"]))
    model._genealogy = Genealogy.from_json(as_text(arrays["genealogy"]))
    model._labels = None


def _identity(model: DeepDPM) -> dict[str, Any]:
    """What two fits must share for one to go on where the other stopped, besides their data."""
    return {"config": dataclasses.asdict(model.config), "seed": model.seed}
