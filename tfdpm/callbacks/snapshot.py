"""All that the rest of a fit depends on as arrays, from a model and back into one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from tfdpm.deepdpm import DeepDPM
from tfdpm.deepdpm.arrays import as_integers, checked_sizes
from tfdpm.interpret.genealogy import Genealogy, as_bytes, as_text
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.state import MixtureState

_PARTS = ("clustering", "subclustering", "optimizer", "subcluster_optimizer")
Arrays = dict[str, np.ndarray]


def take_learned(model: DeepDPM) -> Arrays:
    """All that further calls of `partial_fit` depend on, as arrays."""
    own: Arrays = {}
    model.save_own_variables(own)
    arrays = {f"own/{name}": np.asarray(value) for name, value in own.items()}
    arrays["sizes"] = as_bytes(json.dumps(model.get_build_config()))
    arrays["identity"] = as_bytes(json.dumps(_identity(model)))
    return arrays if model.parts is None else {**arrays, **_variables(model)}


def put_back_learned(model: DeepDPM, arrays: Arrays) -> None:
    """Brings a model of the same settings to where `take_learned` was called."""
    sizes = json.loads(as_text(arrays["sizes"]))
    if not model.compiled:
        model.compile()
    if sizes:
        networks = model.create_networks(**checked_sizes(sizes))
        if model.parts is not None:
            model.adopt(model.parts.replace(networks=networks))
    model.load_own_variables({k[4:]: each for k, each in arrays.items() if k.startswith("own/")})
    if sizes:
        _assign(model, arrays)


def _variables(model: DeepDPM) -> Arrays:
    """Variables of networks and optimisers."""
    return {
        f"{part}/{index}": np.asarray(variable)
        for part in _PARTS
        for index, variable in enumerate(getattr(model, part).variables)
    }


def _assign(model: DeepDPM, arrays: Arrays) -> None:
    """Gives networks and optimisers the values that `_variables` took."""
    for part in _PARTS:
        variables = getattr(model, part).variables
        count = sum(name.startswith(f"{part}/") for name in arrays)
        values = [arrays[f"{part}/{index}"] for index in range(count)]
        if [v.shape for v in variables] != [v.shape for v in values]:
            raise ValueError(f"{part} has weights of other shapes")
        for variable, value in zip(variables, values, strict=True):
            if not np.isfinite(value).all():
                raise ValueError(f"{part} has weights that are not finite")
            variable.assign(value)


def take_snapshot(model: DeepDPM) -> Arrays:
    """All that the rest of a fit depends on, as arrays; a saved model holds what predictions need.

    Nothing random is missing: every draw is a function of the seed and the epoch.
    """
    fitted = model.fitted
    arrays = {f"state/{name}": value for name, value in fitted.state.to_arrays().items()}
    arrays |= _variables(model)
    arrays["moves"] = np.array(dataclasses.astuple(fitted.result.moves))
    arrays["capacity"] = np.array(fitted.networks.capacity)
    start = fitted.state.epoch if model.trainer is None else model.trainer.start_epoch
    arrays["fit_start"] = np.array(start)
    arrays["genealogy"] = as_bytes(fitted.genealogy.to_json())
    arrays["identity"] = as_bytes(json.dumps(_identity(model)))
    return arrays


def differences(model: DeepDPM, arrays: Arrays) -> list[str]:
    """In what a snapshot is of a fit with other settings or data than this model's fit.

    Data show in the preprocessing and the prior that they lead to, up to the rounding of another
    processor.
    """
    own = model.fitted.state.to_arrays()
    pairs = [
        (own[name], arrays[f"state/{name}"])
        for name in own
        # Checkpoints of before lack what was not known then.
        if name.startswith(("preprocessing/", "prior/")) and f"state/{name}" in arrays
    ]
    is_same = all(
        mine.shape == kept.shape and np.allclose(mine, kept, rtol=1e-6, atol=1e-9)
        for mine, kept in pairs
    )
    return [*changed_settings(model, arrays), *([] if is_same else ["data"])]


def changed_settings(model: DeepDPM, arrays: Arrays) -> list[str]:
    """The settings and arguments that are not those of the snapshot."""
    kept, wanted = json.loads(as_text(arrays["identity"])), _identity(model)
    # What came later than the snapshot is the program's.
    config = {**wanted["config"], **kept["config"]}
    changed = [name for name, value in config.items() if wanted["config"].get(name) != value]
    if "given" in kept:
        mine, theirs = wanted.get("given", {}), kept["given"]
        changed += [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
    return changed if kept["seed"] == wanted["seed"] else [*changed, "seed"]


def put_back(model: DeepDPM, arrays: Arrays) -> None:
    """Brings a model whose fit has begun to where a snapshot without `differences` was taken."""
    capacity = int(arrays["capacity"])
    network = model.clustering
    sizes = {"feature_dim": network.hidden.kernel.shape[0], "hidden_units": network.hidden_units}
    checked_sizes({**sizes, "capacity": capacity})
    if capacity > model.fitted.networks.capacity:
        networks = model.fitted.networks.grown_to(capacity)
        model.adopt(model.fitted.replace(networks=networks))
    _assign(model, arrays)
    states = {name[6:]: value for name, value in arrays.items() if name.startswith("state/")}
    model.adopt(
        model.fitted.replace(
            state=MixtureState.from_arrays(states),
            moves=MoveCounts(*as_integers(arrays["moves"])),
            genealogy=Genealogy.from_json(as_text(arrays["genealogy"])),
            labels=None,
            groups=None,
            tree=None,
        )
    )


def _identity(model: DeepDPM) -> dict[str, Any]:
    """What two fits must share for one to go on where the other stopped, besides their data."""
    given = {} if model.trainer is None else {"given": model.trainer.given}
    return {"config": dataclasses.asdict(model.config), "seed": model.seed, **given}
