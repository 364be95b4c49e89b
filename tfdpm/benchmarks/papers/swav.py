"""SwAV's tables: published runs on ImageNet, and on smaller images the small preset beside them.

A published run on ImageNet takes days on dozens of accelerators; where the authors' weights lie
beside the images, those are converted and measured instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm.benchmarks.papers.image_sets import ImageArrays, ImageFolders
from tfdpm.benchmarks.swav.features import worth_of
from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.images.sources import to_unit_range
from tfdpm.features import SwAV, convert_published_weights, linear_probe, preset, resnet50

__all__ = ["runs_of"]

_EPOCHS = 20  # of the small preset
_SHORTER_SIDE, _SIDE = 256, 224  # pixels of ImageNet's images where features are measured
_BATCH = 64


def runs_of(
    data: ImageArrays | ImageFolders,
    presets: Sequence[str],
    *,
    seed: int,
    epochs: int | None,
) -> Iterator[dict[str, Any]]:
    """Records with linear top-1 accuracy in per cent.

    Args:
        data: ImageNet, on which the presets run; or smaller images, on which `SwAV.small` does,
            beside its untrained network and raw pixels.
        presets: names of published runs.
        seed: of weights and views.
        epochs: of training; `None` for those of the preset.
    """
    if isinstance(data, ImageArrays):
        epochs = epochs or _EPOCHS
        worth = worth_of(data.x, data.y, name=data.name, epochs=epochs, seed=seed)
        for method, key in (
            (f"SwAV.small, {epochs} epochs", "trained"),
            ("untrained network", "untrained"),
            ("raw pixels", "pixels"),
        ):
            yield _record(data.name, method, seed, worth[key]["linear"], worth["images"])
        return
    labels = [_classes(paths) for paths in (data.train, data.validation)]
    for name in presets:
        model = _trained(name, data, seed, epochs)
        features = [_features(model.encoder, paths) for paths in (data.train, data.validation)]
        # The protocol to the letter: its learning rate suits this network's features.
        accuracy = linear_probe(
            features[0], labels[0], features[1], labels[1], standardize=False, seed=seed
        )
        yield _record(data.name, name, seed, accuracy.best_top1, len(data.train))


def _record(data: str, method: str, seed: int, accuracy: float, images: int) -> dict[str, Any]:
    return {
        "data": data,
        "method": method,
        "seed": seed,
        "top1_percent": 100.0 * accuracy,
        "training_images": images,
    }


def _trained(name: str, data: ImageFolders, seed: int, epochs: int | None) -> SwAV:
    """The network of a published run, from the authors' weights or trained here."""
    config, width = preset(name), int(name[5]) if name.startswith("RN50w") else 1
    training = config.training
    batch = min(training.batch_size, len(data.train))
    share = batch / training.batch_size  # rates of published runs grow with their batches
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


def _classes(paths: Sequence[str]) -> np.ndarray:
    return np.array([Path(path).parent.name for path in paths])


def _features(encoder: keras.Model, paths: Sequence[str]) -> np.ndarray:
    """Features `[N, D]` of the middle of each image."""

    def middle(path):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = to_unit_range(tf.ensure_shape(image, [None, None, 3]))
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        size = tf.cast(tf.round(size * (_SHORTER_SIDE / tf.reduce_min(size))), tf.int32)
        image = tf.image.resize(image, size, antialias=True)
        return tf.image.resize_with_crop_or_pad(image, _SIDE, _SIDE)

    images = tf.data.Dataset.from_tensor_slices(list(paths))
    images = images.map(middle, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH).prefetch(1)
    return encoder.predict(images, verbose=0)
