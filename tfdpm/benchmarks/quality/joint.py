"""What joint training adds to its own first round: scores of every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdpm import checks
from tfdpm.benchmarks.records import show, write
from tfdpm.joint.config import JointConfig
from tfdpm.joint.model import JointClustering

__all__ = ["run"]

_COLUMNS = ("nmi", "ari", "acc", "n_clusters", "reconstruction_loss", "clustering_loss")
_QUICK_POINTS = 200


class _Recorder(keras.callbacks.Callback):
    """Keeps the scores and the processor time, of all threads, up to the end of each round.

    Args:
        head: what every record begins with.
        records: where they go.
        written: called after each of them.
    """

    def __init__(self, head: dict[str, Any], records: list[dict[str, Any]], written: Callable):
        super().__init__()
        self._head, self._records, self._written = head, records, written
        self._start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        """Keeps a round."""
        scores = {name: logs[name] for name in _COLUMNS}
        seconds = time.process_time() - self._start
        self._records.append({**self._head, "round": epoch + 1, **scores, "cpu_seconds": seconds})
        self._written()


def run(
    data: Sequence[str | Path],
    *,
    out: str | Path = "bench_joint.json",
    seed: int = 0,
    seeds: int = 1,
    configuration: str = "default",
    epochs: int | None = None,
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Trains on every file, prints a table by round, and writes it.

    Args:
        data: .npz files with points or images `x` and labels `y`, which only score.
        out: JSON file, written anew after every round.
        seed: the first seed; the others follow it.
        seeds: how many.
        configuration: "default" or a preset of `JointConfig`.
        epochs: of pretraining; `None` for the configuration's.
        max_points: thins each data set to so many points; `None` for all of them.
        quick: 200 points, few epochs, two rounds.
    Returns:
        What was written: `records`, one for each data set, seed and round.
    """
    if not data:
        checks.fail("--data", "no file", "at least one .npz file with `x` and `y`")
    config = JointConfig.named(configuration).replace(stable_rounds=None)
    if epochs is not None:
        config = config.replace(pretrain_epochs=epochs)
    if quick:
        config = config.replace(pretrain_epochs=2, round_epochs=1, max_rounds=2)
        max_points = _QUICK_POINTS
    records: list[dict[str, Any]] = []
    results = {"benchmark": "joint", "configuration": configuration, "records": records}
    for path in data:
        x, y = _read(path, max_points, seed)
        for number in range(seed, seed + seeds):
            head = {"data": Path(path).stem, "seed": number}
            recorder = _Recorder(head, records, lambda: write(out, results))
            JointClustering(config, seed=number).fit(x, y, callbacks=[recorder], verbose=0)
    columns = ("data", "seed", "round", *_COLUMNS, "cpu_seconds")
    show("Joint training by round", columns, [[row[name] for name in columns] for row in records])
    return results


def _read(path: str | Path, max_points: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points or images in their own shape, and labels."""
    with np.load(path) as arrays:
        if "x" not in arrays or "y" not in arrays:
            checks.fail("--data", f"{path} with {arrays.files}", "arrays x and y")
        x, y = arrays["x"], arrays["y"]
    if max_points is not None and max_points < len(x):
        chosen = np.random.default_rng(seed).choice(len(x), max_points, replace=False)
        x, y = x[chosen], y[chosen]
    return x, y
