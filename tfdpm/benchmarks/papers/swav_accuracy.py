"""Linear accuracy of SwAV: published runs on ImageNet, and the small preset on smaller images.

A published run takes days on dozens of accelerators. Where the authors' weights lie beside the
images, they are converted and measured instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.papers.data_files import ImageFolders
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.swav.feature_accuracy import measure_features
from tfdpm.data.images.multicrop import multicrop
from tfdpm.features import SwAV, convert_published_weights, linear_probe, preset, resnet50

__all__ = ["measure_runs"]

_EPOCHS = 20  # of the small preset
_SHORTER_SIDE, _SIDE = 256, 224  # pixels of ImageNet's images where features are measured
_BATCH = 64


def measure_runs(
    data: LabelledData | ImageFolders, seed: int, *, presets: Sequence[str], epochs: int | None
) -> list[Record]:
    """Measures linear top-1 accuracy in per cent.

    Args:
        data: ImageNet, on which the presets run; or smaller images, on which `SwAV.small` runs
            beside its untrained network and raw pixels.
        seed: random seed of the weights and views.
        presets: names of published runs.
        epochs: epochs of training; `None` for those of the preset.
    """
    if isinstance(data, LabelledData):
        epochs = epochs or _EPOCHS
        worth = measure_features(data, seed, epochs=epochs)
        return [
            _make_record(data.name, method, seed, worth[key]["linear"], worth["images"])
            for method, key in (
                (f"SwAV.small, {epochs} epochs", "trained"),
                ("untrained network", "untrained"),
                ("raw pixels", "pixels"),
            )
        ]
    train_y, test_y = (_read_classes(paths) for paths in (data.train, data.validation))
    records = []
    for name in presets:
        encoder = _train(name, data, seed, epochs).encoder
        train_x, test_x = (_encode(encoder, paths) for paths in (data.train, data.validation))
        # The published protocol does not standardise: its learning rate suits these features.
        accuracy = linear_probe(train_x, train_y, test_x, test_y, standardize=False, seed=seed)
        records.append(_make_record(data.name, name, seed, accuracy.best_top1, len(data.train)))
    return records


def _make_record(data: str, method: str, seed: int, accuracy: float, images: int) -> Record:
    return {
        "data": data,
        "method": method,
        "seed": seed,
        "top1_percent": 100.0 * accuracy,
        "training_images": images,
    }


def _train(name: str, data: ImageFolders, seed: int, epochs: int | None) -> SwAV:
    """Returns the network of a published run, with the authors' weights or trained here."""
    config, width = preset(name), int(name[5]) if name.startswith("RN50w") else 1
    training = config.training
    batch = min(training.batch_size, len(data.train))
    share = (
        batch / training.batch_size
    )  # published learning rates are proportional to the batch size
    training = replace(
        training,
        num_images=len(data.train),
        batch_size=batch,
        epochs=epochs or training.epochs,
        warmup_epochs=min(training.warmup_epochs, (epochs or training.epochs) - 1),
        peak_learning_rate=share * training.peak_learning_rate,
        final_learning_rate=share * training.final_learning_rate,
        start_learning_rate=share * training.start_learning_rate,
    )
    config = replace(config, training=training)
    model = SwAV(resnet50(width, seed=seed), config, seed=seed)
    weights = data.weights / f"swav_{name}_pretrain.pth.tar"
    if weights.is_file():
        convert_published_weights(model, weights)
        return model
    model.compile()
    model.fit(multicrop(data.train, seed=seed, **model.view_options()), verbose=0)
    return model


def _read_classes(paths: Sequence[str]) -> np.ndarray:
    return np.array([Path(path).parent.name for path in paths])


def _encode(encoder: keras.Model, paths: Sequence[str]) -> np.ndarray:
    """Returns features `[N, D]` of the middle of each image."""

    def crop_middle(path):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = tf.image.convert_image_dtype(tf.ensure_shape(image, [None, None, 3]), tf.float32)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        size = tf.cast(tf.round(size * (_SHORTER_SIDE / tf.reduce_min(size))), tf.int32)
        image = tf.image.resize(image, size, antialias=True)
        return tf.image.resize_with_crop_or_pad(image, _SIDE, _SIDE)

    images = tf.data.Dataset.from_tensor_slices(list(paths))
    images = images.map(crop_middle, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH).prefetch(1)
    return encoder.predict(images, verbose=0)
