"""USPS, handwritten digits of 16 x 16 pixels, from either of its two published forms."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data.catalogue.download import RemoteFile, find_files

__all__ = ["FILES", "load"]

_SIDE = 16
_URL = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"

# LIBSVM's form first, then the form of "The Elements of Statistical Learning".
FILES = {
    "train": RemoteFile(
        ("usps.bz2", "usps", "zip.train.gz", "zip.train"),
        _URL + "usps.bz2",
        "ec16c51db3855ca6c91edd34d0e9b197",
    ),
    "test": RemoteFile(
        ("usps.t.bz2", "usps.t", "zip.test.gz", "zip.test"),
        _URL + "usps.t.bz2",
        "8ea070ee2aca1ac39742fdd1ef5ed118",
    ),
}


def load(
    folder: Path, split: str = "train", *, download: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Reads images `[N, 16, 16, 1]` float32 from 0 to 1 (ink) and digits `[N]`.

    Args:
        folder: folder with `usps.bz2` and `usps.t.bz2` (LIBSVM), or with `zip.train.gz` and
            `zip.test.gz` (a digit and 256 grey values from -1 to 1 in each line), packed or not.
        split: part, "train" (7,291 digits), "test" (2,007), or "train+test", also called "all".
        download: whether missing files may be downloaded from LIBSVM's page.
    Raises:
        ValueError: if there is no such part, or a file holds something else.
        FileNotFoundError: if files are missing; it names them and their addresses.
    """
    wanted = "train+test" if split == "all" else split
    checks.one_of(wanted, "split", ("train", "test", "train+test", "all"))
    parts = wanted.split("+")
    paths = find_files([FILES[part] for part in parts], folder, download=download, name="usps")
    pieces = [_read(path) for path in paths]
    x, y = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return x, y


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    openers: dict[str, Callable[..., IO[str]]] = {".bz2": bz2.open, ".gz": gzip.open}
    rows: list[NDArray[np.float64]] = []
    parse = _parse_plain_row if path.name.startswith("zip.") else _parse_libsvm_row
    try:
        with openers.get(path.suffix, open)(path, "rt", encoding="ascii") as file:
            rows = [parse(line.split()) for line in file if line.strip()]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise ValueError(f"`data`: got {str(path)!r}, which is damaged, wanted USPS.") from error
    table = np.array(rows).reshape(-1, 1 + _SIDE**2)
    digits, grey = table[:, 0].astype(np.int64), table[:, 1:]
    if len(table) == 0 or digits.min() < 0 or digits.max() > 9 or np.abs(grey).max() > 1.001:
        checks.fail("data", f"{str(path)!r} with other contents", "digits, and grey from -1 to 1")
    images = np.clip((grey + 1) / 2, 0.0, 1.0).reshape(-1, _SIDE, _SIDE, 1)
    return images.astype(np.float32), digits


def _parse_plain_row(cells: Iterable[str]) -> NDArray[np.float64]:
    """Reads a digit and then grey values."""
    row = np.array([float(cell) for cell in cells])
    if row.shape != (1 + _SIDE**2,):
        raise ValueError(f"{len(row)} values in a line")
    return row


def _parse_libsvm_row(cells: list[str]) -> NDArray[np.float64]:
    """Reads class 1 to 10 (digit + 1), then `index:value` from index 1; missing values are 0."""
    row = np.zeros(1 + _SIDE**2)
    row[0] = int(float(cells[0])) - 1
    for cell in cells[1:]:
        index, _, value = cell.partition(":")
        if not 1 <= int(index) <= _SIDE**2:
            raise ValueError(f"index {index}")
        row[int(index)] = float(value)
    return row
