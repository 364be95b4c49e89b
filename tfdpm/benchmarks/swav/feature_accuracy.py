"""Accuracy of SwAV's features of small images, beside raw pixels and an untrained network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.records import Record, measure_time
from tfdpm.data.images.multicrop import multicrop
from tfdpm.features import CollapseWatchdog, NearestNeighbours, SwAV, knn_accuracy, linear_probe

__all__ = ["measure_features", "plot_training"]

_TRAIN_SHARE = 0.8
_BATCH = 128
_CURVE_POINTS = 10  # of kNN accuracy over a run


def measure_features(data: LabelledData, seed: int, *, epochs: int) -> Record:
    """Trains `SwAV.small` on four fifths of the images and tests its features on one fifth.

    Args:
        data: images `[N, H, W]` or `[N, H, W, C]` and classes.
        seed: random seed of the partition, the weights and the views.
        epochs: epochs of training.
    Returns:
        Record with `pixels`, `untrained` and `trained`, each with the accuracies `knn` and `linear`
        in [0, 1]; `loss` by epoch; `curve`, pairs of epoch and kNN accuracy; `findings` of the
        watchdog that looks for collapse.
    """
    data = data.as_images()
    order = np.random.default_rng(seed).permutation(len(data.x))
    train, test = (
        LabelledData(data.name, data.x[rows], data.y[rows])
        for rows in np.split(order, [int(_TRAIN_SHARE * len(order))])
    )
    model = SwAV.small(
        image_size=train.x.shape[1],
        channels=train.x.shape[-1],
        num_images=len(train.x),
        batch_size=min(_BATCH, len(train.x)),
        epochs=epochs,
        seed=seed,
        print_fn=Console().print,
    )

    def score(encode):
        features, test_features = encode(train.x), encode(test.x)
        probe = linear_probe(features, train.y, test_features, test.y, seed=seed)
        return {
            "knn": knn_accuracy(features, train.y, test_features, test.y),
            "linear": probe.top1,
        }

    def encode(images):
        return model.encoder.predict(images, batch_size=256, verbose=0)

    record: Record = {"data": data.name, "images": len(train.x)}
    record["pixels"] = score(lambda images: _standardize(images, model.config.views))
    record["untrained"] = score(encode)
    record |= _train(model, train, test, epochs, seed)
    record["curve"].insert(0, (0, record["untrained"]["knn"]))
    record["trained"] = score(encode)
    return record


def plot_training(record: Record, path: Path) -> str | None:
    """Plots kNN accuracy and loss over epochs; returns the PNG file or None without matplotlib."""
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


def _train(model: SwAV, train: LabelledData, test: LabelledData, epochs: int, seed: int) -> Record:
    """Trains the model; returns time, loss by epoch, kNN accuracy by epoch and warnings."""
    every = max(epochs // _CURVE_POINTS, 1)
    watchdog = CollapseWatchdog()
    neighbours = NearestNeighbours(train.x, train.y, test.x, test.y, every=every)
    views = multicrop(train.x, seed=seed, **model.view_options())
    with measure_time() as cost:
        history = model.fit(views, verbose=0, callbacks=[watchdog, neighbours]).history
    return {
        **cost,
        "loss": [float(value) for value in history["loss"]],
        "ln_prototypes": float(np.log(model.config.num_prototypes)),
        "curve": list(neighbours.history),
        "findings": list(watchdog.findings.values()),
    }


def _standardize(images: np.ndarray, views: Any) -> np.ndarray:
    """Returns rows of pixels with mean 0 and standard deviation 1 in each channel.

    All raw images share their brightness, which would dominate the cosine similarity of kNN.
    """
    values = images / np.float32(255) if images.dtype == np.uint8 else images
    mean, std = (np.asarray(value, np.float32) for value in (views.mean, views.std))
    return ((values - mean) / std).reshape(len(images), -1)
