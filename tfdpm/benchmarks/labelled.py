"""The data sets of a benchmark: points with known classes, from files, and their thinned versions.

Nothing here clusters or scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfdpm import checks
from tfdpm.data.catalogue import imbalance

__all__ = ["LabelledData", "fewer", "read_labelled", "thin_classes"]

# What the name of a file starts with -> whose printed percentages make its imbalanced version.
_THINNED_LIKE = {"mnist": "mnist", "usps": "usps", "fashion": "fashion_mnist"}


class LabelledData(NamedTuple):
    """Points and their classes, which only the scores see.

    Attributes:
        name: for the tables.
        x: `[N, D]` float32.
        y: `[N]` classes.
    """

    name: str
    x: np.ndarray
    y: np.ndarray

    @property
    def true_k(self) -> int:
        """Number of classes."""
        return len(np.unique(self.y))


def read_labelled(
    paths: Sequence[str | Path], *, normalize_rows: bool = False
) -> list[LabelledData]:
    """Reads .npz files with arrays `x` `[N, ...]` and `y` `[N]`; images become rows of pixels.

    Args:
        paths: at least one file.
        normalize_rows: brings each point to unit length.
    Raises:
        ValueError: if there is no file, or an array is missing or of another length.
    """
    if not paths:
        checks.fail("--data", "no file", "at least one .npz file with arrays x and y")
    return [_read(Path(path), normalize_rows) for path in paths]


def thin_classes(data: LabelledData, seed: int) -> LabelledData:
    """The version of a known data set that [DeepDPM] supplement 2.4 thins by printed percentages.

    Raises:
        ValueError: if the name does not start with mnist, usps or fashion.
    """
    for start, name in _THINNED_LIKE.items():
        if data.name.startswith(start):
            x, y = imbalance(data.x, data.y, name, seed=seed)
            return LabelledData(f"{data.name} imbalanced", x, y)
    wanted = "a name that starts with " + ", ".join(_THINNED_LIKE)
    checks.fail("--imbalanced", f"a file called {data.name!r}", wanted)


def fewer(data: LabelledData, max_points: int | None, seed: int) -> LabelledData:
    """At most `max_points` of the points (`None`: all), without replacement, in their order."""
    if max_points is None or len(data.x) <= max_points:
        return data
    chosen = np.random.default_rng([seed, 11]).choice(len(data.x), max_points, replace=False)
    chosen.sort()
    return LabelledData(data.name, data.x[chosen], data.y[chosen])


def _read(path: Path, normalize_rows: bool) -> LabelledData:
    with np.load(path) as arrays:
        for name in ("x", "y"):
            if name not in arrays:
                checks.fail("--data", f"{path} with {', '.join(arrays)}", "arrays x and y")
        x, y = arrays["x"], arrays["y"]
    if y.ndim != 1 or len(x) != len(y):
        checks.fail("--data", f"x {x.shape} and y {y.shape} in {path}", "x [N, ...] and y [N]")
    x = x.reshape(len(x), -1).astype(np.float32)
    if normalize_rows:
        lengths = np.linalg.norm(x, axis=1, keepdims=True)
        x = x / np.where(lengths > 0, lengths, 1)
    return LabelledData(path.stem, x, y)
