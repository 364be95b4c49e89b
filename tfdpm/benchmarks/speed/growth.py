"""Time and memory by N, K and D on random Gaussians, and the rate of matrix products."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfdpm
from tfdpm.benchmarks.records import Record, measure_time
from tfdpm.config import DeepDPMConfig

__all__ = [
    "MIB",
    "EpochClock",
    "count_epoch_operations",
    "draw_gaussians",
    "fit_exponent",
    "fixed_k_config",
    "measure_alone",
    "measure_epoch",
    "measure_fit_growth",
    "measure_matmul_rate",
    "peak_bytes",
    "warm_up",
]

MIB = 2.0**20

_BLOCK_ROWS = 10_000
_TIMED_EPOCHS = 2
_MATMUL_SIZE = 1024
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; `getrusage` differs by system


def draw_gaussians(num_points: int, dim: int, clusters: int, seed: int) -> np.ndarray:
    """Draws `[N, D]` float32 from equally likely unit Gaussians with means from N(0, 36 I)."""
    rng = np.random.default_rng([seed, 13])
    means = 6.0 * rng.standard_normal((clusters, dim))
    points = np.empty((num_points, dim), np.float32)
    for start in range(0, num_points, _BLOCK_ROWS):  # blocks keep the peak of memory low
        rows = min(_BLOCK_ROWS, num_points - start)
        chosen = means[rng.integers(clusters, size=rows)]
        points[start : start + rows] = chosen + rng.standard_normal((rows, dim))
    return points


def warm_up(seed: int) -> None:
    """Runs a small fit, so that TensorFlow's own start is not measured."""
    tfdpm.fit(draw_gaussians(500, 3, 2, seed), seed=seed, epochs=1, verbose=0)


def measure_alone(measure: Callable[..., Record], *arguments: Any) -> Record:
    """Calls a function of a module in a process of its own, whose peak of memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_discard_stderr) as pool:
        return pool.submit(measure, *arguments).result()


def _discard_stderr() -> None:
    """Discards the messages of TensorFlow's search for devices; exceptions are still raised."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def measure_fit_growth(num_points: int, dim: int, clusters: int, seed: int) -> Record:
    """Measures time of `tfdpm.fit` and its peak of memory above what the points take.

    The peak is that of the process. It is that of the fit where nothing larger ran before.
    """
    warm_up(seed)
    x = draw_gaussians(num_points, dim, clusters, seed)
    before = peak_bytes()
    with measure_time() as cost:
        model = tfdpm.fit(x, features="none", seed=seed, verbose=0)
    return {
        "num_points": num_points,
        "dim": dim,
        "true_clusters": clusters,
        "clusters": model.n_clusters,
        **cost,
        "epochs": len(model.history.epoch),
        "traces": model.num_traces,
        "data_mib": x.nbytes / MIB,
        "peak_above_data_mib": (peak_bytes() - before) / MIB,
    }


def fixed_k_config(clusters: int) -> DeepDPMConfig:
    """Returns settings whose epochs do equal work: K is fixed, and no epoch is cut or left out."""
    return DeepDPMConfig(
        fixed_k=clusters,
        preprocessing="center",
        min_steps_per_epoch=1,
        stable_epochs=None,
    )


def measure_epoch(
    num_points: int,
    dim: int,
    clusters: int,
    seed: int,
    batch_size: int | None = None,
    jit_compile: bool = False,
) -> Record:
    """Measures an epoch at a fixed K: medians over the epochs after the one that traces."""
    x = draw_gaussians(num_points, dim, clusters, seed)
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
    operations = count_epoch_operations(num_points, dim, clusters, model.clustering.hidden_units)
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


def count_epoch_operations(num_points: int, dim: int, clusters: int, hidden_units: int) -> float:
    """Counts the floating-point operations that the equations of one epoch need.

        N (4 K (1 + D + D (D + 1) / 2) + 8 H ((D + K) + (D + 2)))

    In every component, a symmetric D x D matrix, a mean and a count take 2 operations an entry in
    the E-step's quadratic forms and 2 in the weighted moments. Every weight of the clustering
    network and of the point's own subclustering network takes 8: 2 forward and 4 backward in
    training, and 2 forward in the pass that sums the statistics. Exponentials and sorting are left
    out.
    """
    moments = 1 + dim + dim * (dim + 1) / 2
    mixture = 4.0 * clusters * moments
    networks = 8.0 * hidden_units * ((dim + clusters) + (dim + 2))
    return num_points * (mixture + networks)


def measure_matmul_rate(dtype: str, seconds: float = 1.0) -> float:
    """Returns TensorFlow's operations per second in products of square matrices, best of many.

    Seconds are of processor time, here and in `measure_epoch`: other work on the computer would
    slow an epoch, but not the best of many products.

    Args:
        dtype: "float32" or "float64".
        seconds: wall time for which products are repeated.
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


def fit_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Fits b of `seconds = a size^b` by least squares of logarithms; None below two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


class EpochClock(keras.callbacks.Callback):
    """Measures wall time and processor time of every epoch, in seconds."""

    def __init__(self):
        super().__init__()
        self.times: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.times.append((wall, cpu))


def peak_bytes() -> int:
    """Returns the most memory that this process has used since it was started.

    On Linux, `getrusage` also counts the parent process, so /proc is read where it exists.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
