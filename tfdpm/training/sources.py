"""The source of a fit's points: an array in memory or a stream, which answer the same questions."""

from __future__ import annotations

import numpy as np

from tfdpm import checks
from tfdpm.data.inputs import Inputs
from tfdpm.features.apply_encoder import as_rows
from tfdpm.training.array_source import ArraySource
from tfdpm.training.stream_source import StreamSource

__all__ = ["Source", "source_of"]

Source = ArraySource | StreamSource


def source_of(inputs: Inputs, sample_weight) -> Source:
    """The source of a fit's points.

    Args:
        inputs: encoded where there is an encoder.
        sample_weight: `[N]` non-negative weights, or `None`; for arrays only.

    Raises:
        ValueError: naming `sample_weight`.
    """
    if inputs.array is None:
        if sample_weight is not None:
            checks.fail("sample_weight", "weights beside a stream", "None for a stream")
        return StreamSource(inputs.dataset.map(as_rows), inputs.num_points)
    if sample_weight is None:
        return ArraySource(as_rows(inputs.array))
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (len(inputs.array),):
        checks.fail("sample_weight", f"shape {weights.shape}", f"[{len(inputs.array)}]")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        checks.fail("sample_weight", "negative, infinite or no weight", "weights >= 0")
    return ArraySource(as_rows(inputs.array), weights)
