"""Time of fits and predictions beside other methods on the same threads, and growth with size."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.mixture import GaussianMixture

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.peers import choose_peers
from tfdpm.benchmarks.records import Record, measure_fit, measure_peer
from tfdpm.benchmarks.speed import growth, streaming
from tfdpm.benchmarks.speed.everyday import measure_everyday
from tfdpm.benchmarks.speed.threads import limit_threads
from tfdpm.benchmarks.speed.time_plot import plot_times
from tfdpm.benchmarks.swav.pytorch_step import has_pytorch
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_records, print_table

__all__ = ["run"]


class _GrowthSizes(NamedTuple):
    """Sizes that stay the same while another one grows."""

    dim: int = 10
    clusters: int = 10
    epoch_points: int = 20_480
    stream: tuple[int, int] = (128, 200)  # D and K
    paper: tuple[int, int, int] = (70_000, 10, 10)  # N, D and K of MNIST's embeddings in [DeepDPM]
    paper_batch: int = 128


_QUICK_SIZES = _GrowthSizes(epoch_points=500, stream=(40, 2), paper=(500, 3, 2))
_QUICK_GROWTH = {"points": (300, 600), "clusters": (2, 4), "dims": (2, 4), "stream": (600,)}
_PREDICT_REPEATS = 5
_CLOCKS = ("seconds", "cpu_seconds")
_SHARES = ("share_of_float32_rate", "share_of_float64_rate", "traces")
_SIZES = {"points": "num_points", "clusters": "clusters", "dims": "dim"}
_GROWTH_TABLES = {
    "points": ("Fit over N", ("num_points", "clusters", *_CLOCKS, "peak_above_data_mib")),
    "paper": (
        "Epoch, batches of 128",
        ("num_points", "dim", "clusters", "first_cpu_seconds", *_CLOCKS, *_SHARES),
    ),
    "clusters": ("Epoch over K", ("clusters", *_CLOCKS, *_SHARES)),
    "dims": ("Epoch over D", ("dim", *_CLOCKS, *_SHARES)),
    "stream": ("Epoch over a stream", ("num_points", *_CLOCKS, *_SHARES, "peak_mib")),
}


def run(
    sweep: Sweep,
    *,
    repeats: int,
    peers: str,
    points: Sequence[int],
    clusters: Sequence[int],
    dims: Sequence[int],
    stream: Sequence[int],
    everyday: bool = False,
) -> Record:
    """Times tfdpm and its peers on every data set, then fits and epochs of growing size.

    On the first data set, the first run of a peer includes its import and its compilation, as
    the column `first s` shows.

    Args:
        sweep: files, first seed, threads and output; a picture goes beside the output. Without
            files, growth alone is measured.
        repeats: runs of each method, of which the median counts; each has the next seed.
        peers: names from `PEERS` with commas between them, "sklearn", "all" or "none".
        points: N of fits at D = 10 and 10 clusters, each in a process of its own.
        clusters: K of epochs at D = 10 and N = 20,480. With any, an epoch of the paper's size is
            timed too: 70,000 points, D = 10, K = 10, batches of 128, compiled by XLA.
        dims: D of epochs at K = 10 and N = 20,480.
        stream: N of streams from disk at D = 128 and 200 clusters, each in a process of its own.
        everyday: whether starts, single calls and steps are measured beside their peers.
    Returns:
        What was written: `records`, `comparisons`, `everyday`, `matmul_rate`, and `growth` with
        exponents.
    """
    checks.integer(repeats, "--repeats", minimum=1)
    methods = {"tfdpm": measure_fit}
    methods |= {name: partial(measure_peer, peer=name) for name in choose_peers(peers)}
    # How many iterations a peer makes may depend on the seed alone, by a factor of ten.
    sweep = dataclasses.replace(sweep, seeds=repeats)
    sets = sweep.read_rows() if sweep.data else []
    results: Record = {"benchmark": "speed", "records": []}
    with limit_threads(sweep.threads) as cores:
        results["cores"] = cores
        if sets:  # TensorFlow starts once in a process; the tracing of each fit is timed
            growth.warm_up(sweep.seed)
        sweep.measure(results, sets, methods.values())
        results["comparisons"] = [
            _compare_methods(data, results["records"], sweep.seed) for data in sets
        ]
        results["matmul_rate"] = {
            dtype: growth.measure_matmul_rate(dtype, 0.05 if sweep.quick else 1.0)
            for dtype in ("float32", "float64")
        }
        results["everyday"] = []
        if everyday:
            results["everyday"] = measure_everyday(
                repeats=repeats, seed=sweep.seed, threads=cores, quick=sweep.quick
            )
        grown = {"points": points, "clusters": clusters, "dims": dims, "stream": stream}
        results["growth"] = {name: [] for name in _GROWTH_TABLES}
        for name, measure, arguments in _plan_growth(grown, sweep.quick):
            results["growth"][name].append(measure(*arguments, sweep.seed))
            sweep.write(results)
    _add_exponents(results)
    results["picture"] = plot_times(results, Path(sweep.out).with_suffix(".png"))
    sweep.write(results)
    _print_comparisons(results)
    if everyday:
        columns = {name: name for name in ("call", "unit", "tfdpm", "beside", "peer", "ratio")}
        print_records("Everyday, medians by turns", results["everyday"], columns)
        if not has_pytorch():
            print("PyTorch is not installed: no step of SwAV.small stands beside its own.")
    _print_growth(results)
    return results


def _plan_growth(
    grown: dict[str, Sequence[int]], quick: bool
) -> list[tuple[str, Callable[..., Record], tuple[int, int, int]]]:
    """Returns for each measurement the part it belongs to, its function, and N, D and K."""
    fixed = _QUICK_SIZES if quick else _GrowthSizes()
    measure_growth: Callable = growth.measure_fit_growth
    measure_stream: Callable = streaming.measure_stream
    if quick:
        grown = {name: sizes and _QUICK_GROWTH[name] for name, sizes in grown.items()}
    else:
        measure_growth = partial(growth.measure_alone, measure_growth)
        measure_stream = partial(growth.measure_alone, measure_stream)
    # The paper trains for 500 such epochs, for which compiling pays.
    measure_paper = partial(
        growth.measure_epoch, batch_size=fixed.paper_batch, jit_compile=not quick
    )
    points = [(n, fixed.dim, fixed.clusters) for n in grown["points"]]
    clusters = [(fixed.epoch_points, fixed.dim, k) for k in grown["clusters"]]
    dims = [(fixed.epoch_points, d, fixed.clusters) for d in grown["dims"]]
    parts = (
        ("points", measure_growth, points),
        ("paper", measure_paper, [fixed.paper] * bool(clusters)),
        ("clusters", growth.measure_epoch, clusters),
        ("dims", growth.measure_epoch, dims),
        ("stream", measure_stream, [(n, *fixed.stream) for n in grown["stream"]]),
    )
    return [(name, measure, size) for name, measure, sizes in parts for size in sizes]


def _compare_methods(data: LabelledData, records: list[Record], seed: int) -> Record:
    """Returns medians of every method on a data set, and ratios of tfdpm's time to the others'."""
    by_method: dict[str, list[Record]] = {}
    for record in records:
        if record["data"] == data.name:
            by_method.setdefault(record["method"], []).append(record)
    methods = {name: _find_median(own) for name, own in by_method.items()}
    ratios = {
        clock: {
            name: methods["tfdpm"][clock] / record[clock]
            for name, record in methods.items()
            if name != "tfdpm"
        }
        for clock in _CLOCKS
    }
    return {
        "data": data.name,
        "methods": methods,
        "ratios": ratios["seconds"],
        "cpu_ratios": ratios["cpu_seconds"],
        "predict": _measure_prediction(data, seed),
    }


def _find_median(records: list[Record]) -> Record:
    """Returns the first record with the median times and NMI, and all values beside them."""
    names = (*_CLOCKS, "nmi")
    medians = {name: float(np.median([record[name] for record in records])) for name in names}
    each = {f"each_{name}": [record[name] for record in records] for name in names}
    return {**records[0], **medians, **each}


def _measure_prediction(data: LabelledData, seed: int) -> Record:
    """Times labelling all points, by tfdpm and by a Gaussian mixture of the same K."""
    model = tfdpm.fit(data.x, seed=seed, epochs=1, verbose=0)
    mixture = GaussianMixture(model.n_clusters, random_state=seed).fit(data.x)
    own, peer = (_time_call(call, data.x) for call in (model.predict_labels, mixture.predict))
    return {"clusters": model.n_clusters, "tfdpm": own, "gmm": peer, "ratio": own / peer}


def _time_call(call: Callable[[np.ndarray], Any], x: np.ndarray) -> float:
    """Returns the median wall time of a call in seconds, after one call that warms up."""
    times = []
    for _ in range(1 + _PREDICT_REPEATS):
        start = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def _add_exponents(results: Record) -> None:
    """Adds exponents of processor time and operations, and the epochs' shares of matmul rates."""

    def fit_exponents(names: Sequence[str], cost: str) -> dict[str, float | None]:
        rows = {name: results["growth"][name] for name in names}
        return {
            name: growth.fit_exponent(
                [row[_SIZES[name]] for row in rows[name]], [row[cost] for row in rows[name]]
            )
            for name in names
        }

    results["exponents"] = fit_exponents(("points", "clusters", "dims"), "cpu_seconds")
    results["arithmetic_exponents"] = fit_exponents(("clusters", "dims"), "operations")
    for name in ("paper", "clusters", "dims", "stream"):
        for row in results["growth"][name]:
            for dtype, rate in results["matmul_rate"].items():
                row[f"share_of_{dtype}_rate"] = row["operations_per_second"] / rate


