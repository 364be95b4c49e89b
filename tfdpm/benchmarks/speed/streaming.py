"""Time and memory of an epoch over a stream of files on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tfdpm
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.speed import growth

__all__ = ["measure_stream", "write_shards"]

_SHARD_ROWS = 50_000
_BATCH_SIZE = 1024


def measure_stream(num_points: int, dim: int, clusters: int, seed: int) -> Record:
    """Measures an epoch over .npy shards at a fixed K: time with tracing, and peak of memory.

    Memory is counted above what TensorFlow uses after a first small fit. It includes the start of
    the fit, which draws a sample and runs K-means. The peak is that of the process.
    """
    growth.warm_up(seed)
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), num_points, dim, clusters, seed)
        before = growth.peak_bytes()
        clock = growth.EpochClock()
        model = tfdpm.fit(
            tfdpm.data.read_shards(f"{folder}/*.npy", batch_size=_BATCH_SIZE),
            features="none",
            config=growth.fixed_k_config(clusters),
            seed=seed,
            epochs=1,
            callbacks=[clock],
            verbose=0,
        )
    seconds, cpu_seconds = clock.times[0]
    operations = growth.count_epoch_operations(
        num_points, dim, clusters, model.clustering.hidden_units
    )
    return {
        "num_points": num_points,
        "dim": dim,
        "clusters": clusters,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "traces": model.num_traces,
        "operations_per_second": operations / cpu_seconds,
        "data_mib": 4 * num_points * dim / growth.MIB,
        "peak_mib": (growth.peak_bytes() - before) / growth.MIB,
    }


def write_shards(folder: Path, num_points: int, dim: int, clusters: int, seed: int) -> None:
    """Writes unit Gaussians with means from N(0, 4 I), a file at a time to keep memory low."""
    generator = np.random.default_rng([seed, 17])
    means = 2.0 * generator.standard_normal((clusters, dim))
    for index, start in enumerate(range(0, num_points, _SHARD_ROWS)):
        rows = min(_SHARD_ROWS, num_points - start)
        points = generator.standard_normal((rows, dim), np.float32)
        points += means[generator.integers(clusters, size=rows)].astype(np.float32)
        np.save(folder / f"{index:05}.npy", points)
