"""Labelled images on which SwAV's numbers are printed, and smaller ones that stand in for them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.data.images.sources import image_files

__all__ = ["ImageFolders", "ImageArrays", "find_images"]


class ImageArrays(NamedTuple):
    """Images in memory.

    Attributes:
        name: for the tables.
        x: `[N, H, W, C]` uint8.
        y: `[N]` classes.
    """

    name: str
    x: np.ndarray
    y: np.ndarray


class ImageFolders(NamedTuple):
    """Image files whose folder is their class.

    Attributes:
        name: for the tables.
        train, validation: paths.
        weights: folder where the authors' published weights may lie.
    """

    name: str
    train: list[str]
    validation: list[str]
    weights: Path


def find_images(
    name: str, folder: Path, seed: int, max_points: int | None
) -> ImageArrays | ImageFolders | str:
    """A data set from a folder, or one line that says what is missing and where it comes from.

    Args:
        name: "imagenet", "cifar10" or "mnist images".
        folder: that holds the files.
        seed: of what is left out.
        max_points: most images for training; `None` for all.
    """
    rng = np.random.default_rng([seed, 13])
    if name == "imagenet":
        parts = [image_files(str(folder / name / part)) for part in ("train", "val")]
        if not all(parts):
            return (
                f"imagenet: no {folder / name}/train and val with a folder of images per class; "
                "they are ILSVRC2012 from image-net.org (the authors' weights, "
                "swav_800ep_pretrain.pth.tar and so on in the same folder, spare the training; "
                "github.com/facebookresearch/swav)"
            )
        chosen = rng.permutation(len(parts[0]))[:max_points]
        return ImageFolders(name, [parts[0][each] for each in np.sort(chosen)], parts[1], folder)
    files = {
        "cifar10": ("cifar10_train.npz",),
        "mnist images": ("mnist_images.npz", "mnist_t10k_images.npz"),
    }[name]
    paths = [folder / file for file in files if (folder / file).is_file()]
    if not paths:
        origin = {"cifar10": "CIFAR-10 (TFDS name: cifar10)", "mnist images": "MNIST (mnist)"}[name]
        return f"{name}: no {' or '.join(files)} in {folder}; it is {origin}"
    with np.load(paths[0]) as arrays:
        y = arrays["y"]
        chosen = np.sort(rng.permutation(len(y))[:max_points])
        x = _decoded(arrays, chosen) if "jpeg" in arrays else arrays["x"][chosen]
    return ImageArrays(name, x if x.ndim == 4 else x[..., np.newaxis], y[chosen])


def _decoded(arrays, chosen: np.ndarray) -> np.ndarray:
    """Images of JPEG files that lie one behind the other, between `offsets`."""
    joined, offsets = arrays["jpeg"], arrays["offsets"]
    pieces = (joined[offsets[each] : offsets[each + 1]].tobytes() for each in chosen)
    return np.stack([tf.io.decode_jpeg(piece).numpy() for piece in pieces])
