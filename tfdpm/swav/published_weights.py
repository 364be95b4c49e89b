"""Conversion of the authors' published weights, a PyTorch file, into Keras layers.

The weights are licensed CC BY-NC 4.0: users convert their own copy, and none is shipped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.swav.model import SwAV

_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclass(frozen=True)
class ConversionReport:
    """Report on each key of the file and each variable of the model.

    Attributes:
        converted: path of the variable by key.
        unused: keys without a variable.
        missing: paths of variables without a key.
        mismatched: shapes in the file and in the model by key.
    """

    converted: dict[str, str]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Tells whether every variable of the model got its values."""
        return not self.missing and not self.mismatched

    def __str__(self) -> str:
        lines = [f"{key} -> {path}" for key, path in self.converted.items()]
        lines += [f"{key}: {shapes}" for key, shapes in self.mismatched.items()]
        lines += [f"{key}: unused" for key in self.unused]
        lines += [f"{path}: not in the file" for path in self.missing]
        return "\n".join(lines)


def convert_published_weights(
    model: SwAV, weights: str | os.PathLike | Mapping[str, Any]
) -> ConversionReport:
    """Copies published weights into a model with the same architecture.

    Args:
        model: `SwAV` of `resnet50(...)` with the file's width, head and number of prototypes. A
            file of the backbone alone leaves head and prototypes unchanged.
        weights: path of the PyTorch file, which needs PyTorch, or its state dictionary of arrays.
    Returns:
        Report on each key; keys of other shapes are left out.
    Raises:
        ImportError: if a file is given and PyTorch is not installed.
        ValueError: if no key fits the model at all.
    """
    state = weights if isinstance(weights, Mapping) else _read_file(os.fspath(weights))
    places = _places(model)
    converted, unused, mismatched, filled = {}, [], {}, set()
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name not in places:
            unused.append(key)
            continue
        variable = places[name]
        array = _to_keras_layout(np.asarray(value))
        if array.shape != tuple(variable.shape):
            mismatched[key] = f"file {array.shape}, model {tuple(variable.shape)}"
            continue
        variable.assign(array)
        converted[key] = variable.path
        filled.add(name)
    if not converted:
        checks.fail("weights", f"keys such as {list(state)[:3]}", "keys of a published ResNet-50")
    missing = tuple(variable.path for name, variable in places.items() if name not in filled)
    return ConversionReport(converted, tuple(unused), missing, mismatched)


def _read_file(path: str) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "Reading a PyTorch file needs PyTorch: pip install torch, or pass its state dictionary."
        ) from error
    # Weights only: a downloaded file must not be able to run code.
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = content.get("state_dict", content)
    return {key: value.float().numpy() for key, value in state.items() if hasattr(value, "numpy")}


def _to_keras_layout(array: np.ndarray) -> np.ndarray:
    """Transposes kernels `[out, in, height, width]` and `[out, in]` to the axes of Keras."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _places(model: SwAV) -> dict[str, Any]:
    """Returns the variables of a model by their names in the published files."""
    places = {}
    for layer in model.backbone.layers:
        if layer.weights:
            places.update(_layer_places(_published_name(layer.name), layer))
    head = model.head
    if head.hidden is None:
        places.update(_layer_places("projection_head", head.output_layer))
    else:
        places.update(_layer_places("projection_head.0", head.hidden))
        if head.norm is not None:
            places.update(_layer_places("projection_head.1", head.norm))
        last = 3 if head.norm is not None else 2
        places.update(_layer_places(f"projection_head.{last}", head.output_layer))
    places["prototypes.weight"] = model.prototypes.kernel
    return places


def _layer_places(name: str, layer) -> dict[str, Any]:
    if hasattr(layer, "moving_mean"):
        return {f"{name}.{theirs}": getattr(layer, ours) for theirs, ours in _NORM.items()}
    places = {f"{name}.weight": layer.kernel}
    if getattr(layer, "bias", None) is not None:
        places[f"{name}.bias"] = layer.bias
    return places


def _published_name(name: str) -> str:
    """Translates a layer's name, such as `layer1_0_downsample_bn` to `layer1.0.downsample.1`."""
    name = name.replace("downsample_conv", "downsample.0").replace("downsample_bn", "downsample.1")
    return name.replace("_", ".")
