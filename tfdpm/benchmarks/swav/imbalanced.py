"""SwAV beside SwAV with inferred marginals on unequal classes: `tfdpm bench swav --imbalanced`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, fewer
from tfdpm.benchmarks.quality.images import read_images
from tfdpm.benchmarks.records import scores, show, write
from tfdpm.data.images.multicrop import multicrop
from tfdpm.features import DPSwAV, SwAV

__all__ = ["compared", "long_tailed", "run"]

_TRAIN_SHARE = 0.8
_BATCH = 128
_NEIGHBOURS = 20
_RATIO = 10.0  # of the largest class to the smallest
_QUICK_IMAGES = 120
_METHODS: dict[str, type[SwAV]] = {"SwAV": SwAV, "DPSwAV": DPSwAV}


def run(
    data: Sequence[str | Path],
    *,
    out: str | Path,
    seed: int = 0,
    epochs: int = 20,
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Trains both on the same long-tailed images with the same seed, prints a table, writes it.

    Args:
        data: .npz files with images `x` and labels `y`.
        out: JSON file, written anew after every file.
        seed: of everything drawn.
        epochs: of both.
        max_points: images of each file that are left once it is long-tailed; `None` for all.
        quick: few images and one epoch.
    Returns:
        What was written: `records`, as of `compared`.
    """
    if not data:
        checks.fail("--data", "no file", "at least one .npz file with arrays x and y")
    if quick:
        epochs, max_points = 1, _QUICK_IMAGES
    results: dict[str, Any] = {"benchmark": "swav", "imbalanced": True, "records": []}
    for path in data:
        images = fewer(long_tailed(read_images(path), seed), max_points, seed)
        results["records"] += compared(images, epochs=epochs, seed=seed)
        write(out, results)
    columns = ("data", "method", "knn", "knn_by_class", "nmi", "ari", "clusters", "cpu_seconds")
    rows = [[record[name] for name in columns] for record in results["records"]]
    show("SwAV on imbalanced images", columns, rows)
    return results


def long_tailed(data: LabelledData, seed: int) -> LabelledData:
    """Thins classes, in the order of their labels, geometrically from all down to a tenth."""
    generator = np.random.default_rng([seed, 16])
    classes, sizes = np.unique(data.y, return_counts=True)
    shares = _RATIO ** -(np.arange(len(classes)) / max(len(classes) - 1, 1))
    kept = [
        generator.permutation(np.flatnonzero(data.y == label))[: max(round(size * share), 1)]
        for label, size, share in zip(classes, sizes, shares, strict=True)
    ]
    rows = np.sort(np.concatenate(kept))
    return LabelledData(f"{data.name} long-tailed", data.x[rows], data.y[rows])


def compared(data: LabelledData, *, epochs: int, seed: int) -> list[dict[str, Any]]:
    """A record for each method; four fifths of the images train, one fifth tests.

    Args:
        data: images `[N, H, W]` or `[N, H, W, C]` and labels.
        epochs: of training.
        seed: of the partition, the weights and the views, the same for both.
    Returns:
        Records with `knn`, accuracy of 20 nearest neighbours on the test images, and
        `knn_by_class`, its mean over classes; `nmi`, `ari`, `acc` and `clusters` of `tfdpm.fit` on
        unit features of the training images; processor seconds and last loss of the training.
    """
    x = data.x[..., np.newaxis] if data.x.ndim == 3 else data.x
    order = np.random.default_rng(seed).permutation(len(x))
    cut = int(_TRAIN_SHARE * len(x))
    train, test = order[:cut], order[cut:]
    records = []
    for name, method in _METHODS.items():
        model = method.small(
            image_size=x.shape[1],
            channels=x.shape[-1],
            num_images=cut,
            batch_size=min(_BATCH, cut),
            epochs=epochs,
            seed=seed,
            print_fn=lambda text: None,
        )
        views = multicrop(x[train], seed=seed, **model.view_options())
        started = time.process_time()
        loss = model.fit(views, verbose=0).history["loss"][-1]
        seconds = time.process_time() - started
        rows = model.encoder.predict(x, batch_size=256, verbose=0)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        neighbours = KNeighborsClassifier(min(_NEIGHBOURS, cut), algorithm="brute")
        found = neighbours.fit(rows[train], data.y[train]).predict(rows[test])
        is_right = found == data.y[test]
        by_class = [is_right[data.y[test] == label].mean() for label in np.unique(data.y[test])]
        clusters = tfdpm.fit(rows[train], features="none", seed=seed, verbose=0).labels_
        record = {"data": data.name, "method": name, "seed": seed, "epochs": epochs, "images": cut}
        record |= {"knn": float(is_right.mean()), "knn_by_class": float(np.mean(by_class))}
        record |= scores(data.y[train], clusters)
        records.append({**record, "cpu_seconds": seconds, "loss": float(loss)})
    return records
