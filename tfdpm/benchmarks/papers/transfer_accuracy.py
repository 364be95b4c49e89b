"""Tables 1 and 2 of [SwAV]: fine-tuning on few labels, and linear classifiers on other images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.papers.data_files import ImageFolders
from tfdpm.benchmarks.papers.swav_accuracy import (
    SMALL_EPOCHS,
    cut_middle,
    load_squares,
    read_classes,
    train_published,
)
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.swav.feature_accuracy import make_small, split_images
from tfdpm.data.files import image_files
from tfdpm.features import linear_probe, multilabel_svm, semi_supervised

_RUN = "800ep"  # whose weights the authors fine-tune and transfer
_FRACTIONS = {"1 %": 0.01, "10 %": 0.1}  # of the labels
_BATCH = 64
# Names of TensorFlow Datasets, with the parts for training and test.
_TFDS = {
    "voc07": ("voc/2007", "train+validation", "test"),
    "inat18": ("i_naturalist2018", "train", "validation"),
}


class TransferData(NamedTuple):
    """Images with labels, and the encoder whose features are classified.

    Attributes:
        name: name in tables and records.
        train, test: elements of images `[H, W, 3]` and labels: a class, or `[C]` of several
            classes, with 1 for present, 0 for absent and -1 for difficult.
        encoder: Keras model from images to features.
    """

    name: str
    train: tf.data.Dataset
    test: tf.data.Dataset
    encoder: keras.Model


def measure_few_labels(
    data: LabelledData | ImageFolders, seed: int, *, method: str, epochs: int | None
) -> list[Record]:
    """Measures top-1 and top-5 accuracy in per cent after fine-tuning on 1 % and 10 % of labels.

    Args:
        data: ImageNet, whose published run is fine-tuned; or smaller images, on which `SwAV.small`
            is, beside its untrained network.
        seed: random seed of the weights, the labels and the order.
        method: name of the trained network in the tables.
        epochs: epochs of training without labels; `None` for those of the preset.
    """
    if isinstance(data, ImageFolders):
        encoder = train_published(_RUN, data, seed, epochs).encoder
        labelled = _draw_files(data, max(_FRACTIONS.values()), seed)
        train = LabelledData(data.name, _hold(labelled), read_classes(labelled))
        test = LabelledData(data.name, _hold(data.validation), read_classes(data.validation))
        encoders, mirror = {method: encoder}, True
        share = len(data.train) / len(labelled)  # of which the drawn files are all that is held
    else:
        train, test = split_images(data, seed)
        model = make_small(train, seed, epochs=epochs or SMALL_EPOCHS)
        encoders = {"untrained network": keras.models.clone_model(model.encoder)}
        encoders["untrained network"](train.x[:1])
        encoders["untrained network"].set_weights(model.encoder.get_weights())
        model.fit(train.x, verbose=0)
        encoders[method] = model.encoder
        mirror, share = data.name == "cifar10", 1.0
    records = []
    for name, encoder in encoders.items():
        record: Record = {"data": data.name, "method": name, "seed": seed}
        for text, fraction in _FRACTIONS.items():
            few = fraction <= 0.01
            score = semi_supervised(
                encoder,
                *(train.x, train.y, test.x, test.y),
                fraction=min(fraction * share, 1.0),
                backbone_learning_rate=0.02 if few else 0.01,
                head_learning_rate=5.0 if few else 0.2,
                mirror=mirror,
                seed=seed,
            )
            record |= {f"{text} top-1": 100 * score.top1, f"{text} top-5": 100 * score.top5}
        records.append(record)
    return records


def _draw_files(data: ImageFolders, fraction: float, seed: int) -> list[str]:
    """Draws a share of the files of each class."""
    rng, classes = np.random.default_rng([seed, 17]), read_classes(data.train)
    chosen = []
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        chosen.append(rng.choice(members, max(round(fraction * len(members)), 1), replace=False))
    return [data.train[each] for each in np.sort(np.concatenate(chosen))]


def _hold(paths: list[str]) -> np.ndarray:
    """Returns the middles of image files `[N, 224, 224, 3]`, uint8."""
    squares = load_squares(paths).map(lambda image: tf.image.convert_image_dtype(image, tf.uint8))
    return np.stack(list(squares.as_numpy_iterator()))


def find_transfer(name: str, folder: Path, seed: int, max_points: int | None) -> TransferData | str:
    """Reads a data set of [SwAV] Table 2 and the encoder from a folder.

    Args:
        name: "places205", "voc07" or "inat18".
        folder: folder with `encoder.keras`, or the authors' weights, and `NAME/train` and
            `NAME/val` with a folder of images for each class; or, but for Places205, the files of
            TensorFlow Datasets.
        seed: random seed of the training images that are drawn.
        max_points: most training images; `None` for all of them.
    Returns:
        The data set, or a line that says what is missing and where it comes from.
    """
    train, test = (image_files(str(folder / name / part)) for part in ("train", "val"))
    if train and test:
        drawn = np.random.default_rng([seed, 13]).permutation(len(train))[:max_points]
        train = [train[each] for each in np.sort(drawn)]
        parts = [
            tf.data.Dataset.zip(
                load_squares(paths), tf.data.Dataset.from_tensor_slices(read_classes(paths))
            )
            for paths in (train, test)
        ]
    elif name in _TFDS:
        import tensorflow_datasets as tfds

        known, *splits = _TFDS[name]
        builder = tfds.builder(known, data_dir=folder)
        try:
            parts = [builder.as_dataset(split=split).map(_read_element) for split in splits]
        except (AssertionError, FileNotFoundError, ValueError):
            fetch = f"tfdpm.data.load({known!r}, data_dir={str(folder)!r}, download=True)"
            return f"{name}: no {builder.data_path}; {fetch} fetches it"
        parts[0] = (
            parts[0].shuffle(10_000, seed, reshuffle_each_iteration=False).take(max_points or -1)
        )
    else:
        return (
            f"{name}: no {folder / name}/train and val with a folder of images per class; it is "
            "Places205 from places.csail.mit.edu"
        )
    encoder = _find_encoder(folder, seed)
    if isinstance(encoder, str):
        return encoder
    return TransferData(name, *parts, encoder)


def _read_element(element: dict) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the middle of an image, and its class or the classes that are in it."""
    image = cut_middle(element["image"])
    if "label" in element:
        return image, element["label"]
    present, clear = (
        tf.reduce_max(tf.one_hot(element[name], 20, dtype=tf.int64), axis=0)
        for name in ("labels", "labels_no_difficult")
    )
    return image, tf.where(clear > 0, clear, -tf.maximum(present, 0))


