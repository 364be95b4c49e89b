"""Scores on a folder of labelled sets, some of which have several right answers and noise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, read_suite
from tfdpm.benchmarks.peers import choose_peers
from tfdpm.benchmarks.records import (
    Record,
    describe_clusters,
    measure_fit,
    measure_peer,
    measure_time,
)
from tfdpm.benchmarks.sweep import Method, Sweep
from tfdpm.benchmarks.tables import make_console, print_table
from tfdpm.features.learn_encoder import FEATURES

_OURS = "tfdpm"
_AVERAGED = ("ari", "nmi", "clusters", "cpu_seconds")


def run(sweep: Sweep, *, folder: str | Path, peers: str, features: str, only: str) -> Record:
    """Clusters every set of a folder with every method and seed.

    Every score is the best over the references of a set. A fit that fails counts as one cluster.
    The folder is as `read_suite` takes it. Returns `records`, `summary` with means and standard
    deviations over seeds, and `means` over the sets of each method, as written.
    """
    names = choose_peers(peers)
    fit = partial(measure_fit, features=checks.one_of(features, "--features", FEATURES))
    sets = read_suite(folder, only)
    methods: list[Method] = [partial(measure_or_fail, measure=fit, method=_OURS)]
    for name in names:
        # Of float32 columns with wide units, a Gaussian mixture may find no covariance.
        measure = partial(measure_peer, peer=name, dtype=np.float64)
        methods.append(partial(measure_or_fail, measure=measure, method=name))
    results: Record = {"benchmark": "suite", "folder": str(folder), "features": features}
    sweep.measure(results, sets, methods, group_by=("data", "method"))
    results["means"] = _average([_OURS, *names], results["summary"])
    sweep.write(results)
    _print_results(results, sets)
    return results


def measure_or_fail(data: LabelledData, seed: int, *, measure: Method, method: str) -> Record:
    """Measures a method on a set; if it fails, prints the error and scores one cluster.

    The record then has the text of the error as `error`, and `method` as its name.
    """
    with measure_time() as cost:
        try:
            return measure(data, seed)
        except Exception as error:  # whatever it is, the other sets are still of interest
            text = f"{type(error).__name__}: {error}"
    line = f"{data.name}, {method}, seed {seed}: {text}"
    make_console().print(line, markup=False, highlight=False, soft_wrap=True)
    labels = np.zeros(len(data.x), np.int64)
    return {**describe_clusters(data, method, seed, labels), **cost, "error": text}


def _average(methods: Iterable[str], summary: Iterable[Record]) -> Record:
    """Returns the mean over the sets of each score, by method."""
    means = {}
    for method in methods:
        own = [row for row in summary if row["method"] == method]
        means[method] = {
            key: float(np.mean([row[key]["mean"] for row in own])) for key in _AVERAGED
        }
    return means


def _print_results(results: Record, sets: Iterable[LabelledData]) -> None:
    """Prints a row for each set and one of means: our scores, then the ARI of each peer."""
    rows, means = [], results["means"]
    peers = [method for method in means if method != _OURS]
    for data in sets:
        own = {row["method"]: row for row in results["summary"] if row["data"] == data.name}
        ours = own[_OURS]
        scores = [f"{ours[key]['mean']:.3f}" for key in ("ari", "nmi")]
        found = " ".join(map(str, ours["each_clusters"]))
        wanted = "/".join(map(str, data.reference_k))
        seconds = f"{ours['cpu_seconds']['mean']:.1f}"
        beside = [f"{own[peer]['ari']['mean']:.3f}" for peer in peers]
        rows.append((data.name, *scores, found, wanted, seconds, *beside))
    ours = means[_OURS]
    scores = [f"{ours[key]:.3f}" for key in ("ari", "nmi")]
    beside = [f"{means[peer]['ari']:.3f}" for peer in peers]
    name, seconds = f"mean of {len(rows)}", f"{ours['cpu_seconds']:.1f}"
    rows.append((name, *scores, f"{ours['clusters']:.1f}", "", seconds, *beside))
    columns = ("data", "ARI", "NMI", "K", "true K", "CPU s", *(f"{peer} ARI" for peer in peers))
    print_table("Suite, means over seeds of the best scores over references", columns, rows)
