"""Grids of images: typical or doubtful members of each cluster."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm import checks

ORDERS = ("typical", "doubtful")
_MAX_ROWS = 40  # clusters in one picture


def plot_clusters(
    images: Any,
    responsibilities: np.ndarray,
    log_density: np.ndarray,
    *,
    per_cluster: int = 10,
    order: str = "typical",
    max_clusters: int = _MAX_ROWS,
) -> Any:
    """Draws one row of images for each cluster, the largest cluster first.

    Args:
        images: one image for each point, `[N, H, W]`, `[N, H, W, C]` or `[N, side * side]`.
        responsibilities: responsibilities of the points, `[N, K]`.
        log_density: log density of the points, `[N]`, nats.

    Other arguments, value and errors are those of `DeepDPM.plot_clusters`.
    """
    per_cluster = checks.integer(per_cluster, "per_cluster", minimum=1)
    max_clusters = checks.integer(max_clusters, "max_clusters", minimum=1)
    pictures = as_images(images)
    if len(pictures) != len(responsibilities):
        got = f"{len(pictures)} images for {len(responsibilities)} points"
        checks.fail("images", got, "one image for each point")
    pyplot = checks.import_optional("matplotlib.pyplot", "plot_clusters", "viz")
    groups = list_members(responsibilities, log_density, per_cluster, order)
    sizes = np.bincount(responsibilities.argmax(axis=1), minlength=len(groups))
    shown = np.argsort(-sizes, kind="stable")[:max_clusters]
    figure, axes = pyplot.subplots(
        len(shown),
        per_cluster,
        figsize=(0.7 * per_cluster + 1, 0.75 * len(shown)),
        squeeze=False,
        layout="constrained",
    )
    for row, k in zip(axes, shown, strict=True):
        for cell in row:
            cell.set(xticks=[], yticks=[], frame_on=False)
        for cell, index in zip(row, groups[k], strict=False):
            cell.imshow(pictures[index].squeeze(), cmap="gray")
        row[0].set_ylabel(f"{k}\n{sizes[k]:,}", rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(f"{order} members; cluster and its size on the left", fontsize=9)
    return axes


def list_members(
    responsibilities: np.ndarray, log_density: np.ndarray, count: int, order: str = "typical"
) -> list[np.ndarray]:
    """Returns positions of at most `count` members of each cluster, K arrays.

    Typical members, of the largest sum of log density and log responsibility, come first; or
    doubtful ones, of the smallest responsibility.
    """
    checks.one_of(order, "order", ORDERS)
    labels = responsibilities.argmax(axis=1)
    own = responsibilities.max(axis=1)
    score = np.log(np.maximum(own, 1e-30)) + log_density if order == "typical" else -own
    ranked = np.argsort(-score, kind="stable")
    return [ranked[labels[ranked] == k][:count] for k in range(responsibilities.shape[1])]


def as_images(images: Any) -> np.ndarray:
    """Returns images as `[N, H, W, C]` uint8 with C 1 or 3.

    They may be `[N, H, W]`, or grey levels `[N, side * side]`. Bytes are kept; other numbers are
    scaled so that their range becomes 0 to 255.
    """
    array = np.asarray(images)
    if array.ndim == 2 and int(np.sqrt(array.shape[1])) ** 2 == array.shape[1]:
        side = int(np.sqrt(array.shape[1]))
        array = array.reshape(-1, side, side)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        wanted = "[N, H, W], [N, H, W, 1 or 3], or rows of side * side pixels"
        checks.fail("images", f"shape {array.shape}", wanted)
    if array.dtype == np.uint8:
        return array
    array = array.astype(np.float32)
    low, high = float(np.min(array)), float(np.max(array))
    return np.uint8(np.rint((array - low) * (255.0 / (high - low or 1.0))))
