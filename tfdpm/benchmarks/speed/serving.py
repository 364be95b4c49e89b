"""What an exported model costs beside a bare Keras export of the same network.

Both are run as TensorFlow Serving runs them: through a session on the folder, with no Python in
between but the call.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.benchmarks.records import show, write
from tfdpm.benchmarks.speed.threads import same_threads
from tfdpm.config import DeepDPMConfig
from tfdpm.deepdpm import DeepDPM

__all__ = ["run"]

_CLUSTERS, _FEATURES, _PIXELS = 10, 10, 784
# The encoder that [DeepDPM] supplement 7.2 uses for MNIST: hidden widths, then the features.
_ENCODER = (500, 500, 2000, _FEATURES)
_POINTS = 2_000  # of the fit; what is timed does not depend on it
_BATCH = 1_024
_WARMUP = 20
_BARE = "bare Keras"
_SIGNATURES = ("serving_default", "labels")


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_serving.json",
    seed: int = 0,
    repeats: int = 1_000,
    threads: int = 1,
    quick: bool = False,
) -> dict[str, Any]:
    """Times two exported models, signature by signature, beside bare exports of their networks.

    One takes 10 features; the other takes 784 pixels and has an encoder 784-500-500-2000-10
    inside. Weights are random where nothing was fitted: they do not change the arithmetic. Calls
    of all contestants take turns, so that whatever else the machine does slows all alike.

    Args:
        data: none; what is timed does not depend on it.
        out: JSON file.
        seed: of the points and of the weights.
        repeats: calls with one point; calls with 1,024 points are a tenth of these.
        threads: cores and threads of all contestants.
        quick: 20 calls.

    Returns:
        What was written: for each model and contestant `p50_ms` and `p99_ms` of one point,
        `rows_per_second` in batches of 1,024, and, of both sizes, the share by which the median
        call takes more processor time than that of the bare export: what else the machine does
        changes that least. Of one point also the share for the slowest of a hundred calls.
    """
    if data:
        checks.fail("--data", str(data[0]), "no data: the benchmark makes its own")
    repeats = 20 if quick else checks.integer(repeats, "--repeats", minimum=1)
    records = []
    with same_threads(threads), tempfile.TemporaryDirectory() as folder:
        for name, encoder in (("784 pixels", _encoder(seed)), ("10 features", None)):
            folders = _exports(Path(folder) / name.replace(" ", "_"), encoder, seed)
            records += _compared(name, folders, repeats, threads, seed)
    columns = (
        "model",
        "export",
        "p50 ms",
        "p99 ms",
        "rows/s",
        "overhead, 1 row",
        "at p99",
        f"{_BATCH:,} rows",
    )
    rows = [_row(record) for record in records]
    show(f"Serving, {threads} thread(s), median of {repeats:,} calls", columns, rows)
    results = {"records": records, "repeats": repeats, "threads": threads, "batch": _BATCH}
    write(out, results)
    return results


def _encoder(seed: int) -> keras.Sequential:
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, activation="relu") for width in _ENCODER[:-1]]
    return keras.Sequential([keras.Input([_PIXELS]), *hidden, keras.layers.Dense(_ENCODER[-1])])


def _exports(folder: Path, encoder: keras.Sequential | None, seed: int) -> dict[str, Path]:
    """A fitted model's folder, and that of the same network without anything around it."""
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


def _compared(name: str, folders: dict[str, Path], repeats: int, threads: int, seed: int) -> list:
    """Records of the bare export and of each signature of the other."""
    calls = {_BARE: _call(folders[_BARE], "serving_default", threads)}
    for signature in _SIGNATURES:
        calls[f"tfdpm, {signature}"] = _call(folders["tfdpm"], signature, threads)
    width = _PIXELS if "pixels" in name else _FEATURES
    rows = np.random.default_rng(seed).normal(size=(_BATCH, width)).astype(np.float32)
    single = _times(calls, rows[:1], repeats)
    batch = _times(calls, rows, max(repeats // 10, 10))
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


def _call(folder: Path, signature: str, threads: int) -> Callable[[np.ndarray], Any]:
    """A function of a batch that runs all outputs of a signature in a session of its own."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
    )
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # the loader for sessions says that there is one without
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


def _times(
    calls: dict[str, Callable[[np.ndarray], Any]], rows: np.ndarray, repeats: int
) -> dict[str, np.ndarray]:
    """Seconds by the wall clock and of the processor, `[2, repeats]`, of each; they take turns."""
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


def _row(record: dict[str, Any]) -> tuple:
    overheads = (
        f"{record[f'overhead_of_{size}']:+.0%}" for size in ("one_row", "one_row_p99", "a_batch")
    )
    numbers = (record["p50_ms"], record["p99_ms"], f"{record['rows_per_second']:,.0f}")
    return (record["model"], record["export"], *numbers, *overheads)
