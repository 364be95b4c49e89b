"""One table of large sizes: time, memory and K of default fits, beside K-means told K."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import MiniBatchKMeans

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.records import Record, measure_time
from tfdpm.benchmarks.speed import growth
from tfdpm.benchmarks.speed.streaming import write_shards
from tfdpm.benchmarks.speed.threads import limit_threads
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_records

__all__ = ["measure_size", "run"]


class _Size(NamedTuple):
    num_points: int
    dim: int
    clusters: int
    is_on_disk: bool = False


_SIZES = {
    "1,000,000 x 10": _Size(1_000_000, 10, 10),
    "20,000 x 128": _Size(20_000, 128, 50),
    "20,000 x 1,024": _Size(20_000, 1024, 10),
    "10,000,000 x 10 from disk": _Size(10_000_000, 10, 10, is_on_disk=True),
    "1,000,000 x 32": _Size(1_000_000, 32, 1000),
}
_QUICK = {"600 x 3": _Size(600, 3, 2), "600 x 3 from disk": _Size(600, 3, 2, is_on_disk=True)}
_BATCH_ROWS = 4096
_COLUMNS = {
    "size": "points",
    "true_clusters": "true K",
    "clusters": "K",
    "seconds": "seconds",
    "cpu_seconds": "CPU s",
    "peak_mib": "peak MiB",
    "data_mib": "data MiB",
    "peer_cpu_seconds": "K-means told K, CPU s",
}


def run(sweep: Sweep, *, only: str) -> Record:
    """Measures a default fit of each size in a process of its own, on random Gaussians.

    Args:
        sweep: seed, threads and output; no files.
        only: text in the names of the sizes that are measured; an empty one takes all.
    Returns:
        What was written: `records`, a row for each size. `peak_mib` is above what TensorFlow uses
        after a first small fit; points in memory are counted. The peer sees each point once.
    """
    known = _QUICK if sweep.quick else _SIZES
    sizes = {name: size for name, size in known.items() if only in name}
    if not sizes:
        checks.fail("--only", repr(only), "a text in one of: " + "; ".join(known))
    measure = measure_size if sweep.quick else partial(growth.measure_alone, measure_size)
    results: Record = {"benchmark": "size", "records": []}
    with limit_threads(sweep.threads) as cores:
        results["cores"] = cores
        for name, size in sizes.items():
            results["records"].append({"size": name, **measure(*size, sweep.seed)})
            sweep.write(results)
    print_records(f"Fits on {cores} core(s)", results["records"], _COLUMNS)
    return results


def measure_size(num_points: int, dim: int, clusters: int, is_on_disk: bool, seed: int) -> Record:
    """Measures `tfdpm.fit` of points in memory or in .npy files, and the peer on the same."""
    growth.warm_up(seed)
    before = growth.peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        points: Any
        if is_on_disk:
            write_shards(Path(folder), num_points, dim, clusters, seed)
            points = tfdpm.data.read_shards(f"{folder}/*.npy", batch_size=_BATCH_ROWS)
        else:
            points = growth.draw_gaussians(num_points, dim, clusters, seed)
        with measure_time() as cost:
            model = tfdpm.fit(points, features="none", seed=seed, verbose=0)
        peak = growth.peak_bytes() - before
        with measure_time() as peer_cost:
            kmeans = MiniBatchKMeans(clusters, random_state=seed, n_init=1)
            for batch in _batches(points):
                kmeans.partial_fit(batch)
    return {
        "num_points": num_points,
        "dim": dim,
        "true_clusters": clusters,
        "clusters": model.n_clusters,
        **cost,
        "data_mib": 4 * num_points * dim / growth.MIB,
        "peak_mib": peak / growth.MIB,
        "peer_cpu_seconds": peer_cost["cpu_seconds"],
    }


def _batches(points: Any) -> Iterable[np.ndarray]:
    if not isinstance(points, np.ndarray):
        return points.as_numpy_iterator()
    return (points[start : start + _BATCH_ROWS] for start in range(0, len(points), _BATCH_ROWS))
