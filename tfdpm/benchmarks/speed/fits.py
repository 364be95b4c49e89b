"""How fast tfdpm is: ratios against peers on the same threads, and growth with N, K and D."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, fewer, read_labelled
from tfdpm.benchmarks.peers import PEERS, chosen_peers
from tfdpm.benchmarks.records import fit_record, measured, show, write
from tfdpm.benchmarks.speed import growth, streaming
from tfdpm.benchmarks.speed import picture as speed_picture
from tfdpm.benchmarks.speed.threads import same_threads

__all__ = ["run"]

_GROWTH_DIM, _GROWTH_CLUSTERS = 10, 10
_GROWTH_POINTS = 20_480  # of the growth with K and D
_STREAM_SIZE = 128, 200
_PAPER_SIZE, _PAPER_BATCH = (70_000, 10, 10), 128  # of MNIST's embeddings in [DeepDPM]
_PREDICT_REPEATS = 5
_QUICK_POINTS = 300
_CLOCKS = ("seconds", "cpu_seconds")
_SHARES = ("share_of_float32_rate", "share_of_float64_rate", "traces")


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_speed.json",
    seed: int = 0,
    repeats: int = 3,
    threads: int = 1,
    peers: str = "gmm,hdbscan,bgmm",
    normalize_rows: bool = False,
    points: Sequence[int] = (10_000, 100_000, 1_000_000),
    clusters: Sequence[int] = (10, 100, 1000),
    dims: Sequence[int] = (2, 8, 32, 128, 512),
    stream: Sequence[int] = (1_000_000,),
    quick: bool = False,
) -> dict[str, Any]:
    """Times tfdpm and its peers on every data set, then fits and epochs of growing size.

    Args:
        data: .npz files with `x` and `y`; none for growth alone.
        out: JSON file, written anew after every part; a picture goes beside it.
        seed: of all methods in their first run; every further run has the next one.
        repeats: runs of each method, of which the median counts.
        threads: cores and threads of all methods.
        peers: names from `peers.PEERS` with commas between them, "all" or "none".
        normalize_rows: brings every point to unit length first, for all methods alike.
        points: N of the fits at D = 10 and 10 clusters, each in a process of its own.
        clusters: K of the epochs at D = 10 and N = 20,480; with any, an epoch of the paper's size
            (70,000 points, D = 10, K = 10, batches of 128) is timed too, compiled by XLA as its
            500 epochs would be.
        dims: D of the epochs at K = 10 and N = 20,480.
        stream: N of the streams from disk at D = 128 and 200 clusters, each in its own process.
        quick: 300 points of each data set, one run, and growth over tiny sizes.
    Returns:
        What was written: `comparisons`, `growth` with fitted exponents, and the matmul rates.
    """
    checks.integer(repeats, "--repeats", minimum=1)
    names = chosen_peers(peers)
    sets = read_labelled(data, normalize_rows=normalize_rows) if data else []
    epoch_points, fit_cost = _GROWTH_POINTS, growth.fit_cost_alone
    stream_cost, stream_size = streaming.stream_cost_alone, _STREAM_SIZE
    paper_size = _PAPER_SIZE
    if quick:
        sets, repeats = [fewer(each, _QUICK_POINTS, seed) for each in sets], 1
        points, clusters, dims = points and (300, 600), clusters and (2, 4), dims and (2, 4)
        epoch_points, fit_cost, paper_size = 500, growth.fit_cost, (500, 3, 2)
        stream, stream_cost, stream_size = stream and (600,), streaming.stream_cost, (40, 2)
    with same_threads(threads) as cores:
        results: dict[str, Any] = {"benchmark": "speed", "cores": cores, "comparisons": []}
        if sets:  # TensorFlow starts once in a process; every fit's own tracing is timed
            tfdpm.fit(growth.random_points(500, 2, 2, seed), seed=seed, epochs=1, verbose=0)
        for each in sets:
            results["comparisons"].append(_comparison(each, names, repeats, seed))
            write(out, results)
        results["matmul_rate"] = {
            dtype: growth.matmul_rate(dtype, 0.05 if quick else 1.0)
            for dtype in ("float32", "float64")
        }
        write(out, results)
        # So many epochs of the paper's are worth compiling, see `model/just_in_time.py`.
        paper_cost = functools.partial(
            growth.epoch_cost, batch_size=_PAPER_BATCH, jit_compile=not quick
        )
        parts = ("points", "paper", "clusters", "dims", "stream")
        grown = results["growth"] = {name: [] for name in parts}
        for name, cost, arguments in (
            ("points", fit_cost, [(n, _GROWTH_DIM, _GROWTH_CLUSTERS) for n in points]),
            ("paper", paper_cost, [paper_size] if clusters else []),
            ("clusters", growth.epoch_cost, [(epoch_points, _GROWTH_DIM, k) for k in clusters]),
            ("dims", growth.epoch_cost, [(epoch_points, d, _GROWTH_CLUSTERS) for d in dims]),
            ("stream", stream_cost, [(n, *stream_size) for n in stream]),
        ):
            for sizes in arguments:
                grown[name].append(cost(*sizes, seed))
                write(out, results)
    _add_exponents(results)
    results["picture"] = speed_picture.draw(results, Path(out).with_suffix(".png"))
    write(out, results)
    _show(results)
    return results


def _comparison(
    data: LabelledData, names: Sequence[str], repeats: int, seed: int
) -> dict[str, Any]:
    """Median seconds of every method on one data set, their ratios, and those of predicting."""
    # How many iterations a peer makes may depend on the seed alone, by a factor of ten.
    seeds = range(seed, seed + repeats)
    methods = {"tfdpm": _median_record([fit_record(data, each) for each in seeds])}
    for name in names:
        methods[name] = _median_record(
            [measured(data, name, each, _peer_call(name, data, each)) for each in seeds]
        )
    return {
        "data": data.name,
        "methods": methods,
        "ratios": _ratios(methods, "seconds"),
        "cpu_ratios": _ratios(methods, "cpu_seconds"),
        "predict": _prediction(data, seed),
    }


def _ratios(methods: dict[str, dict[str, Any]], clock: str) -> dict[str, float]:
    """The time of tfdpm by that of each other method."""
    own = methods["tfdpm"][clock]
    return {name: own / record[clock] for name, record in methods.items() if name != "tfdpm"}


def _peer_call(name: str, data: LabelledData, seed: int) -> Callable[[], np.ndarray]:
    return lambda: PEERS[name](data.x, data.true_k, seed)


def _median_record(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The first record with the median times and NMI, and every time beside them."""
    names = ("seconds", "cpu_seconds", "nmi")
    medians = {name: float(np.median([record[name] for record in records])) for name in names}
    each = {f"each_{name}": [record[name] for record in records] for name in names}
    return {**records[0], **medians, **each}


