"""One measured clustering as a record, and records as a table and as a file.

What is clustered comes from `labelled.py`, by whom from `peers.py` or `tfdpm.fit`.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_info

import tfdpm
from tfdpm import metrics
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.config import DeepDPMConfig

__all__ = ["fit_record", "measured", "scores", "show", "spread", "summarised", "write"]

Record = dict[str, Any]

_WIDTH = 140  # columns of a table that goes into a file
_SUMMARISED = ("nmi", "ari", "acc", "clusters", "seconds", "cpu_seconds")


def scores(known: np.ndarray, labels: np.ndarray) -> Record:
    """NMI, ARI, ACC and the number of clusters; noise (-1) is scored as a cluster, not counted."""
    return {
        "nmi": metrics.nmi(known, labels),
        "ari": metrics.ari(known, labels),
        "acc": metrics.clustering_accuracy(known, labels),
        "clusters": len(np.unique(labels[labels >= 0])),
    }


def measured(
    data: LabelledData, method: str, seed: int, cluster: Callable[[], np.ndarray]
) -> Record:
    """Scores, wall time, processor time of all threads (seconds) and warnings of one clustering.

    Args:
        data: what is clustered.
        method: name for the tables.
        seed: of this run.
        cluster: returns `[N]` clusters.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wall, cpu = time.perf_counter(), time.process_time()
        labels = cluster()
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    messages = sorted({f"{item.category.__name__}: {item.message}" for item in caught})
    record = {"data": data.name, "method": method, "seed": seed, **scores(data.y, labels)}
    record |= {"true_clusters": data.true_k, "seconds": seconds, "cpu_seconds": cpu_seconds}
    return {**record, "warnings": messages}


def fit_record(
    data: LabelledData,
    seed: int,
    *,
    method: str = "tfdpm",
    config: DeepDPMConfig | None = None,
    initial_clusters: int = 1,
    features: str = "auto",
) -> Record:
    """The record of `tfdpm.fit`, from the call to the fitted model, tracing included."""
    fitted = []

    def cluster():
        model = tfdpm.fit(
            data.x,
            features=features,
            config=config,
            seed=seed,
            initial_clusters=initial_clusters,
            verbose=0,
        )
        fitted.append(model)
        return model.labels_

    record = measured(data, method, seed, cluster)
    (model,) = fitted
    history = model.history.history
    return {
        **record,
        "clusters": model.n_clusters,
        "traces": model.num_traces,
        "epochs": len(history["n_clusters"]),
        "clusters_by_epoch": [int(count) for count in history["n_clusters"]],
    }


def summarised(records: Iterable[Record], *keys: str) -> list[Record]:
    """Mean and standard deviation of the scores over the records that agree in `keys`."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    summary = []
    for values, members in groups.items():
        row: Record = dict(zip(keys, values, strict=True))
        for name in _SUMMARISED:
            column = [member[name] for member in members]
            row[name] = {"mean": float(np.mean(column)), "std": float(np.std(column))}
        row["each_clusters"] = [member["clusters"] for member in members]
        summary.append(row)
    return summary


def spread(value: dict[str, float], digits: int = 3) -> str:
    """A mean with its standard deviation, as in the tables of papers."""
    return f"{value['mean']:.{digits}f} ± {value['std']:.{digits}f}"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table whose first column is left-aligned; floats get three significant digits."""
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)


def write(out: str | Path, results: Record) -> None:
    """Writes results as JSON beside what they were measured with."""
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "scikit-learn")}
    threads = [
        {"library": pool["internal_api"], "threads": pool["num_threads"]}
        for pool in threadpool_info()
    ]
    machine = {"processor": platform.machine(), "python": platform.python_version(), **versions}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**results, "machine": {**machine, "pools": threads}}, indent=1)
    Path(out).write_text(text)
