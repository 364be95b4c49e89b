"""All that the rest of a fit depends on, as arrays: taken between epochs, put back later.

A saved model holds what predictions need. A snapshot also holds where the fit stands.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.deepdpm import DeepDPM
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.state import MixtureState

_PARTS = ("clustering", "subclustering", "optimizer", "subcluster_optimizer")


def take(model: DeepDPM) -> dict[str, np.ndarray]:
    """Weights, optimizers' slots, mixture, statistics, capacity and progress of a fit.

    Nothing random is missing: every draw is a function of the seed and the epoch.
    """
    fitted = model.fitted
    arrays = {f"state/{name}": value for name, value in fitted.state.to_arrays().items()}
    for part in _PARTS:
        for index, variable in enumerate(getattr(model, part).variables):
            arrays[f"{part}/{index}"] = np.asarray(variable)
    arrays["moves"] = np.array(dataclasses.astuple(fitted.result.moves))
    arrays["capacity"] = np.array(fitted.networks.capacity)
    start = fitted.state.epoch if model.trainer is None else model.trainer.start_epoch
    arrays["fit_start"] = np.array(start)
    arrays["genealogy"] = as_bytes(fitted.genealogy.to_json())
    arrays["identity"] = as_bytes(json.dumps(_identity(model)))
    return arrays


def fits(model: DeepDPM, arrays: dict[str, np.ndarray]) -> bool:
    """Whether a snapshot is of a fit with the settings and the data of this model's fit.

    Data show in the preprocessing and the prior that they lead to.
    """
    if json.loads(as_text(arrays["identity"])) != _identity(model):
        return False
    own = model.fitted.state.to_arrays()
    return all(
        np.array_equal(own[name], arrays[f"state/{name}"])
        for name in own
        if name.startswith(("preprocessing/", "prior/"))
    )


def is_of_earlier_fit(model: DeepDPM, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the model's present fit began at another epoch than that of the snapshot."""
    return int(arrays["fit_start"]) != model.trainer.start_epoch


def put_back(model: DeepDPM, arrays: dict[str, np.ndarray]) -> None:
    """Brings a model whose fit has begun to where the snapshot was taken.

    Args:
        model: the model, for which `fits` is true.
        arrays: result of `take`.

    Raises:
        ValueError: if networks or optimizers have other shapes than those of the snapshot.
    """
    capacity = int(arrays["capacity"])
    if capacity > model.fitted.networks.capacity:
        networks = model.fitted.networks.grown_to(capacity)
        model.adopt(model.fitted.replace(networks=networks))
    for part in _PARTS:
        variables = getattr(model, part).variables
        count = sum(name.startswith(f"{part}/") for name in arrays)
        values = [arrays[f"{part}/{index}"] for index in range(count)]
        if [v.shape for v in variables] != [v.shape for v in values]:
            checks.fail(part, "weights of other shapes", "those of the fit that is taken up")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    states = {name[6:]: value for name, value in arrays.items() if name.startswith("state/")}
    model.adopt(
        model.fitted.replace(
            state=MixtureState.from_arrays(states),
            moves=MoveCounts(*(int(count) for count in arrays["moves"])),
            genealogy=Genealogy.from_json(as_text(arrays["genealogy"])),
            labels=None,
        )
    )


def _identity(model: DeepDPM) -> dict[str, Any]:
    """What two fits must share for one to go on where the other stopped, besides their data."""
    return {"config": dataclasses.asdict(model.config), "seed": model.seed}
