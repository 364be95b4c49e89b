"""Time of calls to an exported model beside a bare Keras export of the same network.

Both run in a session on the exported folder, as in TensorFlow Serving.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.speed.threads import limit_threads
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_records
from tfdpm.config import DeepDPMConfig
from tfdpm.deepdpm import DeepDPM

__all__ = ["run"]

_CLUSTERS, _FEATURES, _PIXELS = 10, 10, 784
# Widths of the encoder that [DeepDPM] supplement 7.2 uses for MNIST; the last are the features.
_ENCODER = (500, 500, 2000, _FEATURES)
_POINTS = 2_000  # of the fit; the timed calls do not depend on it
_BATCH = 1_024
_WARMUP = 20
_BARE = "bare Keras"
_SIGNATURES = ("serving_default", "labels")


_COLUMNS = {
    "model": "model",
    "export": "export",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "rows_per_second": "rows/s",
    "overhead_of_one_row": "overhead, 1 row",
    "overhead_of_one_row_p99": "at p99",
    "overhead_of_a_batch": f"{_BATCH:,} rows",
}


def run(sweep: Sweep, *, repeats: int) -> Record:
    """Times two exported models, signature by signature, beside bare exports of their networks.

    One model takes 10 features. The other takes 784 pixels and contains an encoder
    784-500-500-2000-10. Weights that are not fitted are random, which does not change the
    arithmetic. The calls take turns, so that other work on the computer slows all of them alike.

    Args:
        sweep: seed, threads and output; no files.
        repeats: calls with one point; calls with 1,024 points are a tenth of these.
    Returns:
        What was written: `records` of each model and export. `p50_ms` and `p99_ms` are of one
        point, `rows_per_second` is of batches of 1,024. The overheads are shares of processor time
        above the bare export: of the median call for both sizes, and at the 99th percentile.
    """
    if sweep.data:
        checks.fail("--data", str(sweep.data[0]), "no data: the benchmark makes its own")
    repeats = 20 if sweep.quick else checks.integer(repeats, "--repeats", minimum=1)
    records = []
    with limit_threads(sweep.threads), tempfile.TemporaryDirectory() as folder:
        for name, encoder in (("784 pixels", _make_encoder(sweep.seed)), ("10 features", None)):
            folders = _export_both(Path(folder) / name.replace(" ", "_"), encoder, sweep.seed)
            records += _compare_exports(name, folders, repeats, sweep)
    shown = [
        {
            key: f"{value:+.0%}" if key.startswith("overhead") else value
            for key, value in each.items()
        }
        | {"rows_per_second": f"{each['rows_per_second']:,.0f}"}
        for each in records
    ]
    title = f"Serving, {sweep.threads} thread(s), median of {repeats:,} calls"
    print_records(title, shown, _COLUMNS)
    results = {"records": records, "repeats": repeats, "threads": sweep.threads, "batch": _BATCH}
    sweep.write(results)
    return results


def _make_encoder(seed: int) -> keras.Sequential:
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, activation="relu") for width in _ENCODER[:-1]]
    return keras.Sequential([keras.Input([_PIXELS]), *hidden, keras.layers.Dense(_ENCODER[-1])])


def _export_both(folder: Path, encoder: keras.Sequential | None, seed: int) -> dict[str, Path]:
    """Exports a fitted model and its bare network, and returns the folder of each."""
    dim = _FEATURES if encoder is None else _PIXELS
    x = np.random.default_rng(seed).normal(size=(_POINTS, dim)).astype(np.float32)
    config = DeepDPMConfig(fixed_k=_CLUSTERS, preprocessing="center")
    model = DeepDPM(config, seed=seed, encoder=encoder)
    model.fit(x, epochs=1, verbose=0)
    model.export(folder / "tfdpm" / "1")
    layers = [
        keras.layers.Dense(model.clustering.hidden_units, activation="relu"),
        keras.layers.Dense(model.n_clusters, activation="softmax"),
    ]
    bare = keras.Sequential([keras.Input([dim]), *(encoder.layers if encoder else ()), *layers])
    bare.export(folder / "bare" / "1", verbose=False)
    return {"tfdpm": folder / "tfdpm" / "1", _BARE: folder / "bare" / "1"}


def _compare_exports(
    name: str, folders: dict[str, Path], repeats: int, sweep: Sweep
) -> list[Record]:
    """Returns records of the bare export and of each signature of the model's export."""
    calls = {_BARE: _make_call(folders[_BARE], "serving_default", sweep.threads)}
    for signature in _SIGNATURES:
        calls[f"tfdpm, {signature}"] = _make_call(folders["tfdpm"], signature, sweep.threads)
    width = _PIXELS if "pixels" in name else _FEATURES
    rows = np.random.default_rng(sweep.seed).normal(size=(_BATCH, width)).astype(np.float32)
    single = _time_calls(calls, rows[:1], repeats)
    batch = _time_calls(calls, rows, max(repeats // 10, 10))
    records = []
    for key in calls:
        overheads = [
            float(np.divide(*(np.percentile(times[each][1], rank) for each in (key, _BARE)))) - 1.0
            for times, rank in ((single, 50), (single, 99), (batch, 50))
        ]
        record = {
            "model": name,
            "export": key,
            "p50_ms": 1e3 * float(np.median(single[key][0])),
            "p99_ms": 1e3 * float(np.percentile(single[key][0], 99)),
            "rows_per_second": _BATCH / float(np.median(batch[key][0])),
            "overhead_of_one_row": overheads[0],
            "overhead_of_one_row_p99": overheads[1],
            "overhead_of_a_batch": overheads[2],
        }
        records.append(record)
    return records


def _make_call(folder: Path, signature: str, threads: int) -> Callable[[np.ndarray], Any]:
    """Returns a function of a batch that runs all outputs of a signature in its own session."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
    )
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # the loader warns that it is an old one
    try:
        with session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    finally:
        logger.setLevel(level)
    definition = meta_graph.signature_def[signature]
    (source,) = (info.name for info in definition.inputs.values())
    targets = [info.name for info in definition.outputs.values()]
    with session.graph.as_default():
        return session.make_callable(targets, feed_list=[source])


def _time_calls(
    calls: dict[str, Callable[[np.ndarray], Any]], rows: np.ndarray, repeats: int
) -> dict[str, np.ndarray]:
    """Calls all functions in turn; returns wall and processor seconds `[2, repeats]` of each."""
    for call in calls.values():
        for _ in range(_WARMUP):
            call(rows)
    times: dict[str, list[tuple[float, float]]] = {key: [] for key in calls}
    for _ in range(repeats):
        for key, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call(rows)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            times[key].append((wall, cpu))
    return {key: np.array(values).T for key, values in times.items()}
