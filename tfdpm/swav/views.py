"""Batches of views: one tensor `[B, V, H, W, C]` per resolution."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import tensorflow as tf

from tfdpm import checks
from tfdpm.data.sequences import as_dataset, is_sequence


def is_images(data: Any) -> bool:
    """Whether data are images, of which views are to be made, rather than batches of crops.

    Crops have five axes. Generators are batches of crops.
    """
    first = data[0] if isinstance(data, list | tuple) and len(data) else data
    if isinstance(first, tuple):  # crops, before labels
        return False
    if isinstance(first, str | os.PathLike | list):
        return True
    if isinstance(first, tf.data.Dataset):
        first = tf.nest.flatten(first.element_spec)[0]
    shape = getattr(first, "shape", None)
    return shape is not None and len(shape) != 5


def read_sequence(data: Any) -> Any:
    """Images of a `PyDataset`, a generator or a loader as a stream; other data unchanged."""
    if not is_sequence(data):
        return data
    if not hasattr(data, "__next__"):  # it can be read again
        return as_dataset(data, "x") if is_images(next(iter(data))) else data
    read = list(itertools.islice(data, 1))
    data = (element for element in itertools.chain(read, data))
    return data if read and not is_images(read[0]) else as_dataset(data, "x")


def split_off(images: Any, share: float) -> tuple[Any, Any]:
    """The first images of an array or a list, and a share of them, the last."""
    share = checks.number(share, "validation_split", minimum=0.0, maximum=1.0)
    if isinstance(images, tuple):  # labels stand beside the images
        images = images[0]
    if not is_images(images) or isinstance(images, str | os.PathLike | tf.data.Dataset):
        wanted = "an array or a list of images, or validation_data"
        checks.fail("validation_split", f"{share} of a {type(images).__name__}", wanted)
    count = math.floor(len(images) * (1.0 - share))
    if not 0 < count < len(images):
        checks.fail("validation_split", share, f"a share of the {len(images)} images")
    return images[:count], images[count:]


def unpack(data) -> tuple[tf.Tensor, ...]:
    """Returns the crops of a batch and ignores labels behind them."""
    if not isinstance(data, list | tuple):
        return (data,)
    if not (data and isinstance(data[0], list | tuple)):
        return tuple(views for views in data if views is not None)
    if len(data) > 2 and data[2] is not None:
        checks.fail("sample_weight", "weights", "None: images are compared with each other")
    return tuple(data[0])


def indices_of(data) -> tf.Tensor:
    """Returns the places of the images `[B]` that stand behind the crops of a batch."""
    is_pair = isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple)
    if not is_pair or len(data) < 2 or data[1] is None:
        wanted = "crops with the indices of their images, as `multicrop(..., with_index=True)`"
        checks.fail("x", "crops alone", wanted)
    return data[1]


def checked_crops(crops, num_assigning: int) -> tuple[tf.Tensor, ...]:
    """Returns the crops of a batch after checking that a model can train on them."""
    crops = unpack(crops)
    for views in crops:
        shape = getattr(views, "shape", None)
        if shape is None or len(shape) != 5:
            got = f"a {type(views).__name__}" if shape is None else f"a tensor of shape {shape}"
            wanted = "crops [B, views, H, W, C] per resolution, as `tfdpm.data.multicrop` makes"
            checks.fail("x", got, wanted)
        if not views.dtype.is_floating:
            checks.fail("x", views.dtype.name, "standardised floating crops", TypeError)
    num_views = sum(views.shape[1] for views in crops)
    if num_views < 2 or crops[0].shape[1] < num_assigning:
        got = f"{crops[0].shape[1]} large crops of {num_views}"
        checks.fail("x", got, f"at least {num_assigning} large crops and 2 views")
    return crops
