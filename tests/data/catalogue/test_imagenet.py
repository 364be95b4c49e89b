"""ImageNet and its 50 classes on stand-ins of the real features; no image is downloaded."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfdpm.data import as_features, load
from tfdpm.data.catalogue import imagenet


def test_fifty_different_classes_of_imagenet() -> None:
    known = tfds.builder("imagenet2012").info.features["label"].names
    assert len(set(imagenet.IMAGENET_50)) == 50
    assert set(imagenet.IMAGENET_50) <= set(known)
    assert known.index("n07753592") == 954  # the banana


def test_only_wanted_classes_stay_and_are_numbered_anew() -> None:
    labels = [3, 0, 2, 3, 1, 2]
    pairs = tf.data.Dataset.from_tensor_slices((np.arange(6), np.array(labels, np.int64)))
    kept = list(imagenet.keep_classes(pairs, ["a", "b", "c", "d"], ["d", "b"]).as_numpy_iterator())
    assert kept == [(0, 0), (3, 0), (4, 1)]


def test_imagenet50_streams_squares_of_its_classes() -> None:
    known = tfds.builder("imagenet2012").info.features["label"].names
    wanted = [known.index(imagenet.IMAGENET_50[number]) for number in (49, 0, 7)]
    sizes = [(60, 40), (30, 90), (50, 50), (40, 60), (33, 77)]
    labels = [wanted[0], 0, wanted[1], 999, wanted[2]]

    def images(self, **kwargs):
        def generate():
            for (height, width), label in zip(sizes, labels, strict=True):
                image = np.zeros((height, width, 3), np.uint8)
                image[height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = 200
                yield {"image": image, "label": label, "file_name": "x.JPEG"}

        specs = {
            "image": tf.TensorSpec((None, None, 3), tf.uint8),
            "label": tf.TensorSpec((), tf.int64),
            "file_name": tf.TensorSpec((), tf.string),
        }
        return tf.data.Dataset.from_generator(generate, output_signature=specs)

    with tfds.testing.mock_data(as_dataset_fn=images):
        kept = list(load("imagenet50", "validation", image_size=32).as_numpy_iterator())
        inputs = as_features("imagenet50")
        everything = list(load("imagenet", image_size=8).as_numpy_iterator())
    assert [label for _, label in kept] == [49, 0, 7]
    for image, _ in kept:
        assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
        # The bright square in the middle of the photograph is in the middle of the cut.
        rows = np.flatnonzero(image[:, 16, 0] > 100)
        assert abs(rows.mean() - 15.5) <= 0.5
    assert inputs.feature_shape == (224, 224, 3)
    assert [label for _, label in everything] == labels
