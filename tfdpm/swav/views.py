"""Batches of views: one tensor `[B, V, H, W, C]` per resolution."""

from __future__ import annotations

import tensorflow as tf

from tfdpm import checks


def unpack(data) -> tuple[tf.Tensor, ...]:
    """Returns the crops of a batch and ignores labels behind them."""
    crops = data
    if isinstance(crops, list | tuple) and crops and isinstance(crops[0], list | tuple):
        crops = crops[0]
    if not isinstance(crops, list | tuple):
        crops = (crops,)
    return tuple(crops)


def checked_crops(crops, num_assigning: int) -> tuple[tf.Tensor, ...]:
    """Returns the crops of a batch after checking that a model can train on them.

    Args:
        crops: batch that `unpack` takes, with one tensor per resolution.
        num_assigning: number of crops of the first resolution that give codes.
    Raises:
        ValueError: if a tensor has no axis of views, or there are too few views.
        TypeError: if crops are integers.
    """
    crops = unpack(crops)
    for views in crops:
        if views.shape.rank != 5:
            checks.fail(
                "x",
                f"a tensor of shape {views.shape}",
                "crops [B, views, H, W, C] per resolution, as `tfdpm.data.multicrop` makes them",
            )
        if not views.dtype.is_floating:
            checks.fail("x", views.dtype.name, "standardised floating crops", TypeError)
    num_views = sum(views.shape[1] for views in crops)
    if num_views < 2 or crops[0].shape[1] < num_assigning:
        checks.fail(
            "x",
            f"{crops[0].shape[1]} large crops of {num_views}",
            f"at least {num_assigning} large crops and 2 views",
        )
    return crops
