"""How cost grows: a whole fit with N, an epoch with K and with D, and the machine's own limit.

The points are random Gaussians around random means, for which only time and memory are asked.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfdpm
from tfdpm.config import DeepDPMConfig

__all__ = [
    "EpochClock",
    "epoch_arithmetic",
    "epoch_cost",
    "exponent",
    "fit_cost",
    "fit_cost_alone",
    "matmul_rate",
    "peak_bytes",
    "random_points",
]

_BLOCK_ROWS = 10_000
_TIMED_EPOCHS = 2
_MATMUL_SIZE = 1024
_MIB = 2.0**20
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; `getrusage` differs by system


def random_points(num_points: int, dim: int, clusters: int, seed: int) -> np.ndarray:
    """`[N, D]` float32 of equally likely unit Gaussians with means from N(0, 36 I)."""
    rng = np.random.default_rng([seed, 13])
    means = 6.0 * rng.standard_normal((clusters, dim))
    points = np.empty((num_points, dim), np.float32)
    for start in range(0, num_points, _BLOCK_ROWS):  # so that making them costs no memory
        rows = min(_BLOCK_ROWS, num_points - start)
        chosen = means[rng.integers(clusters, size=rows)]
        points[start : start + rows] = chosen + rng.standard_normal((rows, dim))
    return points


def fit_cost(num_points: int, dim: int, clusters: int, seed: int) -> dict[str, Any]:
    """Wall time of `tfdpm.fit` with defaults, and the peak of memory above what the points take.

    The peak is that of the process: it means something only where nothing larger ran before.
    """
    tfdpm.fit(random_points(500, dim, 2, seed), seed=seed, epochs=1, verbose=0)  # warms up
    x = random_points(num_points, dim, clusters, seed)
    before = peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    model = tfdpm.fit(x, features="none", seed=seed, verbose=0)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "num_points": num_points,
        "dim": dim,
        "true_clusters": clusters,
        "clusters": model.n_clusters,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "epochs": len(model.history.epoch),
        "traces": model.num_traces,
        "data_mib": x.nbytes / _MIB,
        "peak_above_data_mib": (peak_bytes() - before) / _MIB,
    }


def fit_cost_alone(num_points: int, dim: int, clusters: int, seed: int) -> dict[str, Any]:
    """`fit_cost` in a process of its own, whose peak of memory is that of this fit."""
    arguments = json.dumps([num_points, dim, clusters, seed])
    command = [sys.executable, "-m", __name__, arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.splitlines() or [""])[-1]
        raise RuntimeError(f"A fit of {num_points} points ended with {result.returncode}: {last}")
    return json.loads(result.stdout.splitlines()[-1])


def fixed_k_config(clusters: int) -> DeepDPMConfig:
    """Epochs that do the same work each: K for good, every point once, no early end."""
    return DeepDPMConfig(
        fixed_k=clusters,
        preprocessing="center",
        min_steps_per_epoch=1,
        stable_epochs=None,
    )


def epoch_cost(
    num_points: int,
    dim: int,
    clusters: int,
    seed: int,
    batch_size: int | None = None,
    jit_compile: bool = False,
) -> dict[str, Any]:
    """Seconds of one epoch at a fixed K: medians over the epochs after the one that traces."""
    x = random_points(num_points, dim, clusters, seed)
    config = fixed_k_config(clusters).replace(batch_size=batch_size, jit_compile=jit_compile)
    clock = EpochClock()
    model = tfdpm.fit(
        x,
        features="none",
        config=config,
        seed=seed,
        epochs=1 + _TIMED_EPOCHS,
        callbacks=[clock],
        verbose=0,
    )
    seconds, cpu_seconds = np.median(clock.times[1:], axis=0).tolist()
    operations = epoch_arithmetic(num_points, dim, clusters, model.clustering.hidden_units)
    return {
        "num_points": num_points,
        "dim": dim,
        "clusters": clusters,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "first_cpu_seconds": clock.times[0][1],
        "traces": model.num_traces,
        "operations": operations,
        "operations_per_second": operations / cpu_seconds,
    }


def epoch_arithmetic(num_points: int, dim: int, clusters: int, hidden_units: int) -> float:
    """Floating-point operations that the equations of one epoch ask for.

    Per point: the E-step's quadratic forms and the weighted second moments, 2 for each entry of
    a symmetric D x D matrix, a mean and a count in every component; then 8 for every weight of
    the clustering network and of the point's own subclustering network (2 forward and 4 backward
    in training, 2 forward in the reduction). Exponentials and sorting are left out.
    """
    moments = 1 + dim + dim * (dim + 1) / 2
    mixture = 4.0 * clusters * moments
    networks = 8.0 * hidden_units * ((dim + clusters) + (dim + 2))
    return num_points * (mixture + networks)


def matmul_rate(dtype: str, seconds: float = 1.0) -> float:
    """Operations of TensorFlow's products of square matrices in a second, best of many.

    Seconds are of processor time, here and in `epoch_cost`: others at work on the machine would
    slow an epoch, but not the best of many products.

    Args:
        dtype: "float32" or "float64".
        seconds: how long to try.
    """
    rng = np.random.default_rng(0)
    matrix = tf.constant(rng.standard_normal((_MATMUL_SIZE, _MATMUL_SIZE)), dtype)
    tf.linalg.matmul(matrix, matrix).numpy()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        tf.linalg.matmul(matrix, matrix).numpy()
        best = min(best, time.process_time() - start)
    return 2.0 * _MATMUL_SIZE**3 / best


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The b of the least-squares fit `seconds = a * size ** b`; None of fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


class EpochClock(keras.callbacks.Callback):
    """Wall time and processor time of every epoch, seconds."""

    def __init__(self):
        super().__init__()
        self.times: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.times.append((wall, cpu))


def peak_bytes() -> int:
    """Most memory that this process has had since it was started.

    Where the system tells: `getrusage` counts on Linux what the process that started it had.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fit_cost(*json.loads(sys.argv[1]))) + "\n")
