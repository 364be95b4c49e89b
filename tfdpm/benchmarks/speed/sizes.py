"""One table of sizes: time, memory and K of default fits, beside K-means told K."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from sklearn.cluster import MiniBatchKMeans

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.peers.classical import evoc
from tfdpm.benchmarks.records import Record, measure_time
from tfdpm.benchmarks.speed import growth
from tfdpm.benchmarks.speed.streaming import write_shards
from tfdpm.benchmarks.speed.threads import limit_threads
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_records

__all__ = ["measure_size", "run"]


class _Size(NamedTuple):
    """N, D, K and the kind of points: of Gaussians, of Gaussians on disk, images or unit vectors.

    Where `has_two_cores`, a second fit has one core more.
    """

    num_points: int
    dim: int
    clusters: int
    kind: str = "gaussians"
    has_two_cores: bool = False


_SIZES = {
    "1,000,000 x 10": _Size(1_000_000, 10, 10),
    "100,000 x 10": _Size(100_000, 10, 10, has_two_cores=True),
    "20,000 x 128": _Size(20_000, 128, 50),
    "20,000 x 128, K 10": _Size(20_000, 128, 10, has_two_cores=True),
    "20,000 x 1,024": _Size(20_000, 1024, 10),
    "10,000 images of 28 x 28": _Size(10_000, 28 * 28, 10, "images"),
    "12,340 unit vectors x 384": _Size(12_340, 384, 8, "unit"),
    "10,000,000 x 10 from disk": _Size(10_000_000, 10, 10, "disk"),
    "1,000,000 x 32": _Size(1_000_000, 32, 1000),
}
_QUICK = {
    "600 x 3": _Size(600, 3, 2, has_two_cores=True),
    "600 x 3 from disk": _Size(600, 3, 2, "disk"),
    "300 images of 8 x 8": _Size(300, 64, 2, "images"),
    "300 unit vectors x 8": _Size(300, 8, 2, "unit"),
}
_SHIFT = 1  # pixels by which a drawn image is moved at most
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
    "evoc_first_cpu_seconds": "EVoC, first, CPU s",
    "evoc_cpu_seconds": "EVoC, CPU s",
    "speedup": "times as fast on another core",
}


def run(sweep: Sweep, *, only: str) -> Record:
    """Measures a default fit of each size in a process of its own, on random Gaussians.

    Args:
        sweep: seed, threads and output; no files.
        only: text in the names of the sizes that are measured; an empty one takes all.
    Returns:
        What was written: `records`, a row for each size. `peak_mib` is above what TensorFlow uses
        after a first small fit; points in memory are counted. The peer sees each point once. EVoC
        is measured on unit vectors where it is installed, twice, as it compiles at first.
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
            results["records"].append({"size": name, **measure(size, sweep.seed)})
            sweep.write(results)
    for row, size in zip(results["records"], sizes.values(), strict=True):
        with limit_threads(sweep.threads + 1) as more:
            if size.has_two_cores and more > cores:
                row["speedup"] = row["seconds"] / measure(size, sweep.seed)["seconds"]
                sweep.write(results)
    print_records(f"Fits on {cores} core(s)", results["records"], _COLUMNS)
    return results


def measure_size(size: _Size, seed: int) -> Record:
    """Measures `tfdpm.fit` of points in memory or in .npy files, and the peers on the same."""
    num_points, dim, clusters, kind, _ = size
    growth.warm_up(seed)
    before = growth.peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        points: Any
        if kind == "disk":
            write_shards(Path(folder), num_points, dim, clusters, seed)
            points = tfdpm.data.read_shards(f"{folder}/*.npy", batch_size=_BATCH_ROWS)
        elif kind == "images":
            points = _draw_images(num_points, round(dim**0.5), clusters, seed)
        else:
            points = growth.draw_gaussians(num_points, dim, clusters, seed)
        if kind == "unit":
            points /= np.linalg.norm(points, axis=1, keepdims=True)
        features = "auto" if kind in ("images", "unit") else "none"
        with measure_time() as cost:
            model = tfdpm.fit(points, features=features, seed=seed, verbose=0)
        peak = growth.peak_bytes() - before
        with measure_time() as peer_cost:
            kmeans = MiniBatchKMeans(clusters, random_state=seed, n_init=1)
            for batch in _batches(points):
                kmeans.partial_fit(batch.reshape(len(batch), -1))
        others = {}
        if kind == "unit" and importlib.util.find_spec("evoc"):
            names = "evoc_first_cpu_seconds", "evoc_cpu_seconds"
            others = {name: _time_evoc(points, seed) for name in names}
    return {
        **others,
        "num_points": num_points,
        "dim": dim,
        "true_clusters": clusters,
        "clusters": model.n_clusters,
        **cost,
        "data_mib": 4 * num_points * dim / growth.MIB,
        "peak_mib": peak / growth.MIB,
        "peer_cpu_seconds": peer_cost["cpu_seconds"],
    }


def _time_evoc(points: np.ndarray, seed: int) -> float:
    with measure_time() as cost:
        evoc(points, 0, seed)
    return cost["cpu_seconds"]


def _draw_images(count: int, side: int, clusters: int, seed: int) -> np.ndarray:
    """Draws `[N, side, side]` float32 in [0, 1]: as many smooth shapes as clusters, moved about."""
    rng = np.random.default_rng([seed, 19])
    shapes = scipy.ndimage.gaussian_filter(rng.random((clusters, side, side)), (0, 2, 2))
    shapes = (shapes > np.median(shapes)).astype(np.float32)
    moves = rng.integers(-_SHIFT, _SHIFT + 1, (count, 2))
    chosen = shapes[rng.integers(clusters, size=count)]
    moved = [np.roll(image, move, (0, 1)) for image, move in zip(chosen, moves, strict=True)]
    images = scipy.ndimage.gaussian_filter(np.array(moved), (0, 0.7, 0.7))
    return np.clip(images + 0.1 * rng.standard_normal(images.shape, np.float32), 0.0, 1.0)


def _batches(points: Any) -> Iterable[np.ndarray]:
    if not isinstance(points, np.ndarray):
        return points.as_numpy_iterator()
    return (points[start : start + _BATCH_ROWS] for start in range(0, len(points), _BATCH_ROWS))
