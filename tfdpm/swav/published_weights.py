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
from tfdpm.swav.heads import Prototypes
from tfdpm.swav.self_supervised import SelfSupervisedModel

_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
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
    model: SelfSupervisedModel, weights: str | os.PathLike | Mapping[str, Any]
) -> ConversionReport:
    """Copies published weights into a model with the same architecture.

    Args:
        model: `SwAV`, `DeepCluster` or `SeLa` of `resnet50(...)` with the file's width, head and
            prototypes. A file of the backbone alone leaves head and prototypes unchanged.
        weights: path of the PyTorch file, which needs PyTorch, or its state dictionary of arrays.
    Returns:
        Report on each key; keys of other shapes are left out.
    Raises:
        ImportError: if a file is given and PyTorch is not installed.
        ValueError: if no key fits the model at all.
    """
    state = weights if isinstance(weights, Mapping) else _read_file(os.fspath(weights))
    places = _places(model)
    converted, unused, mismatched = {}, [], {}
    for key, value in state.items():
        variable = places.get(key.removeprefix("module."))
        # Kernels `[out, in, height, width]` and `[out, in]` get the axes of Keras.
        array = np.asarray(value)
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if variable is None:
            unused.append(key)
        elif array.shape != tuple(variable.shape):
            mismatched[key] = f"file {array.shape}, model {tuple(variable.shape)}"
        else:
            variable.assign(array)
            converted[key] = variable.path
    if not converted:
        checks.fail("weights", f"keys such as {list(state)[:3]}", "keys of a published ResNet-50")
    filled = {key.removeprefix("module.") for key in converted}
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


def _places(model: SelfSupervisedModel) -> dict[str, Any]:
    """Returns the variables of a model by their names in the published files."""
    layers = {}
    for layer in model.backbone.layers:
        # `layer1_0_downsample_bn` is `layer1.0.downsample.1` there.
        name = layer.name.replace("sample_conv", "sample.0").replace("sample_bn", "sample.1")
        layers[name.replace("_", ".")] = layer
    head = model.head
    if head.hidden is None:
        layers["projection_head"] = head.output_layer
    else:
        layers["projection_head.0"] = head.hidden
        if head.norm is not None:
            layers["projection_head.1"] = head.norm
        layers[f"projection_head.{2 if head.norm is None else 3}"] = head.output_layer
    prototypes = getattr(model, "prototypes", ())
    if isinstance(prototypes, Prototypes):
        layers["prototypes"] = prototypes
    else:
        layers |= {f"prototypes.prototypes{index}": each for index, each in enumerate(prototypes)}
    return {
        f"{name}.{_NAMES.get(variable.name, variable.name)}": variable
        for name, layer in layers.items()
        for variable in layer.weights
    }
