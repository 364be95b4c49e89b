"""Starts, calls and steps of everyday use, each measured in turns with what it stands beside."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.cluster import MiniBatchKMeans
from sklearn.mixture import GaussianMixture

import tfdpm
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.speed.growth import draw_gaussians
from tfdpm.benchmarks.swav.pytorch_step import (
    has_pytorch,
    make_pytorch_network,
    make_pytorch_step,
)
from tfdpm.features import SwAV

__all__ = ["measure_everyday"]

# What a program says when it ends: its processor seconds, and the most memory that it took.
_REPORT = """
import atexit, time
@atexit.register
def report():
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM:")).split()[1]
    print(time.process_time(), int(peak) / 1024)
"""
_HELP = "import sys; from tfdpm.cli import main; sys.exit(main(['--help']))"
_TENSORFLOW = "import tensorflow"
_DIGITS = "import tfdpm; tfdpm.fit('digits', features='none', verbose=0)"
_BATCHES, _ROWS = 20, 1_024
_STREAM = 100  # batches of a stream, all of which count: some bring a search
_CALLS = 100


def measure_everyday(
    *, repeats: int, seed: int, threads: int = 1, quick: bool = False
) -> list[Record]:
    """Measures each call and its peer by turns, on one core or several as the process may use.

    Args:
        repeats: turns, of which the median counts.
        seed: random seed of points and models.
        threads: threads that PyTorch may use, where it is installed.
        quick: whether starts of programs are left out and the images are few.
    Returns:
        For each call its `unit`, the medians `tfdpm` and `peer`, and their `ratio`. Seconds are of
        processor time. Starts of programs are measured where the system has `/proc`.
    """
    has_onnx = all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime")))
    rows = [
        *_measure_calls(repeats, seed),
        *_measure_exports(repeats, seed, has_onnx=not quick and has_onnx),
    ]
    for batch in (16,) if quick else (64, 256):
        rows += _measure_step(repeats, seed, batch, threads)
    if not quick and sys.platform == "linux":
        rows = [*_measure_starts(repeats), *rows]
    return rows


def _measure_starts(repeats: int) -> Iterable[Record]:
    for name, code, beside, peer in (
        ("tfdpm --help", _HELP, "import typer", "import typer"),
        ("import and fit of digits", _DIGITS, _TENSORFLOW, _TENSORFLOW),
    ):
        both = _take_turns(lambda code=code: _start(code), lambda peer=peer: _start(peer), repeats)
        for place, unit in enumerate(("s", "MiB")):
            yield _row(name, unit, beside, *(values[:, place] for values in both))


def _start(code: str) -> tuple[float, float]:
    """Runs a program; returns its processor seconds and its peak of memory in MiB."""
    command = [sys.executable, "-c", _REPORT + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = map(float, done.stdout.split()[-2:])
    return seconds, peak


def _measure_calls(repeats: int, seed: int) -> Iterable[Record]:
    x = draw_gaussians(_BATCHES * _ROWS, 10, 10, seed)
    batches, row = x.reshape(_BATCHES, _ROWS, -1), x[:1].astype(np.float64)
    model = tfdpm.fit(x, features="none", seed=seed, verbose=0)
    mixture = GaussianMixture(model.n_clusters, random_state=seed).fit(x)

    def ask(method: Callable[[np.ndarray], Any]) -> Callable[[], None]:
        return lambda: [method(row) for _ in range(_CALLS)]

    def learn(learner: Any) -> Callable[[], tuple[float]]:
        rows = itertools.cycle(batches)
        return _timed(lambda: learner.partial_fit(next(rows)))

    kmeans = MiniBatchKMeans(mixture.n_components, random_state=seed, n_init=1)
    both = _take_turns(learn(tfdpm.DeepDPM(seed=seed)), learn(kmeans), _STREAM - 1)
    both = [1000 * values[:, 0] for values in both]
    for name, each in (
        ("median", both),
        ("mean", [values.mean(keepdims=True) for values in both]),
    ):
        yield _row(f"partial_fit, {name} of {_STREAM} batches", "ms", "MiniBatchKMeans", *each)
    for name, ours, beside, peer in (
        (
            "predict_labels, one row",
            ask(model.predict_labels),
            "GaussianMixture.predict",
            ask(mixture.predict),
        ),
        (
            "score_samples, one row",
            ask(model.score_samples),
            "GaussianMixture.score_samples",
            ask(mixture.score_samples),
        ),
    ):
        both = _take_turns(_timed(ours), _timed(peer), repeats)
        yield _row(name, "ms", beside, *(1000 * values[:, 0] / _CALLS for values in both))


def _measure_exports(repeats: int, seed: int, has_onnx: bool) -> Iterable[Record]:
    """The exported signature `labels` on one row beside one that gives its input back."""
    x = draw_gaussians(_ROWS, 10, 10, seed)
    model, row = tfdpm.fit(x, features="none", seed=seed, verbose=0), tf.constant(x[:1])
    empty = keras.Sequential([keras.Input([10]), keras.layers.Identity()])

    def ask(path: str, signature: str) -> Callable[[], tuple[float]]:
        loaded = tf.saved_model.load(path)  # which its signatures do not keep alive
        call = loaded.signatures[signature]
        (name,) = call.structured_input_signature[1]
        return _timed(lambda loaded=loaded: [call(**{name: row}) for _ in range(_CALLS)])

    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/tfdpm")
        empty.export(f"{folder}/empty", verbose=False)
        labels = ask(f"{folder}/tfdpm", "labels")
        peers = [
            (
                "exported labels",
                labels,
                "an empty exported graph",
                ask(f"{folder}/empty", "serving_default"),
            )
        ]
        if has_onnx:
            import onnxruntime

            model.export_onnx(f"{folder}/labels.onnx")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(f"{folder}/labels.onnx", options)
            given = {session.get_inputs()[0].name: x[:1]}
            onnx = _timed(lambda: [session.run(None, given) for _ in range(_CALLS)])
            peers.append(("ONNX labels", onnx, "exported labels", labels))
    for name, ours, beside, peer in peers:
        both = (1000 * each[:, 0] / _CALLS for each in _take_turns(ours, peer, repeats))
        yield _row(f"{name}, one row", "ms", beside, *both)


def _measure_step(repeats: int, seed: int, batch: int, threads: int) -> Iterable[Record]:
    """A step of `SwAV.small` beside one of its network by SGD, whose loss is a mean, and PyTorch's.

    There is a prototype for each image of a batch, so that no queue is needed.
    """
    model = SwAV.small(
        image_size=32,
        num_images=80 * batch,
        batch_size=batch,
        seed=seed,
        print_fn=lambda text: None,
    )
    rng, config = np.random.default_rng(seed), model.config
    crops = tuple(
        rng.standard_normal((batch, count, side, side, 3), np.float32)
        for count, side in zip(config.views.crop_counts, config.views.crop_sizes, strict=True)
    )
    tensors = tuple(map(tf.constant, crops))
    backbone = keras.models.clone_model(model.backbone)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(backbone.trainable_variables)

    def bare_step() -> None:
        with tf.GradientTape() as tape:
            rows = [
                backbone(tf.reshape(part, [-1, *part.shape[2:]]), training=True) for part in tensors
            ]
            loss = tf.reduce_mean(tf.concat(rows, axis=0))
        optimizer.apply(tape.gradient(loss, backbone.trainable_variables))

    ours = tf.function(lambda: model.train_step(tensors)["loss"], autograph=False)
    peers: dict[str, Callable[[], Any]] = {
        "its network alone, by SGD": tf.function(bare_step, autograph=False)
    }
    for layout in ("channels_last", "NCHW") if has_pytorch() else ():
        network = make_pytorch_network(config, small=True, seed=seed)
        peers[f"PyTorch, {layout}"] = make_pytorch_step(
            network, config, crops, channels_last=layout == "channels_last", threads=threads
        )
    for beside, peer in peers.items():
        both = _take_turns(_timed(ours), _timed(peer), repeats)
        columns = (each[:, 0] for each in both)
        yield _row(f"SwAV.small step, {batch} images", "s", beside, *columns)


def _timed(call: Callable[[], Any]) -> Callable[[], tuple[float]]:
    def timed() -> tuple[float]:
        start = time.process_time()
        call()
        return (time.process_time() - start,)

    call()  # which traces and imports
    return timed


def _take_turns(
    ours: Callable[[], Any], peer: Callable[[], Any], repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """What both return, `[repeats, values]`, so that other work slows both alike."""
    pairs = [(ours(), peer()) for _ in range(repeats)]
    return tuple(np.array(each) for each in zip(*pairs, strict=True))  # type: ignore[return-value]


def _row(call: str, unit: str, beside: str, ours: np.ndarray, peer: np.ndarray) -> Record:
    own, other = float(np.median(ours)), float(np.median(peer))
    return {
        "call": call,
        "unit": unit,
        "tfdpm": own,
        "beside": beside,
        "peer": other,
        "ratio": own / other,
    }
