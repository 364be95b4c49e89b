"""Files that the experiments of the papers need, where they come from, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.benchmarks.labelled import LabelledData, draw_points, read_labelled, thin_classes
from tfdpm.data import gaussian_mixture, load
from tfdpm.data.files import image_files

_AUTHORS = "the embeddings that the authors ship with github.com/BGU-CS-VIL/DeepDPM"
_CLASSIC = f"{_AUTHORS}, train and test merged"


class Source(NamedTuple):
    """The files of a data set.

    Attributes:
        files: file names of which one is needed; each has arrays `x` and `y`.
        origin: where the data come from, in words.
    """

    files: tuple[str, ...]
    origin: str


class ImageFolders(NamedTuple):
    """Image files whose folder is their class.

    Attributes:
        name: name in tables and records.
        train: paths of the training images.
        validation: paths of the validation images.
        weights: folder that may hold the authors' published weights.
    """

    name: str
    train: list[str]
    validation: list[str]
    weights: Path


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
    "imagenet features": Source(
        ("imagenet_moco.npz",), "features of ImageNet by the public MoCo weights (supplement 7.2)"
    ),
    "imagenet50": Source(
        ("imagenet50_moco.npz", "imagenet50.npz"), f"128 MoCo features; {_AUTHORS}"
    ),
    "imagenet50 imbalanced": Source(
        ("imagenet50_imbalanced_moco.npz", "imagenet50_imbalanced.npz"),
        f"128 MoCo features of the thinned set; {_AUTHORS}",
    ),
}
# What needs no file: "drawn" has as many classes as ImageNet.
AT_HAND = {
    "digits": partial(load, "digits"),
    "drawn": partial(gaussian_mixture, 1000, 8, 20_000, separation=3.0),
}
# Names under which `tfdpm.data.load` knows them.
_PUBLISHED = {"mnist images": "mnist", "reuters10k": "reuters10k"}
_IMAGE_SOURCES = {
    "cifar10": Source(("cifar10_train.npz",), "CIFAR-10 (TFDS name: cifar10)"),
    "mnist images": SOURCES["mnist images"],
}
_IMAGENET = (
    "no {folder}/train and val with a folder of images per class; they are ILSVRC2012 from "
    "image-net.org (the authors' weights, swav_800ep_pretrain.pth.tar and so on in the same "
    "folder, spare the training; github.com/facebookresearch/swav)"
)
THINNED = {f"{name} imbalanced": name for name in ("mnist", "usps", "fashion")}


def find_points(name: str, folder: Path, seed: int, max_points: int | None) -> LabelledData | str:
    """Reads a data set of [DeepDPM] from a folder.

    Args:
        name: key of `SOURCES` or `AT_HAND`; or "mnist", "usps" or "fashion" followed by
            " imbalanced", thinned from the whole by the percentages of supplement 2.4.
        folder: folder with the files.
        seed: random seed of the thinning and of the points that are drawn.
        max_points: most points that are drawn; `None` for all of them.
    Returns:
        Points `[N, D]` with classes, or a line that says what is missing and where it comes from.
    """
    if name in AT_HAND:
        return draw_points(LabelledData(name, *AT_HAND[name]()), max_points, seed)
    whole = _find_file(SOURCES, THINNED.get(name, name), folder)
    if isinstance(whole, str):
        return whole
    data = read_labelled([whole])[0].as_rows()._replace(name=THINNED.get(name, name))
    if name in THINNED:
        data = thin_classes(data, seed)
    return draw_points(data, max_points, seed)


def download_sets(names: Sequence[str], folder: Path) -> None:
    """Fetches those of the data sets that their authors publish, and keeps them as files.

    A file that is there is left alone. Other data sets have to be brought by hand.
    """
    for name in names:
        if name in _PUBLISHED and isinstance(_find_file(SOURCES, name, folder), str):
            x, y = load(_PUBLISHED[name], "all", folder, download=True)
            np.savez(folder / SOURCES[name].files[0], x=x, y=y)


def find_images(
    name: str, folder: Path, seed: int, max_points: int | None
) -> LabelledData | ImageFolders | str:
    """Reads images on which numbers of [SwAV] are printed, or smaller images in their place.

    Args:
        name: "imagenet", "cifar10" or "mnist images".
        folder: folder with the files.
        seed: random seed of the images that are drawn.
        max_points: most training images that are drawn; `None` for all of them.
    Returns:
        Paths of ImageNet, images `[N, H, W, C]` uint8 with classes, or a line that says what is
        missing and where it comes from.
    """
    rng = np.random.default_rng([seed, 13])
    if name == "imagenet":
        train, validation = (image_files(str(folder / name / part)) for part in ("train", "val"))
        if not (train and validation):
            return f"imagenet: {_IMAGENET.format(folder=folder / name)}"
        chosen = np.sort(rng.permutation(len(train))[:max_points])
        return ImageFolders(name, [train[each] for each in chosen], validation, folder)
    path = _find_file(_IMAGE_SOURCES, name, folder)
    if isinstance(path, str):
        return path
    with np.load(path) as arrays:
        y = arrays["y"]
        chosen = np.sort(rng.permutation(len(y))[:max_points])
        x = _decode_jpeg(arrays, chosen) if "jpeg" in arrays else arrays["x"][chosen]
    return LabelledData(name, x, y[chosen]).as_images()


def _find_file(sources: dict[str, Source], name: str, folder: Path) -> Path | str:
    """Returns the first file of a source that exists, or a line that says what is missing."""
    source = sources[name]
    for file in source.files:
        if (folder / file).is_file():
            return folder / file
    return f"{name}: no {' or '.join(source.files)} in {folder}; it is {source.origin}"


def _decode_jpeg(arrays: np.lib.npyio.NpzFile, chosen: np.ndarray) -> np.ndarray:
    """Decodes the chosen images from JPEG files that are concatenated; `offsets` bounds each."""
    joined, offsets = arrays["jpeg"], arrays["offsets"]
    pieces = (joined[offsets[each] : offsets[each + 1]].tobytes() for each in chosen)
    return np.stack([tf.io.decode_jpeg(piece).numpy() for piece in pieces])
