"""Data sets with known classes: how they are read from files, thinned by class and subsampled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfdpm import checks
from tfdpm.data import imbalance

__all__ = ["LabelledData", "draw_points", "read_labelled", "thin_classes"]

# The start of a file's name -> the data set whose printed percentages thin its classes.
_THINNED_LIKE = {"mnist": "mnist", "usps": "usps", "fashion": "fashion_mnist"}


class LabelledData(NamedTuple):
    """Points and their classes; only the scores use the classes.

    Attributes:
        name: name in tables and records.
        x: `[N, ...]` points or images.
        y: `[N]` classes.
    """

    name: str
    x: np.ndarray
    y: np.ndarray

    @property
    def true_k(self) -> int:
        """Number of classes."""
        return len(np.unique(self.y))

    def as_rows(self, *, normalize: bool = False) -> LabelledData:
        """Returns the same data with x as `[N, D]` float32, if asked with rows of unit length."""
        x = self.x.reshape(len(self.x), -1).astype(np.float32)
        if normalize:
            lengths = np.linalg.norm(x, axis=1, keepdims=True)
            x = x / np.where(lengths > 0, lengths, 1)
        return self._replace(x=x)

    def as_images(self) -> LabelledData:
        """Returns the same data with x as `[N, H, W, C]`.

        Raises:
            ValueError: if x is neither `[N, H, W]` nor `[N, H, W, C]`.
        """
        if self.x.ndim not in (3, 4):
            wanted = "images x [N, H, W] or [N, H, W, C]"
            checks.fail("--data", f"x {self.x.shape} in {self.name}", wanted)
        return self._replace(x=self.x[..., np.newaxis] if self.x.ndim == 3 else self.x)


def read_labelled(paths: Sequence[str | Path]) -> list[LabelledData]:
    """Reads .npz files with arrays `x` `[N, ...]` and `y` `[N]`, each named after its file.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if there are no paths, or if an array is missing or has the wrong shape.
    """
    if not paths:
        checks.fail("--data", "no file", "at least one .npz file with arrays x and y")
    for path in paths:
        if not Path(path).is_file():
            checks.fail("--data", repr(str(path)), "an existing .npz file", FileNotFoundError)
    return [_read_file(Path(path)) for path in paths]


def thin_classes(data: LabelledData, seed: int) -> LabelledData:
    """Thins the classes of a known data set to the percentages of [DeepDPM] supplement 2.4.

    Raises:
        ValueError: if the name does not start with mnist, usps or fashion.
    """
    for start, name in _THINNED_LIKE.items():
        if data.name.startswith(start):
            x, y = imbalance(data.x, data.y, name, seed=seed)
            return LabelledData(f"{data.name} imbalanced", x, y)
    wanted = "a name that starts with " + ", ".join(_THINNED_LIKE)
    checks.fail("--imbalanced", f"a file called {data.name!r}", wanted)


def draw_points(data: LabelledData, max_points: int | None, seed: int) -> LabelledData:
    """Draws at most `max_points` points without replacement; `None` keeps all. Order stays."""
    if max_points is None or len(data.x) <= max_points:
        return data
    chosen = np.random.default_rng([seed, 11]).choice(len(data.x), max_points, replace=False)
    chosen.sort()
    return LabelledData(data.name, data.x[chosen], data.y[chosen])


def _read_file(path: Path) -> LabelledData:
    with np.load(path) as arrays:
        for name in ("x", "y"):
            if name not in arrays:
                checks.fail("--data", f"{path} with {', '.join(arrays)}", "arrays x and y")
        x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != (len(x),):
        checks.fail("--data", f"x {x.shape} and y {y.shape} in {path}", "x [N, ...] and y [N]")
    return LabelledData(path.stem, x, y)