def _prediction(data: LabelledData, seed: int) -> dict[str, float]:
    """Median seconds of labelling all points, by tfdpm and by a Gaussian mixture of the same K."""
    model = tfdpm.fit(data.x, seed=seed, epochs=1, verbose=0)
    mixture = GaussianMixture(model.n_clusters, random_state=seed).fit(data.x)
    own, peer = (_seconds(call, data.x) for call in (model.predict_labels, mixture.predict))
    return {"clusters": model.n_clusters, "tfdpm": own, "gmm": peer, "ratio": own / peer}


def _seconds(call: Callable[[np.ndarray], Any], x: np.ndarray) -> float:
    """Median wall time of a call, after one that warms up."""
    times = []
    for _ in range(1 + _PREDICT_REPEATS):
        start = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def _add_exponents(results: dict[str, Any]) -> None:
    """Fitted exponents of processor time and arithmetic; epochs' shares of the matmul rates."""
    sizes = {"points": "num_points", "clusters": "clusters", "dims": "dim"}
    results["exponents"] = {
        name: growth.exponent([row[size] for row in rows], [row["cpu_seconds"] for row in rows])
        for name, size in sizes.items()
        for rows in [results["growth"][name]]
    }
    results["arithmetic_exponents"] = {
        name: growth.exponent(
            [row[sizes[name]] for row in rows], [row["operations"] for row in rows]
        )
        for name in ("clusters", "dims")
        for rows in [results["growth"][name]]
    }
    for name in ("paper", "clusters", "dims", "stream"):
        for row in results["growth"][name]:
            for dtype, rate in results["matmul_rate"].items():
                row[f"share_of_{dtype}_rate"] = row["operations_per_second"] / rate


def _show(results: dict[str, Any]) -> None:
    rows = [
        (
            comparison["data"],
            name,
            *(f"{record[clock]:.2f}" for clock in ("seconds", "cpu_seconds")),
            *(f"{comparison[ratio].get(name, 1):.3f}" for ratio in ("ratios", "cpu_ratios")),
            f"{record['nmi']:.3f}",
            record["clusters"],
            record.get("traces", ""),
        )
        for comparison in results["comparisons"]
        for name, record in comparison["methods"].items()
    ]
    columns = ("data", "method", "seconds", "CPU s", "tfdpm / it", "CPU", "NMI", "K", "traces")
    if rows:
        show(f"Fits on {results['cores']} core(s)", columns, rows)
        rows = [[each["data"], *each["predict"].values()] for each in results["comparisons"]]
        show("Labels of all points, seconds", ("data", "K", "tfdpm", "gmm", "ratio"), rows)
    for name, title, names in (
        ("points", "Fit over N", ("num_points", "clusters", *_CLOCKS, "peak_above_data_mib")),
        (
            "paper",
            "Epoch, batches of 128",
            ("num_points", "dim", "clusters", "first_cpu_seconds", *_CLOCKS, *_SHARES),
        ),
        ("clusters", "Epoch over K", ("clusters", *_CLOCKS, *_SHARES)),
        ("dims", "Epoch over D", ("dim", *_CLOCKS, *_SHARES)),
        ("stream", "Epoch over a stream", ("num_points", *_CLOCKS, *_SHARES, "peak_mib")),
    ):
        if results["growth"][name]:
            power = results["exponents"].get(name)
            title = title if power is None else f"{title}: exponent {power:.2f}"
            expected = results["arithmetic_exponents"].get(name)
            title = title if expected is None else f"{title}, of its arithmetic {expected:.2f}"
            show(title, names, [[row[key] for key in names] for row in results["growth"][name]])