def _print_comparisons(results: Record) -> None:
    if not results["comparisons"]:
        return
    rows = [
        (
            comparison["data"],
            name,
            f"{record['each_seconds'][0]:.2f}",
            *(f"{record[clock]:.2f}" for clock in _CLOCKS),
            *(f"{comparison[ratio].get(name, 1):.3f}" for ratio in ("ratios", "cpu_ratios")),
            f"{record['nmi']:.3f}",
            record["clusters"],
            record.get("traces", ""),
        )
        for comparison in results["comparisons"]
        for name, record in comparison["methods"].items()
    ]
    columns = (
        "data",
        "method",
        "first s",
        "seconds",
        "CPU s",
        "tfdpm / it",
        "CPU",
        "NMI",
        "K",
        "traces",
    )
    print_table(f"Fits on {results['cores']} core(s)", columns, rows)
    rows = [[each["data"], *each["predict"].values()] for each in results["comparisons"]]
    print_table("Labels of all points, seconds", ("data", "K", "tfdpm", "gmm", "ratio"), rows)


def _print_growth(results: Record) -> None:
    for name, (title, columns) in _GROWTH_TABLES.items():
        power = results["exponents"].get(name)
        title += "" if power is None else f": exponent {power:.2f}"
        expected = results["arithmetic_exponents"].get(name)
        title += "" if expected is None else f", of its arithmetic {expected:.2f}"
        rows = [[row[key] for key in columns] for row in results["growth"][name]]
        if rows:
            print_table(title, columns, rows)
