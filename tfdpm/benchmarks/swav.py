"""SwAV in numbers: rate of a training step, of the pipeline, and what the features are worth."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from tfdpm.data.multicrop import multicrop
from tfdpm.features import SwAV, knn_accuracy, linear_probe, resnet50

_TRAIN_SHARE = 0.8


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_swav.json",
    seed: int = 0,
    steps: int = 3,
    batch_size: int = 8,
    epochs: int = 20,
) -> dict[str, Any]:
    """Measures the step and the pipeline, and trains the small preset on each file of images.

    Args:
        data: .npz files with images `x` `[N, H, W]` or `[N, H, W, C]` and labels `y`; four fifths
            train, one fifth tests.
        out: JSON file to write.
        seed: of everything drawn.
        steps: timed steps of ResNet-50; one more warms up.
        batch_size: images per step of ResNet-50.
        epochs: of the small preset.
    Returns:
        What was written: images per second, and accuracies per file.
    """
    results: dict[str, Any] = {"step": {}, "features": {}}
    for policy in ("float32", "mixed_bfloat16"):
        results["step"][policy] = step_rate(policy, steps=steps, batch_size=batch_size, seed=seed)
    results["pipeline"] = pipeline_rate(batch_size=batch_size, seed=seed)
    for path in data:
        results["features"][Path(path).stem] = feature_quality(path, epochs=epochs, seed=seed)
    _show(results)
    Path(out).write_text(json.dumps(results, indent=1))
    return results


def step_rate(policy: str, *, steps: int, batch_size: int, seed: int) -> float:
    """Images per second of a training step: ResNet-50, 2 crops of 224 pixels and 6 of 96."""
    rng = np.random.default_rng(seed)
    crops = tuple(
        tf.constant(rng.normal(size=(batch_size, count, size, size, 3)), tf.float32)
        for count, size in ((2, 224), (6, 96))
    )
    model = SwAV(resnet50(dtype=policy, seed=seed), seed=seed, dtype=policy)
    model.compile(keras.optimizers.SGD(0.01))
    run_step = tf.function(lambda: model.train_step(crops))
    run_step()
    start = time.perf_counter()
    for _ in range(steps):
        run_step()
    return steps * batch_size / (time.perf_counter() - start)


def pipeline_rate(*, batch_size: int, seed: int, num_images: int = 64) -> float:
    """Images per second of the published views of photographs of 375 x 500 pixels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, size=(num_images, 375, 500, 3), dtype=np.uint8)
    source = tf.data.Dataset.from_tensor_slices(images)
    views = multicrop(source, batch_size=batch_size, seed=seed)
    next(iter(views))
    start = time.perf_counter()
    total = sum(int(large.shape[0]) for large, _ in views)
    return total / (time.perf_counter() - start)


def feature_quality(path: str | Path, *, epochs: int, seed: int) -> dict[str, float]:
    """Accuracies of raw pixels, of the untrained encoder and of the trained one."""
    with np.load(path) as arrays:
        x, y = arrays["x"], arrays["y"]
    x = x[..., np.newaxis] if x.ndim == 3 else x
    order = np.random.default_rng(seed).permutation(len(x))
    cut = int(_TRAIN_SHARE * len(x))
    train, test = order[:cut], order[cut:]
    model = SwAV.small(
        image_size=x.shape[1],
        channels=x.shape[-1],
        num_images=cut,
        batch_size=64,
        epochs=epochs,
        seed=seed,
        print_fn=Console().print,
    )
    results: dict[str, float] = {}

    def measure(name, encode):
        features = encode(x[train]), encode(x[test])
        results[f"{name}_knn"] = knn_accuracy(features[0], y[train], features[1], y[test])
        results[f"{name}_linear"] = linear_probe(
            features[0], y[train], features[1], y[test], seed=seed
        ).top1

    def encoded(images):
        return model.encoder.predict(images, batch_size=256, verbose=0)

    measure("pixels", lambda images: images.reshape(len(images), -1) / np.float32(255))
    measure("untrained", encoded)
    views = multicrop(x[train], seed=seed, **model.view_options())
    wall, cpu = time.perf_counter(), time.process_time()
    history = model.fit(views, verbose=0).history
    results["wall_seconds"] = time.perf_counter() - wall
    results["cpu_seconds"] = time.process_time() - cpu
    results["loss"] = history["loss"][-1]
    results["ln_prototypes"] = float(np.log(model.config.num_prototypes))
    measure("trained", encoded)
    return results


def _show(results: dict[str, Any]) -> None:
    table = Table("measure", "value")
    for policy, rate in results["step"].items():
        table.add_row(f"step, {policy}, ResNet-50", f"{rate:.2f} images/s")
    table.add_row("pipeline, 2x224 + 6x96", f"{results['pipeline']:.1f} images/s")
    for name, values in results["features"].items():
        for key, value in values.items():
            table.add_row(f"{name}: {key}", f"{value:.4f}")
    Console().print(table)
