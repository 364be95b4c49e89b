"""Points that are kept apart from a fit and scored after its epochs."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import Inputs, as_features, as_weights
from tfdpm.deepdpm.reading import ROWS_AT_ONCE
from tfdpm.features.apply_encoder import takes_text


class Validation(NamedTuple):
    """Points to score, how often, and how many at once."""

    inputs: Inputs
    every_epochs: int
    batch_size: int

    def scores(self, model: Any, epoch: int) -> dict[str, float]:
        """What the logs of an epoch tell of the points: scores whose names begin with `val_`."""
        if (epoch + 1) % self.every_epochs:
            return {}
        model.check_points(self.inputs.feature_shape, "validation_data")
        scores = model.score_inputs(self.inputs, rows=self.batch_size)
        return {f"val_{name}": value for name, value in scores.items()}


def as_validation(
    data: Any,
    every_epochs: int,
    batch_size: int | None,
    columns: Columns | None,
    encoder: keras.Model | None,
) -> Validation:
    """Points, `(x, y)` or `(x, y, weights)` as `fit` takes them for validation.

    Raises:
        ValueError, TypeError: naming the argument, what came and what was wanted.
    """
    options = {"minimum_points": 1, "columns": columns, "takes_text": takes_text(encoder)}
    inputs = as_features(data, name="validation_data", **options).in_memory(minimum_points=1)
    return _validation(inputs, every_epochs, batch_size)


def split_off(
    inputs: Inputs, share: float, every_epochs: int, batch_size: int | None, sample_weight: Any
) -> tuple[Inputs, Validation, Any]:
    """The first points of an array with their weights, and a share of them, the last, to score."""
    checks.number(share, "validation_split", minimum=0.0, maximum=1.0)
    if inputs.array is None:
        wanted = "an array, or validation_data"
        checks.fail("validation_split", f"{share} of a stream that is not held", wanted)
    count = int(np.floor(len(inputs.array) * (1.0 - share)))
    if not 0 < count < len(inputs.array):
        checks.fail("validation_split", share, f"a share of the {len(inputs.array)} points")
    first, last = (_rows(inputs, chosen) for chosen in (slice(count), slice(count, None)))
    if sample_weight is not None:
        sample_weight = as_weights(sample_weight, len(inputs.array))
        last = dataclasses.replace(last, weights=sample_weight[count:])
        sample_weight = sample_weight[:count]
    return first, _validation(last, every_epochs, batch_size), sample_weight


def _validation(inputs: Inputs, every_epochs: int, batch_size: int | None) -> Validation:
    every_epochs = checks.integer(every_epochs, "validation_freq", minimum=1)
    rows = ROWS_AT_ONCE if batch_size is None else batch_size
    batch_size = checks.integer(rows, "validation_batch_size", minimum=1)
    return Validation(inputs, every_epochs, batch_size)


def _rows(inputs: Inputs, chosen: slice) -> Inputs:
    parts = {name: getattr(inputs, name) for name in ("array", "labels", "weights")}
    parts = {name: part[chosen] for name, part in parts.items() if part is not None}
    return dataclasses.replace(inputs, **parts, num_points=len(parts["array"]))
