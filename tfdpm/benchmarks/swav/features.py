"""What SwAV's small preset learns from a file of images, beside raw pixels and no training."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tfdpm import checks
from tfdpm.data.images.multicrop import multicrop
from tfdpm.features import CollapseWatchdog, NearestNeighbours, SwAV, knn_accuracy, linear_probe

__all__ = ["draw", "worth", "worth_of"]

_TRAIN_SHARE = 0.8
_BATCH = 128
_CURVE_POINTS = 10  # of kNN accuracy over a run


def worth(
    path: str | Path, *, epochs: int, seed: int, max_images: int | None = None
) -> dict[str, Any]:
    """Accuracies of raw pixels, of the untrained encoder and of the trained one; loss and kNN.

    Args:
        path: .npz file with images `x` `[N, H, W]` or `[N, H, W, C]` and labels `y` `[N]`.
        epochs: of training.
        seed: of the partition in training and test images, the weights and the views.
        max_images: as many are used, at random; all by default.
    Returns:
        Record with `pixels`, `untrained` and `trained`, each `knn` and `linear` in [0, 1]; `loss`
        per epoch; `curve`, pairs of epoch and kNN accuracy; `findings` of the watchdog.
    """
    x, y = _read(path)
    return worth_of(x, y, name=Path(path).stem, epochs=epochs, seed=seed, max_images=max_images)


def worth_of(
    x, y, *, name: str, epochs: int, seed: int, max_images: int | None = None
) -> dict[str, Any]:
    """As `worth`, of images `x` `[N, H, W, C]` and labels `y` `[N]` in memory.

    Args:
        x, y: as above.
        name: of the data.
        epochs, seed, max_images: as in `worth`.
    """
    order = np.random.default_rng(seed).permutation(len(x))[:max_images]
    train, test = np.split(order, [int(_TRAIN_SHARE * len(order))])
    train_x, train_y, test_x, test_y = x[train], y[train], x[test], y[test]
    model = SwAV.small(
        image_size=train_x.shape[1],
        channels=train_x.shape[-1],
        num_images=len(train_x),
        batch_size=min(_BATCH, len(train_x)),
        epochs=epochs,
        seed=seed,
        print_fn=Console().print,
    )

    def measured(encode):
        features, test_features = encode(train_x), encode(test_x)
        probe = linear_probe(features, train_y, test_features, test_y, seed=seed)
        return {
            "knn": knn_accuracy(features, train_y, test_features, test_y),
            "linear": probe.top1,
        }

    def encoded(images):
        return model.encoder.predict(images, batch_size=256, verbose=0)

    record: dict[str, Any] = {"data": name, "images": len(train_x)}
    record["pixels"] = measured(lambda images: _centred(images, model.config.views))
    record["untrained"] = measured(encoded)
    record |= _train(model, train_x, train_y, test_x, test_y, epochs, seed)
    record["curve"].insert(0, (0, record["untrained"]["knn"]))
    record["trained"] = measured(encoded)
    return record


def draw(record: dict[str, Any], path: Path) -> str | None:
    """Draws kNN accuracy and loss over epochs to a PNG file; None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    accuracy.plot(*zip(*record["curve"], strict=True), "o-", label="SwAV")
    accuracy.axhline(record["pixels"]["knn"], color="0.5", linestyle=":", label="pixels")
    accuracy.set(title=record["data"], xlabel="epoch", ylabel="kNN accuracy (k = 20)")
    accuracy.legend()
    loss.plot(np.arange(1, len(record["loss"]) + 1), record["loss"], "o-")
    loss.axhline(record["ln_prototypes"], color="0.5", linestyle=":", label="ln(prototypes)")
    loss.set(xlabel="epoch", ylabel="loss, nats")
    loss.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return str(path)


def _train(model, train_x, train_y, test_x, test_y, epochs: int, seed: int) -> dict[str, Any]:
    """Trains, and returns times without those of measuring, the curves and what was found."""
    every = max(epochs // _CURVE_POINTS, 1)
    watchdog = CollapseWatchdog()
    neighbours = NearestNeighbours(train_x, train_y, test_x, test_y, every=every)
    views = multicrop(train_x, seed=seed, **model.view_options())
    wall, cpu = time.perf_counter(), time.process_time()
    history = model.fit(views, verbose=0, callbacks=[watchdog, neighbours]).history
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "loss": [float(value) for value in history["loss"]],
        "ln_prototypes": float(np.log(model.config.num_prototypes)),
        "curve": list(neighbours.history),
        "findings": list(watchdog.findings.values()),
    }


def _centred(images, views) -> np.ndarray:
    """Rows of pixels, standardised per channel: cosine similarity tells more of those than of
    brightness, which all raw images share.
    """
    values = images / np.float32(255) if images.dtype == np.uint8 else images
    mean, std = (np.asarray(value, np.float32) for value in (views.mean, views.std))
    return ((values - mean) / std).reshape(len(images), -1)


def _read(path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        for name in ("x", "y"):
            if name not in arrays:
                checks.fail("--data", f"{path} with {', '.join(arrays)}", "arrays x and y")
        x, y = arrays["x"], arrays["y"]
    if x.ndim not in (3, 4) or y.shape != (len(x),):
        wanted = "images x [N, H, W] or [N, H, W, C] and labels y [N]"
        checks.fail("--data", f"x {x.shape} and y {y.shape} in {path}", wanted)
    return (x[..., np.newaxis] if x.ndim == 3 else x), y
