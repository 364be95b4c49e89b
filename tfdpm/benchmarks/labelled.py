"""Data sets with known classes: how they are read from files, thinned by class and subsampled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import preprocessing

from tfdpm import checks
from tfdpm.data import imbalance

# The start of a file's name -> the data set whose printed percentages thin its classes.
_THINNED_LIKE = {"mnist": "mnist", "usps": "usps", "fashion": "fashion_mnist"}


class LabelledData(NamedTuple):
    """Points and their classes; only the scores use the classes.

    Attributes:
        name: name in tables and records.
        x: `[N, ...]` points or images.
        y: `[N]` classes.
        references: several labellings `[N]` that are right, the first of them y; 0 means noise,
            which is not scored. None where y is the only one and has no noise.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    references: tuple[np.ndarray, ...] = ()

    @property
    def reference_k(self) -> list[int]:
        """Number of classes of each reference, noise left out."""
        return [len(np.unique(labels[labels > 0])) for labels in self.references]

    @property
    def true_k(self) -> int:
        """Number of classes, of the first reference where there are several."""
        return self.reference_k[0] if self.references else len(np.unique(self.y))

    def as_rows(self, *, normalize: bool = False, dtype: type = np.float32) -> LabelledData:
        """Returns the same data with x as `[N, D]` floats, if asked with rows of unit length."""
        x = self.x.reshape(len(self.x), -1).astype(dtype)
        return self._replace(x=preprocessing.normalize(x) if normalize else x)

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
    return [_read_file(Path(path), "--data") for path in paths]


def read_suite(folder: str | Path, only: str = "") -> list[LabelledData]:
    """Reads the .npz files of a folder, sorted by name, with further references `y_1`, `y_2`, ...

    Files have `x` `[N, ...]`, and `y` `[N]` in which 0 means noise; their names contain `only`.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there is no such file, an array is missing or has the wrong shape, or a
            reference has no class above 0.
    """
    folder = Path(folder)
    if not folder.is_dir():
        checks.fail("FOLDER", repr(str(folder)), "an existing folder", FileNotFoundError)
    paths = [path for path in sorted(folder.glob("*.npz")) if only in path.stem]
    if not paths:
        named = f" whose name contains {only!r}" if only else ""
        checks.fail("FOLDER", f"no .npz file{named} in {folder}", "at least one")
    return [_read_references(path, _read_file(path, "FOLDER")) for path in paths]


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
    references = tuple(labels[chosen] for labels in data.references)
    return LabelledData(data.name, data.x[chosen], data.y[chosen], references)


def _read_file(path: Path, argument: str) -> LabelledData:
    with np.load(path) as arrays:
        for name in ("x", "y"):
            if name not in arrays:
                checks.fail(argument, f"{path} with {', '.join(arrays)}", "arrays x and y")
        x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != (len(x),):
        checks.fail(argument, f"x {x.shape} and y {y.shape} in {path}", "x [N, ...] and y [N]")
    return LabelledData(path.stem, x, y)


def _read_references(path: Path, data: LabelledData) -> LabelledData:
    """Returns what was read from a file with all of its references."""
    with np.load(path) as arrays:
        found = {name: arrays[name] for name in arrays if name == "y" or name.startswith("y_")}
    for name, labels in found.items():
        is_right = labels.shape == data.y.shape and labels.dtype.kind in "iuf"
        if not is_right or not (labels > 0).any():
            got = f"{name} {labels.dtype} {labels.shape} in {path}"
            checks.fail("FOLDER", got, f"{len(data.y)} numbers of classes, not all of them 0")
    others = [found[name] for name in sorted(found.keys() - {"y"})]
    return data._replace(references=(data.y, *others))
