"""What an epoch over a stream from disk costs: time against the machine's own limit, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tfdpm
from tfdpm.benchmarks.speed import growth

__all__ = ["stream_cost", "stream_cost_alone"]

_SHARD_ROWS = 50_000
_BATCH_SIZE = 1024
_MIB = 2.0**20


def stream_cost(num_points: int, dim: int, clusters: int, seed: int) -> dict[str, Any]:
    """Time, tracing included, and peak memory of an epoch over .npy shards, at a fixed K.

    Memory is counted above what TensorFlow takes after a first small fit, the start of the fit
    (a sample, K-means) included. It means something only where nothing larger ran before.
    """
    tfdpm.fit(growth.random_points(500, 3, 2, seed), seed=seed, epochs=1, verbose=0)  # warms up
    with tempfile.TemporaryDirectory() as folder:
        _write_shards(Path(folder), num_points, dim, clusters, seed)
        before = growth.peak_bytes()
        stream = tfdpm.data.read_shards(f"{folder}/*.npy", batch_size=_BATCH_SIZE)
        config = growth.fixed_k_config(clusters)
        clock = growth.EpochClock()
        model = tfdpm.fit(
            stream,
            features="none",
            config=config,
            seed=seed,
            epochs=1,
            callbacks=[clock],
            verbose=0,
        )
    seconds, cpu_seconds = clock.times[0]
    operations = growth.epoch_arithmetic(num_points, dim, clusters, model.clustering.hidden_units)
    return {
        "num_points": num_points,
        "dim": dim,
        "clusters": clusters,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "traces": model.num_traces,
        "operations_per_second": operations / cpu_seconds,
        "data_mib": 4 * num_points * dim / _MIB,
        "peak_mib": (growth.peak_bytes() - before) / _MIB,
    }


def stream_cost_alone(num_points: int, dim: int, clusters: int, seed: int) -> dict[str, Any]:
    """`stream_cost` in a process of its own, whose peak of memory is that of this stream."""
    arguments = json.dumps([num_points, dim, clusters, seed])
    command = [sys.executable, "-m", __name__, arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.splitlines() or [""])[-1]
        raise RuntimeError(
            f"A stream of {num_points} points ended with {result.returncode}: {last}"
        )
    return json.loads(result.stdout.splitlines()[-1])


def _write_shards(folder: Path, num_points: int, dim: int, clusters: int, seed: int) -> None:
    """Unit Gaussians around means from N(0, 4 I), some rows at a time."""
    generator = np.random.default_rng([seed, 17])
    means = 2.0 * generator.standard_normal((clusters, dim))
    for index, start in enumerate(range(0, num_points, _SHARD_ROWS)):
        rows = min(_SHARD_ROWS, num_points - start)
        points = generator.standard_normal((rows, dim), np.float32)
        points += means[generator.integers(clusters, size=rows)].astype(np.float32)
        np.save(folder / f"{index:05}.npy", points)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(stream_cost(*json.loads(sys.argv[1]))) + "\n")
