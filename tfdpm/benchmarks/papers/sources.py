"""Which files an experiment needs, where they come from, and which are there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfdpm.benchmarks.labelled import LabelledData, read_labelled, thin_classes

__all__ = ["SOURCES", "Source", "find"]

_AUTHORS = "the embeddings that the authors ship with github.com/BGU-CS-VIL/DeepDPM"
_CLASSIC = f"{_AUTHORS}, train and test merged"


class Source(NamedTuple):
    """A data set of the paper.

    Attributes:
        files: names under which it is looked for; arrays `x` and `y`.
        origin: where it comes from, in words.
    """

    files: tuple[str, ...]
    origin: str


SOURCES = {
    "mnist": Source(("mnist_umap.npz", "mnist.npz"), _CLASSIC),
    "usps": Source(("usps_umap.npz", "usps.npz"), _CLASSIC),
    "fashion": Source(("fashion_umap.npz", "fashion.npz"), _CLASSIC),
    "mnist images": Source(
        ("mnist_images.npz", "mnist_t10k_images.npz"), "the images of MNIST (TFDS name: mnist)"
    ),
    "stl10": Source(
        ("stl10_moco.npz", "stl10.npz"),
        "MoCo features of STL-10 (1,000 epochs on its training set, supplement 7.2)",
    ),
    "reuters10k": Source(
        ("reuters10k.npz",), "10,000 documents of RCV1 in 4 classes as 2,000 tf-idf values"
    ),
    "imagenet50": Source(
        ("imagenet50_moco.npz", "imagenet50.npz"), f"128 MoCo features; {_AUTHORS}"
    ),
    "imagenet50 imbalanced": Source(
        ("imagenet50_imbalanced_moco.npz", "imagenet50_imbalanced.npz"),
        f"128 MoCo features of the thinned set; {_AUTHORS}",
    ),
}
_THINNED = {f"{name} imbalanced": name for name in ("mnist", "usps", "fashion")}


def find(name: str, folder: Path, seed: int) -> LabelledData | str:
    """A data set from a folder, or one line that says what is missing and where it comes from.

    Args:
        name: of `SOURCES`, or one of its classical sets followed by " imbalanced", which is thinned
            from the balanced one by the percentages of supplement 2.4.
        folder: that holds the files.
        seed: of the thinning.
    """
    if name in _THINNED:
        whole = find(_THINNED[name], folder, seed)
        if isinstance(whole, str):
            return whole
        return thin_classes(whole, seed)._replace(name=name)
    source = SOURCES[name]
    for file in source.files:
        if (folder / file).is_file():
            return read_labelled([folder / file])[0]._replace(name=name)
    return f"{name}: no {' or '.join(source.files)} in {folder}; it is {source.origin}"
