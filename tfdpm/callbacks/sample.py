"""The points that callbacks look at again and again: few enough, and in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.data.inputs import as_features

_MAX_POINTS = 5_000


def thinned_points(x: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Every n-th of more than 5,000 points `[N, ...]` in memory, and of their labels, if any."""
    inputs = as_features(x, y)
    if inputs.array is None:
        checks.fail("x", "a stream", "points in memory")
    stride = -(-len(inputs.array) // _MAX_POINTS)
    labels = None if inputs.labels is None else np.asarray(inputs.labels)[::stride]
    return inputs.array[::stride], labels