def _find_encoder(folder: Path, seed: int) -> keras.Model | str:
    """Returns the encoder in a folder, or of the authors' weights there."""
    if (folder / "encoder.keras").is_file():
        return keras.models.load_model(folder / "encoder.keras")
    if (folder / f"swav_{_RUN}_pretrain.pth.tar").is_file():
        return train_published(_RUN, ImageFolders("", [""] * 4096, [], folder), seed, None).encoder
    return (
        f"no encoder.keras in {folder}, as `tfdpm swav fit` and `convert` write it, and no "
        f"swav_{_RUN}_pretrain.pth.tar (github.com/facebookresearch/swav)"
    )


def measure_transfer(data: TransferData, seed: int, *, method: str) -> list[Record]:
    """Measures a linear classifier on features: top-1 accuracy, or mAP, in per cent.

    `method` is the name of the features in the tables.
    """
    features, labels = [], []
    for part in (data.train, data.test):
        kept = list(part.map(lambda image, label: label).as_numpy_iterator())
        labels.append(np.stack(kept))
        images = part.map(lambda image, label: image).batch(_BATCH).prefetch(1)
        features.append(data.encoder.predict(images, verbose=0))
    sets = (features[0], labels[0], features[1], labels[1])
    record: Record = {"data": data.name, "method": method, "seed": seed}
    if labels[0].ndim == 2:
        record["mAP"] = 100 * multilabel_svm(*sets, seed=seed)
    else:
        record["top1_percent"] = 100 * linear_probe(*sets, seed=seed).best_top1
    return [record]
