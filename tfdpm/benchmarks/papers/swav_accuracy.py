"""Linear accuracy of features: published runs on ImageNet, and small presets on smaller images.

A published run takes days on dozens of accelerators. Where the authors' weights lie beside the
images, they are converted and measured instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.papers.data_files import ImageFolders
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.swav.feature_accuracy import measure_features
from tfdpm.data.images.decoding import decode_image
from tfdpm.features import (
    SelfSupervisedModel,
    SwAV,
    convert_published_weights,
    linear_probe,
    method_of,
    preset,
    resnet50,
)

SMALL_EPOCHS = 20  # of the small preset
_SHORTER_SIDE, _SIDE = 256, 224  # pixels of ImageNet's images where features are measured
_BATCH = 64


def measure_small(
    data: LabelledData,
    seed: int,
    *,
    method: str,
    kind: str,
    multi_crop: bool,
    epochs: int,
    baselines: bool,
) -> list[Record]:
    """Measures linear top-1 accuracy, in per cent, of a small preset on small images.

    Args:
        data: images with classes.
        seed: random seed of the weights and views.
        method: name in the tables.
        kind: key of `tfdpm.features.METHODS`.
        multi_crop: whether the preset's small crops join its two large ones.
        epochs: epochs of training.
        baselines: whether the untrained network and raw pixels are measured, too.
    """
    options = {"epochs": epochs, "method": kind, "multi_crop": multi_crop, "baselines": baselines}
    worth = measure_features(data, seed, **options)
    named = {"untrained network": "untrained", "raw pixels": "pixels"} if baselines else {}
    named[method] = "trained"
    return [
        _make_record(data.name, name, seed, worth[key]["linear"], worth["images"])
        for name, key in named.items()
    ]


def measure_published(data: ImageFolders, seed: int, *, method: str, epochs: int | None) -> Record:
    """Measures linear top-1 accuracy, in per cent, of a published run on ImageNet.

    Args:
        data: ImageNet.
        seed: random seed of the weights and views.
        method: name of the published run.
        epochs: epochs of training; `None` for those of the run.
    """
    encoder = train_published(method, data, seed, epochs).encoder
    train_y, test_y = (read_classes(paths) for paths in (data.train, data.validation))
    train_x, test_x = (
        encoder.predict(load_squares(paths).batch(_BATCH).prefetch(1), verbose=0)
        for paths in (data.train, data.validation)
    )
    # The published protocol does not standardise: its learning rate suits these features.
    accuracy = linear_probe(train_x, train_y, test_x, test_y, standardize=False, seed=seed)
    return _make_record(data.name, method, seed, accuracy.best_top1, len(data.train))


def _make_record(data: str, method: str, seed: int, accuracy: float, images: int) -> Record:
    return {
        "data": data,
        "method": method,
        "seed": seed,
        "top1_percent": 100.0 * accuracy,
        "training_images": images,
    }


def train_published(
    name: str, data: ImageFolders, seed: int, epochs: int | None
) -> SelfSupervisedModel:
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
    kind = method_of(config)
    model = kind(resnet50(width, seed=seed), config, seed=seed)
    weights = data.weights / f"{'swav_' if kind is SwAV else ''}{name}_pretrain.pth.tar"
    if weights.is_file():
        convert_published_weights(model, weights)
        return model
    model.compile()
    model.fit(data.train, verbose=0)
    return model


def read_classes(paths: Sequence[str]) -> np.ndarray:
    """Returns the class of each file, which is the name of its folder."""
    return np.array([Path(path).parent.name for path in paths])


def load_squares(paths: Sequence[str]) -> tf.data.Dataset:
    """Returns the middles `[224, 224, 3]` of image files, float32 in [0, 1]."""

    def load(path):
        image = decode_image(tf.io.read_file(path), channels=3)
        return cut_middle(tf.ensure_shape(image, [None, None, 3]))

    return tf.data.Dataset.from_tensor_slices(list(paths)).map(
        load, num_parallel_calls=tf.data.AUTOTUNE
    )


def cut_middle(image: tf.Tensor) -> tf.Tensor:
    """Returns the middle `[224, 224, 3]` of an image, float32 in [0, 1], as published."""
    image = tf.image.convert_image_dtype(image, tf.float32)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    size = tf.cast(tf.round(size * (_SHORTER_SIDE / tf.reduce_min(size))), tf.int32)
    image = tf.image.resize(image, size, antialias=True)
    return tf.image.resize_with_crop_or_pad(image, _SIDE, _SIDE)
