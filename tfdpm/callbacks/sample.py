"""The points that callbacks look at again and again: few enough, and in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.data.inputs import as_features

__all__ = ["thinned_points"]

_MAX_POINTS = 5_000


def thinned_points(x: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Takes every n-th of more than 5,000 points.

    Args:
        x: `[N, ...]` points, as for `fit`, in memory.
        y: `[N]` labels; `None` for none.

    Returns:
        Points `[n, ...]`, and their labels `[n]` or `None`.

    Raises:
        ValueError: if `x` is a stream.
    """
    inputs = as_features(x, y)
    if inputs.array is None:
        checks.fail("x", "a stream", "points in memory")
    stride = -(-len(inputs.array) // _MAX_POINTS)
    labels = None if inputs.labels is None else np.asarray(inputs.labels)[::stride]
    return inputs.array[::stride], labels
