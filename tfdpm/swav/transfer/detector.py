"""RetinaNet: a detector of objects that starts from an encoder's weights."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.backbones import Encoder
from tfdpm.swav.transfer import boxes as geometry

_PRIOR = 0.01  # probability of an object at the start, [RetinaNet] section 4.1
_POSITIVE, _NEGATIVE = 0.5, 0.4  # overlap with an object above and below which anchors count
_MOST_BOXES = 100  # of an image


@keras.saving.register_keras_serializable(package="tfdpm")
class Detector(keras.Model):
    """Keras model that finds objects in images, a RetinaNet on a copy of an encoder, [RetinaNet].

    A feature pyramid joins the last three stages of the backbone. Batch statistics stay those of
    the encoder, and all weights are trained:

        detector = tfdpm.features.Detector(swav.encoder, num_classes=20, image_size=512)
        detector.compile(keras.optimizers.SGD(0.01, momentum=0.9))
        detector.fit(tfdpm.features.detection_batches(dataset, image_size=512, batch_size=16))

    Args:
        encoder: `Encoder` of one of this package's ResNets; it stays unchanged.
        num_classes: number of classes of objects, >= 1.
        image_size: side of the images in pixels.
        width: number of filters of the pyramid and the heads.
        depth: number of convolutions of a head before its output.
        extra_levels: number of coarser levels above the last stage, for large objects.
        seed: random seed of the new layers.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        image_size: int,
        width: int = 256,
        depth: int = 4,
        extra_levels: int = 2,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(encoder, Encoder):
            checks.fail("encoder", type(encoder).__name__, "an Encoder, as swav.encoder", TypeError)
        self.settings = {
            "num_classes": checks.integer(num_classes, "num_classes", minimum=1),
            "image_size": checks.integer(image_size, "image_size", minimum=16),
            "width": checks.integer(width, "width", minimum=1),
            "depth": checks.integer(depth, "depth", minimum=0),
            "extra_levels": checks.integer(extra_levels, "extra_levels", minimum=0),
            "seed": checks.integer(seed, "seed"),
        }
        self.encoder = Encoder.from_config(encoder.get_config())
        self.encoder.set_weights(encoder.get_weights())
        self.network, grids = self._make_network()
        self._anchors = tf.constant(geometry.make_anchors(grids))
        self._focal = keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, from_logits=True, reduction="none"
        )
        self._distance = keras.losses.Huber(delta=1 / 9, reduction="none")
        self.built = True

    def _make_network(self) -> tuple[keras.Model, list[int]]:
        """Makes the network of standardised images, and returns the sides of its grids, too."""
        settings, backbone = self.settings, self.encoder.backbone
        size, width = settings["image_size"], settings["width"]
        ends: dict[str, Any] = {}  # the last block of each stage
        for layer in backbone.layers:
            if found := re.fullmatch(r"(layer\d+)_\d+_relu", layer.name):
                ends[found[1]] = layer.output
        if not ends:
            checks.fail("encoder", "a backbone without stages", "a ResNet of tfdpm.features")
        stages = keras.Model(backbone.inputs, list(ends.values())[-3:], name="stages")
        seeds = iter(range(settings["seed"], settings["seed"] + 10_000))

        def conv(filters: int, kernel: int = 3, stride: int = 1, bias: float = 0.0, **options: Any):
            return keras.layers.Conv2D(
                filters,
                kernel,
                stride,
                "same",
                kernel_initializer=keras.initializers.RandomNormal(0.0, 0.01, seed=next(seeds))
                if options.pop("is_head", False)
                else keras.initializers.GlorotUniform(next(seeds)),
                bias_initializer=keras.initializers.Constant(bias),
                **options,
            )

        images = keras.Input((size, size, len(self.encoder.standardize.mean)), name="images")
        # Not `training`: batch statistics of a few large images would mislead.
        features = stages(images, training=False)
        features = features if isinstance(features, list) else [features]
        levels = [conv(width, 1)(features[-1])]
        for feature in features[-2::-1]:
            above = keras.layers.Resizing(*feature.shape[1:3], interpolation="nearest")(levels[0])
            levels.insert(0, keras.layers.add([conv(width, 1)(feature), above]))
        levels = [conv(width)(level) for level in levels]
        for _ in range(settings["extra_levels"]):
            levels.append(conv(width, stride=2)(keras.layers.ReLU()(levels[-1])))
        outputs = []
        for name, columns, bias in (
            ("boxes", 4, 0.0),
            ("classes", settings["num_classes"], -float(np.log(1 / _PRIOR - 1))),
        ):
            tower = [conv(width, activation="relu", is_head=True) for _ in range(settings["depth"])]
            last = conv(geometry.ANCHORS_PER_PLACE * columns, bias=bias, is_head=True)
            first, rows = keras.Input((None, None, width)), keras.layers.Reshape((-1, columns))
            head = keras.Sequential([first, *tower, last, rows], name=name)
            outputs.append(keras.layers.Concatenate(axis=1)([head(level) for level in levels]))
        joined = keras.layers.Concatenate(axis=-1, dtype="float32")(outputs)
        return keras.Model(images, joined, name="network"), [level.shape[1] for level in levels]

    def call(self, images, training=False):
        """Computes coordinates relative to anchors and logits of classes, `[B, A, 4 + C]`."""
        return self.network(self.encoder.standardize(images), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns focal loss of the classes and Huber loss of the boxes, per object, [RetinaNet].

        Args:
            x: images.
            y: dictionary of "boxes" `[B, M, 4]` and "labels" `[B, M]`, -1 beyond the objects.
            y_pred: outputs of the model, `[B, A, 4 + C]`.
        """
        wanted, targets = self.match(y["boxes"], y["labels"])
        is_object = tf.cast(targets >= 0, tf.float32)
        is_counted = tf.cast(targets >= -1, tf.float32)
        classes = tf.one_hot(targets, self.settings["num_classes"])
        # Keras takes means over the last axis, where the paper has sums.
        focal = self._focal(classes, y_pred[..., 4:]) * classes.shape[-1] * is_counted
        distance = self._distance(wanted, y_pred[..., :4]) * 4 * 9 * is_object
        objects = tf.maximum(tf.reduce_sum(is_object), 1.0)
        return (tf.reduce_sum(focal) + tf.reduce_sum(distance)) / objects

    def match(self, boxes: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns coordinates `[B, A, 4]` and class `[B, A]` that each anchor should predict.

        The class is -1 for background and -2 for anchors between the limits of overlap, which do
        not count. The best anchor of an object is always its own.
        """
        labels = tf.cast(labels, tf.int32)
        shared = geometry.overlaps(self._anchors, tf.cast(boxes, tf.float32))  # [B, A, M]
        shared = tf.where(labels[:, tf.newaxis] >= 0, shared, -1.0)
        best = tf.reduce_max(shared, axis=1, keepdims=True)
        shared = tf.where((shared == best) & (best > 0.0), 1.0 + shared, shared)
        nearest = tf.argmax(shared, axis=-1)
        overlap = tf.reduce_max(shared, axis=-1)
        classes = tf.gather(labels, nearest, batch_dims=1)
        classes = tf.where(overlap >= _POSITIVE, classes, -2)
        classes = tf.where(overlap < _NEGATIVE, -1, classes)
        own = tf.gather(tf.cast(boxes, tf.float32), nearest, batch_dims=1)
        return geometry.encode_boxes(own, self._anchors), classes

    def detect(
        self, images: Any, *, min_score: float = 0.05, batch_size: int = 16
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Finds objects; of boxes of a class that overlap by half, the best remains.

        Args:
            images: images `[N, image_size, image_size, C]`, uint8 or floating in [0, 1].
            min_score: least probability of an object.
            batch_size: number of images per step.
        Returns:
            For each image boxes `[n, 4]`, scores `[n]` and labels `[n]`, best first.
        """
        min_score = checks.number(min_score, "min_score", minimum=0.0, maximum=1.0)
        outputs = self.predict(images, batch_size=batch_size, verbose=0)
        boxes = geometry.decode_boxes(tf.constant(outputs[..., :4]), self._anchors)
        found = tf.image.combined_non_max_suppression(
            boxes[:, :, tf.newaxis],
            tf.sigmoid(outputs[..., 4:]),
            max_output_size_per_class=_MOST_BOXES,
            max_total_size=_MOST_BOXES,
            score_threshold=min_score,
        )
        counts = found.valid_detections.numpy()
        parts = (found.nmsed_boxes, found.nmsed_scores, tf.cast(found.nmsed_classes, tf.int32))
        return [
            tuple(part[image, :count].numpy() for part in parts)
            for image, count in enumerate(counts)
        ]

    def get_config(self):
        """Constructor arguments, serialised."""
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return super().get_config() | self.settings | {"encoder": encoder}

    @classmethod
    def from_config(cls, config):
        """A model without weights from `get_config`'s result."""
        return cls(**keras.saving.deserialize_keras_object(config))


def detection_batches(
    dataset: tf.data.Dataset, *, image_size: int, batch_size: int, max_boxes: int = _MOST_BOXES
) -> tf.data.Dataset:
    """Makes batches for `Detector.fit` of elements as TensorFlow Datasets gives them.

    Args:
        dataset: dictionaries with an "image" `[H, W, C]` and "objects", which has a "bbox"
            `[n, 4]` and a "label" `[n]`, as those of "voc/2007" and "coco/2017".
        image_size: side in pixels to which images are resized, each axis by itself.
        batch_size: number of images per batch.
        max_boxes: most objects of an image that are kept.
    Returns:
        Pairs of images float32 in [0, 1] and of a dictionary with "boxes" and "labels".
    """
    image_size = checks.integer(image_size, "image_size", minimum=16)
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    max_boxes = checks.integer(max_boxes, "max_boxes", minimum=1)

    def prepare(element):
        image = tf.image.convert_image_dtype(element["image"], tf.float32)
        image = tf.image.resize(image, (image_size, image_size), antialias=True)
        objects = element["objects"]
        return image, {
            "boxes": objects["bbox"][:max_boxes],
            "labels": tf.cast(objects["label"][:max_boxes], tf.int32),
        }

    prepared = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    boxes = {"boxes": [max_boxes, 4], "labels": [max_boxes]}
    shapes = (prepared.element_spec[0].shape, boxes)
    values = (0.0, {"boxes": 0.0, "labels": -1})
    return prepared.padded_batch(batch_size, shapes, values).prefetch(tf.data.AUTOTUNE)
