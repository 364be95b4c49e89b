"""Accuracy of SwAV's features of small images, beside raw pixels and an untrained network."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.records import Record, measure_time
from tfdpm.features import (
    METHODS,
    CollapseWatchdog,
    NearestNeighbours,
    SelfSupervisedModel,
    knn_accuracy,
    linear_probe,
)
from tfdpm.swav.config import describe

_TRAIN_SHARE = 0.8
_BATCH = 128
_CURVE_POINTS = 10  # of kNN accuracy over a run


def measure_features(
    data: LabelledData,
    seed: int,
    *,
    epochs: int,
    method: str = "swav",
    multi_crop: bool = True,
    baselines: bool = True,
) -> Record:
    """Trains a small preset on four fifths of the images and tests its features on one fifth.

    Args:
        data: images `[N, H, W]` or `[N, H, W, C]` and classes.
        seed: random seed of the partition, the weights and the views.
        epochs: epochs of training.
        method: key of `tfdpm.features.METHODS`.
        multi_crop: whether the preset's small crops join its two large ones.
        baselines: whether raw pixels and the untrained network are scored, too.
    Returns:
        Record with `pixels`, `untrained` and `trained`, each with the accuracies `knn` and `linear`
        in [0, 1]; `loss` by epoch; `curve`, pairs of epoch and kNN accuracy; `findings` of the
        watchdog that looks for collapse.
    """
    train, test = split_images(data, seed)
    model = make_small(train, seed, epochs=epochs, method=method, multi_crop=multi_crop)

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
    if baselines:
        record["pixels"] = score(lambda images: _standardize(images, model.config.views))
        record["untrained"] = score(encode)
    record |= _train(model, train, test, epochs)
    if baselines:
        record["curve"].insert(0, (0, record["untrained"]["knn"]))
    record["trained"] = score(encode)
    return record


def split_images(data: LabelledData, seed: int) -> tuple[LabelledData, LabelledData]:
    """Draws four fifths of the images for training; the others are for the test."""
    data = data.as_images()
    order = np.random.default_rng(seed).permutation(len(data.x))
    train, test = (
        LabelledData(data.name, data.x[rows], data.y[rows])
        for rows in np.split(order, [int(_TRAIN_SHARE * len(order))])
    )
    return train, test


def make_small(
    train: LabelledData, seed: int, *, epochs: int, method: str = "swav", multi_crop: bool = True
) -> SelfSupervisedModel:
    """Makes the small preset of a method for some images; arguments as for `measure_features`."""
    model = METHODS[method].small(
        image_size=train.x.shape[1],
        channels=train.x.shape[-1],
        num_images=len(train.x),
        batch_size=min(_BATCH, len(train.x)),
        epochs=epochs,
        seed=seed,
        print_fn=lambda text: None,  # until the crops are settled
    )
    if not multi_crop:
        views = model.config.views
        large = {
            name: getattr(views, name)[:1] for name in ("crop_sizes", "crop_counts", "crop_scales")
        }
        model = type(model)(
            model.backbone, replace(model.config, views=replace(views, **large)), seed=seed
        )
        model.compile()
    Console().print(f"{type(model).__name__}\n{describe(model.config)}", highlight=False)
    return model


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
    loss.axhline(record["collapsed_loss"], color="0.5", linestyle=":", label="constant features")
    loss.set(xlabel="epoch", ylabel="loss, nats")
    loss.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return str(path)


def _train(
    model: SelfSupervisedModel, train: LabelledData, test: LabelledData, epochs: int
) -> Record:
    """Trains the model; returns time, loss by epoch, kNN accuracy by epoch and warnings."""
    every = max(epochs // _CURVE_POINTS, 1)
    watchdog = CollapseWatchdog()
    neighbours = NearestNeighbours(train.x, train.y, test.x, test.y, every=every)
    with measure_time() as cost:
        history = model.fit(train.x, verbose=0, callbacks=[watchdog, neighbours]).history
    return {
        **cost,
        "loss": [float(value) for value in history["loss"]],
        "collapsed_loss": model.collapsed_loss(),
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
