"""Batches of views: one tensor `[B, V, H, W, C]` per resolution."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from tfdpm import checks


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


def unpack(data) -> tuple[tf.Tensor, ...]:
    """Returns the crops of a batch and ignores labels behind them."""
    if not isinstance(data, list | tuple):
        return (data,)
    return tuple(data[0] if data and isinstance(data[0], list | tuple) else data)


def indices_of(data) -> tf.Tensor:
    """Returns the places of the images `[B]` that stand behind the crops of a batch."""
    if not (isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple)):
        wanted = "crops with the indices of their images, as `multicrop(..., with_index=True)`"
        checks.fail("x", "crops alone", wanted)
    return data[1]


def checked_crops(crops, num_assigning: int) -> tuple[tf.Tensor, ...]:
    """Returns the crops of a batch after checking that a model can train on them."""
    crops = unpack(crops)
    for views in crops:
        if views.shape.rank != 5:
            wanted = "crops [B, views, H, W, C] per resolution, as `tfdpm.data.multicrop` makes"
            checks.fail("x", f"a tensor of shape {views.shape}", wanted)
        if not views.dtype.is_floating:
            checks.fail("x", views.dtype.name, "standardised floating crops", TypeError)
    num_views = sum(views.shape[1] for views in crops)
    if num_views < 2 or crops[0].shape[1] < num_assigning:
        got = f"{crops[0].shape[1]} large crops of {num_views}"
        checks.fail("x", got, f"at least {num_assigning} large crops and 2 views")
    return crops
