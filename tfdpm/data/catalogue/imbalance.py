"""Imbalanced versions of known data sets on which deep clusterings are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfdpm import checks

_DIGITS = {8: 10, 2: 5, 5: 20, 9: 30}
_KEPT_PERCENT: dict[str, dict[int, int]] = {
    "mnist": _DIGITS,
    "usps": _DIGITS,
    "fashion_mnist": {0: 37, 3: 19, 5: 41, 7: 54, 8: 19},
}


def imbalance(
    x: ArrayLike, y: ArrayLike, name: str, *, seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Keeps those shares of the classes that [DeepDPM] supplement 2.4 prints for a data set.

    MNIST and USPS keep 10, 5, 20 and 30 % of classes 8, 2, 5 and 9; Fashion-MNIST keeps 37, 19,
    41, 54 and 19 % of classes 0, 3, 5, 7 and 8; other classes stay whole. Counts are rounded up.

    Args:
        x: points, `[N, ...]`.
        y: classes, `[N]` integers.
        name: data set, "mnist", "usps" or "fashion_mnist".
        seed: random seed, >= 0; the same seed keeps the same points.
    Returns:
        `x` and `y` of the kept points, in the same order and with the same dtypes.
    Raises:
        ValueError: if the name is unknown or the lengths differ.
    """
    percent = _KEPT_PERCENT[checks.one_of(name, "name", _KEPT_PERCENT)]
    rng = np.random.default_rng(checks.integer(seed, "seed", minimum=0))
    points, classes = np.asarray(x), np.asarray(y)
    if classes.ndim != 1 or points.shape[:1] != classes.shape:
        checks.fail("y", f"shape {classes.shape}", f"[N] classes for `x` of shape {points.shape}")
    kept = np.ones(len(classes), dtype=bool)
    for label, share in percent.items():
        members = np.flatnonzero(classes == label)
        count = -(-len(members) * share // 100)  # rounded up in integers, so 10 % of 10 is 1
        kept[rng.permutation(members)[count:]] = False
    return points[kept], classes[kept]
