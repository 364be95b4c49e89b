"""Images per second of SwAV's training step on ResNet-50, beside PyTorch, and of its views."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.swav.pillow_views import has_pillow, pillow_views
from tfdpm.benchmarks.swav.pytorch_step import (
    has_pytorch,
    make_pytorch_network,
    make_pytorch_step,
)
from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features import SwAV, SwAVConfig, resnet50, small_resnet

_BATCH = 8
_COUNTS, _SIZES = (2, 6), (224, 96)
_QUICK_SIZES = (64, 32)
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_PHOTOGRAPH = (375, 500, 3)  # a usual size in ImageNet


def measure_steps(
    *, repeats: int, threads: int, seed: int, quick: bool = False
) -> dict[str, Record]:
    """Measures the step in float32 and bfloat16, ours and PyTorch's where it is installed.

    The programs take turns, so that other work on the computer slows all of them alike.

    Args:
        repeats: timed steps of each program.
        threads: threads that PyTorch may use.
        seed: random seed of the crops and weights.
        quick: whether crops are smaller and our network is small, for a trial.
    Returns:
        For each program the medians `rate` (images per second) and `cpu_rate` (images per second
        of processor time), and the rates of every step.
    """
    rng = np.random.default_rng(seed)
    crops = tuple(
        rng.normal(size=(_BATCH, count, size, size, 3)).astype(np.float32)
        for count, size in zip(_COUNTS, _QUICK_SIZES if quick else _SIZES, strict=True)
    )
    steps: dict[str, Callable[[], Any]] = {}
    for dtype, policy in _POLICIES.items():
        steps[f"tfdpm, {dtype}"] = _make_keras_step(crops, policy, seed, quick)
        if has_pytorch():
            config = SwAVConfig()
            network = make_pytorch_network(config, seed=seed)
            steps[f"PyTorch, {dtype}"] = make_pytorch_step(
                network, config, crops, autocast=dtype != "float32", threads=threads
            )
    for step in steps.values():
        step()
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            rates[name].append(_time_call(lambda step=step: (step(), _BATCH)[1]))
    return {name: _find_medians(pairs) for name, pairs in rates.items()}


def measure_views(*, seed: int, quick: bool = False) -> dict[str, Record]:
    """Measures the published views of decoded photographs of 375 x 500 pixels.

    Returns:
        For `tf.data`, and for Pillow where it is installed, what `measure_steps` returns. The first
        pass over the photographs, in which programs are compiled, does not count.
    """
    rng = np.random.default_rng(seed)
    number = 2 * _BATCH if quick else 64
    images = rng.integers(0, 256, size=(number, *_PHOTOGRAPH), dtype=np.uint8)
    source = tf.data.Dataset.from_tensor_slices(images)
    views = multicrop(source, batch_size=_BATCH, seed=seed)
    # Without an end, the batches made ahead of time are as many before the measurement as after.
    batches = iter(views.repeat())

    def one_pass() -> int:
        return sum(int(next(batches)[0].shape[0]) for _ in range(number // _BATCH))

    one_pass()
    calls = {"tfdpm": one_pass}
    if has_pillow():
        calls["Pillow"] = lambda: len([pillow_views(image, ViewConfig(), rng) for image in images])
    return {name: _find_medians([_time_call(call)]) for name, call in calls.items()}


def _make_keras_step(crops, policy: str, seed: int, quick: bool) -> Callable[[], Any]:
    backbone = small_resnet(widths=(8,), dtype=policy) if quick else resnet50(dtype=policy)
    model = SwAV(backbone, seed=seed, dtype=policy)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    tensors = tuple(tf.constant(views) for views in crops)
    run_step = tf.function(lambda: model.train_step(tensors))
    return lambda: float(run_step()["loss"])


def _time_call(call: Callable[[], int]) -> tuple[float, float]:
    """Calls for a number of images; returns the images per second of wall and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    images = call()
    return images / (time.perf_counter() - wall), images / (time.process_time() - cpu)


def _find_medians(pairs: list[tuple[float, float]]) -> Record:
    rates, cpu_rates = zip(*pairs, strict=True)
    return {
        "rate": float(np.median(rates)),
        "cpu_rate": float(np.median(cpu_rates)),
        "each_rate": list(rates),
        "each_cpu_rate": list(cpu_rates),
    }
