"""Records of measured clusterings, their summary over seeds, and the JSON file they go to."""

from __future__ import annotations

import contextlib
import json
import platform
import time
import warnings
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

import tfdpm
from tfdpm import metrics
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.peers import LEARN, PEERS
from tfdpm.config import DeepDPMConfig
from tfdpm.progress.files import replace_file

Record = dict[str, Any]

_SUMMARIZED = ("nmi", "ari", "acc", "clusters", "seconds", "cpu_seconds")


def score_clusters(known: np.ndarray, labels: np.ndarray) -> Record:
    """Returns NMI, ARI, ACC and the number of clusters.

    Noise (label -1) is scored as one more cluster, but it is not counted as one.
    """
    return {
        **metrics.score_labels(known, labels),
        "clusters": len(np.unique(labels[labels >= 0])),
    }


def score_references(references: Iterable[np.ndarray], labels: np.ndarray) -> Record:
    """Returns the best of each score over several right references, and the number of clusters.

    Points that a reference calls noise (0) are not scored by it; the label -1 is noise, too.
    """
    scores = [metrics.score_labels(known[known > 0], labels[known > 0]) for known in references]
    best = {name: max(each[name] for each in scores) for name in scores[0]}
    return {**best, "clusters": len(np.unique(labels[labels >= 0]))}


@contextlib.contextmanager
def measure_time() -> Iterator[Record]:
    """Measures a `with` block: `seconds`, `cpu_seconds` of all threads, and `warnings` as text.

    The record is filled when the block ends.
    """
    record: Record = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wall, cpu = time.perf_counter(), time.process_time()
        yield record
        record["seconds"] = time.perf_counter() - wall
        record["cpu_seconds"] = time.process_time() - cpu
    record["warnings"] = sorted({f"{item.category.__name__}: {item.message}" for item in caught})


def describe_clusters(data: LabelledData, method: str, seed: int, labels: np.ndarray) -> Record:
    """Returns what was clustered, by which method and seed, with the scores of the labels `[N]`."""
    record = {"data": data.name, "method": method, "seed": seed}
    if not data.references:
        return {**record, **score_clusters(data.y, labels), "true_clusters": data.true_k}
    scores = score_references(data.references, labels)
    return {
        **record,
        **scores,
        "true_clusters": data.true_k,
        "reference_clusters": data.reference_k,
    }


def measure_fit(
    data: LabelledData,
    seed: int,
    *,
    method: str = "tfdpm",
    config: DeepDPMConfig | None = None,
    initial_clusters: int = 1,
    features: str = "auto",
) -> Record:
    """Measures `tfdpm.fit` from the call to the fitted model, tracing included.

    `method` is the name in the tables; other arguments are those of `tfdpm.fit`.
    """
    with measure_time() as cost:
        model = tfdpm.fit(
            data.x,
            features=features,
            config=config,
            seed=seed,
            initial_clusters=initial_clusters,
            verbose=0,
        )
        labels = model.labels_
    counts = [int(count) for count in model.history.history["n_clusters"]]
    return {
        **describe_clusters(data, method, seed, labels),
        **cost,
        "clusters": model.n_clusters,
        "initial_clusters": initial_clusters,
        "traces": model.num_traces,
        "epochs": len(counts),
        "clusters_by_epoch": counts,
    }


def measure_peer(
    data: LabelledData,
    seed: int,
    *,
    peer: str,
    method: str | None = None,
    given_k: int | None = None,
    epochs: int | None = None,
    dtype: type = np.float32,
) -> Record:
    """Measures the method `peer` of `PEERS` on points as rows, of floats of a type.

    In the tables it is called `method`, by default as in `PEERS`. Methods that need K are given
    `given_k`, by default the number of classes; those that train networks at most so many epochs.
    """
    data = data.as_rows(dtype=dtype)
    options = {"epochs": epochs} if peer in LEARN else {}
    with measure_time() as cost:
        labels = PEERS[peer](data.x, given_k or data.true_k, seed, **options)
    return {**describe_clusters(data, method or peer, seed, labels), **cost}


def summarize(records: Iterable[Record], *keys: str) -> list[Record]:
    """Returns mean and standard deviation of the scores over the records that agree in `keys`."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    summary = []
    for values, members in groups.items():
        row: Record = dict(zip(keys, values, strict=True))
        for name in _SUMMARIZED:
            column = [member[name] for member in members]
            row[name] = {"mean": float(np.mean(column)), "std": float(np.std(column))}
        row["each_clusters"] = [member["clusters"] for member in members]
        summary.append(row)
    return summary


def write_results(out: str | Path, results: Record) -> None:
    """Writes results as JSON, with the versions and thread pools they were measured with."""
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "scikit-learn")}
    threads = [
        {"library": pool["internal_api"], "threads": pool["num_threads"]}
        for pool in threadpool_info()
    ]
    machine = {"processor": platform.machine(), "python": platform.python_version(), **versions}
    text = json.dumps({**results, "machine": {**machine, "pools": threads}}, indent=1)
    with replace_file(out) as path:  # whole even if the run is killed meanwhile
        path.write_text(text)
