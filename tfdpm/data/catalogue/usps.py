"""USPS, handwritten digits of 16 x 16 pixels, from either of its two published forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks
from tfdpm.data.catalogue.download import RemoteFile, find_files

_SIDE = 16
_URL = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"

# LIBSVM's form first, then the form of "The Elements of Statistical Learning".
FILES = {
    part: RemoteFile(
        (f"{name}.bz2", name, f"zip.{part}.gz", f"zip.{part}"), f"{_URL}{name}.bz2", md5
    )
    for part, name, md5 in (
        ("train", "usps", "ec16c51db3855ca6c91edd34d0e9b197"),
        ("test", "usps.t", "8ea070ee2aca1ac39742fdd1ef5ed118"),
    )
}


def load(
    folder: Path, split: str = "train", *, download: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Reads images `[N, 16, 16, 1]` float32 from 0 to 1 (ink) and digits `[N]`.

    Files are those of LIBSVM, or `zip.train.gz` and `zip.test.gz` (a digit and 256 grey values from
    -1 to 1 in each line), packed or not. There are 7,291 digits in "train" and 2,007 in "test".
    """
    checks.one_of(split, "split", ("train", "test", "train+test", "all"))
    files = list(FILES.values()) if split == "all" else [FILES[part] for part in split.split("+")]
    paths = find_files(files, folder, download=download, name="usps")
    x, y = (np.concatenate(part) for part in zip(*map(_read, paths), strict=True))
    return x, y


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_svmlight_file

    try:
        if path.name.startswith("zip."):
            table = np.loadtxt(path, ndmin=2, encoding="ascii")
            digits, grey = table[:, 0], table[:, 1:].reshape(len(table), _SIDE**2)
        else:  # classes from 1 to 10, and `index:value` from index 1; missing values are 0
            rows, classes = load_svmlight_file(str(path), n_features=_SIDE**2, zero_based=False)
            digits, grey = classes - 1, rows.toarray()
    except (OSError, EOFError, ValueError, IndexError):
        checks.fail("data", f"{str(path)!r}, which is damaged", "USPS")
    if len(grey) == 0 or digits.min() < 0 or digits.max() > 9 or np.abs(grey).max() > 1.001:
        checks.fail("data", f"{str(path)!r} with other contents", "digits, and grey from -1 to 1")
    images = np.clip((grey + 1) / 2, 0.0, 1.0).reshape(-1, _SIDE, _SIDE, 1)
    return images.astype(np.float32), digits.astype(np.int64)
