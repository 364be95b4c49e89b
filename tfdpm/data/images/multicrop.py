"""A `tf.data` pipeline of multi-crop views: several crops of two or more sizes per image.

All views of an image come from that image and every draw follows the seed. Sources are read in
`sources`; the image operations stand in `augment`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfdpm import checks
from tfdpm.data.images import augment
from tfdpm.data.images.sources import SkippedImages, open_source

PUBLISHED_MEAN = (0.485, 0.456, 0.406)
PUBLISHED_STD = (0.228, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """Checked settings of one pipeline."""

    crop_sizes: tuple[int, ...]
    crop_counts: tuple[int, ...]
    crop_scales: tuple[tuple[float, float], ...]
    flip_prob: float
    jitter_prob: float
    jitter: tuple[float, ...]
    gray_prob: float
    blur_prob: float
    blur_sigma: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        for name in ("flip_prob", "jitter_prob", "gray_prob", "blur_prob"):
            augment.check_probability(getattr(self, name), name)
        for name in ("crop_sizes", "crop_counts"):
            for value in getattr(self, name):
                checks.integer(value, name, minimum=1)
        lengths = {len(self.crop_sizes), len(self.crop_counts), len(self.crop_scales)}
        if len(lengths) != 1 or not self.crop_sizes:
            checks.fail("crop_counts, crop_scales", "other lengths", "one entry per crop size")
        for low, high in self.crop_scales:
            if not 0.0 < low <= high <= 1.0:
                checks.fail("crop_scales", (low, high), "0 < low <= high <= 1")
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            checks.fail("jitter", self.jitter, "four numbers of at least 0, the last at most 0.5")
        if not 0.0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            checks.fail("blur_sigma", self.blur_sigma, "0 < low <= high")
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            checks.fail("std", self.std, f"{len(self.mean)} positive numbers, as many as `mean`")

    def crops(self, images: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Views `[B, V, S, S, C]` per resolution, before colour, of a batch `[B, H, W, C]`."""
        batch = tf.shape(images)[0]
        results = []
        for index, (size, count, scale) in enumerate(
            zip(self.crop_sizes, self.crop_counts, self.crop_scales, strict=True)
        ):
            box_seed, flip_seed = augment.split_seed(_fold(seed, index), 2)
            boxes = augment.crop_boxes(
                box_seed, batch * count, images.shape[1], images.shape[2], scale=scale
            )
            mirrored = tf.random.stateless_uniform([batch, count], flip_seed) < self.flip_prob
            boxes = tf.reshape(boxes, [-1, count, 4])
            results.append(augment.resized_crops(images, boxes, size, mirrored))
        return tuple(results)

    def crops_of_one(self, image: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Views `[V, S, S, C]` per resolution, before colour, of one image of any size."""
        shape = tf.shape(image)
        results = []
        for index, (size, count, scale) in enumerate(
            zip(self.crop_sizes, self.crop_counts, self.crop_scales, strict=True)
        ):
            box_seed, flip_seed = augment.split_seed(_fold(seed, index), 2)
            boxes = augment.crop_boxes(box_seed, count, shape[0], shape[1], scale=scale)
            mirrored = tf.random.stateless_uniform([count], flip_seed) < self.flip_prob
            crops = augment.resized_crops_of_one(image, boxes, size, mirrored)
            results.append(tf.ensure_shape(crops, [count, size, size, len(self.mean)]))
        return tuple(results)

    def finish(self, crops: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Colour, grey, blur and standardisation, in the published order."""
        results = []
        for index, views in enumerate(crops):
            jitter_seed, gray_seed, blur_seed = augment.split_seed(_fold(seed, 1000 + index), 3)
            images = tf.reshape(views, [-1, *views.shape[2:]])
            images = augment.color_jitter(jitter_seed, images, self.jitter, self.jitter_prob)
            images = augment.random_grayscale(gray_seed, images, self.gray_prob)
            images = augment.random_blur(blur_seed, images, self.blur_prob, self.blur_sigma)
            images = (images - self.mean) / self.std
            results.append(tf.reshape(images, [-1, *views.shape[1:]]))
        return tuple(results)


def multicrop(
    data: Any,
    *,
    batch_size: int,
    crop_sizes: Sequence[int] = (224, 96),
    crop_counts: Sequence[int] = (2, 6),
    crop_scales: Sequence[tuple[float, float]] = ((0.14, 1.0), (0.05, 0.14)),
    flip_prob: float = 0.5,
    jitter_prob: float = 0.8,
    jitter: Sequence[float] = (0.8, 0.8, 0.8, 0.2),
    gray_prob: float = 0.2,
    blur_prob: float = 0.5,
    blur_sigma: tuple[float, float] = (0.1, 2.0),
    mean: Sequence[float] = PUBLISHED_MEAN,
    std: Sequence[float] = PUBLISHED_STD,
    seed: int = 0,
    shuffle: bool = True,
    shuffle_buffer: int = 10_000,
    initial_epoch: int = 0,
    epochs: int | None = None,
    service: str | None = None,
    skipped: SkippedImages | None = None,
) -> tf.data.Dataset:
    """Batches of views for `tfdpm.SwAV`, one tensor per resolution.

    The published operations in the published order: random resized crop, mirror image, colour
    jitter, grey, blur, standardisation [SwAV]. Each pass over the data set is one epoch with new
    draws; `initial_epoch` resumes the sequence where an interrupted run left it, exactly.

    Args:
        data: images `[N, H, W]` or `[N, H, W, C]`, uint8 or floating in [0, 1]; a folder of image
            files; a list of image files; TFRecord files (`*.tfrecord*`, feature "image"); a
            `tf.data.Dataset` of images; or the name of a TFDS data set with an "image" feature.
        batch_size: images per batch; the last, smaller batch of an epoch is dropped.
        crop_sizes: side of the crops in pixels, one per resolution.
        crop_counts: crops per image, one per resolution.
        crop_scales: smallest and largest share of the image's area, one pair per resolution.
        flip_prob, jitter_prob, gray_prob, blur_prob: share of views an operation changes.
        jitter: strength of brightness, contrast, saturation (half widths around 1), hue (turns).
        blur_sigma: smallest and largest standard deviation in pixels.
        mean, std: per channel, subtracted from and dividing images in [0, 1]. Their number is the
            number of channels: one reads colour images as grey, three reads grey ones as colour
            and drops the transparency of four-channel images.
        seed: decides order and every draw.
        shuffle: whether the order changes from epoch to epoch.
        shuffle_buffer: images held to shuffle sources that can only be read in order.
        initial_epoch: number of the first epoch, >= 0.
        epochs: `None` gives a data set that is one epoch per pass. A number gives that many epochs
            in one pass, without Python state, as needed for other processes.
        service: address of a `tf.data` service, such as "grpc://localhost:5000", whose workers
            then make the views, each epoch on one worker. Needs `epochs`.
        skipped: collects the files that could not be read; they are left out either way.
    Returns:
        Data set of tuples, per resolution a `[batch_size, V, S, S, C]` float32 tensor.
    Raises:
        ValueError: if the source is empty or smaller than a batch, has an impossible number of
            channels or values out of range, or a setting is bad.
    """
    recipe = _Recipe(
        crop_sizes=tuple(crop_sizes),
        crop_counts=tuple(crop_counts),
        crop_scales=tuple(tuple(pair) for pair in crop_scales),
        flip_prob=flip_prob,
        jitter_prob=jitter_prob,
        jitter=tuple(jitter),
        gray_prob=gray_prob,
        blur_prob=blur_prob,
        blur_sigma=tuple(blur_sigma),
        mean=tuple(mean),
        std=tuple(std),
    )
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    seed = checks.integer(seed, "seed")
    initial_epoch = checks.integer(initial_epoch, "initial_epoch", minimum=0)
    if service is not None and epochs is None:
        checks.fail("epochs", None, "a number of epochs where a `service` makes the views")
    source = open_source(
        data,
        channels=len(recipe.mean),
        shuffle=checks.boolean(shuffle, "shuffle"),
        shuffle_buffer=checks.integer(shuffle_buffer, "shuffle_buffer", minimum=1),
        skipped=skipped if skipped is not None else SkippedImages(),
    )
    if source.num_images < batch_size:
        checks.fail("batch_size", batch_size, f"at most the number of images, {source.num_images}")
    steps = source.num_images // batch_size

    # Nothing here needs autograph, whose rewriting would take most of the time to build a pipeline.
    @tf.autograph.experimental.do_not_convert
    def one_epoch(epoch):
        epoch_seed = _fold(tf.constant([seed, 0], tf.int32), epoch)
        return _batches(source, recipe, epoch_seed, batch_size, steps)

    views = _epoch_numbers(initial_epoch, epochs).flat_map(one_epoch)
    if service is not None:
        views = views.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, service
            )
        )
    views = views.apply(tf.data.experimental.assert_cardinality(steps * (epochs or 1)))
    # Workers that train together make the same batches and take their parts of each.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    views = views.with_options(options)
    return views.prefetch(tf.data.AUTOTUNE)


def _batches(source, recipe, epoch_seed, batch_size, steps):
    order_seed, crop_seed, finish_seed = augment.split_seed(epoch_seed, 3)
    if source.is_batched:
        batches = source.batches(order_seed, batch_size).take(steps).enumerate()
        crops = batches.map(
            lambda step, images: (step, recipe.crops(images, _fold(crop_seed, step))),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    else:
        images = source.images(order_seed).repeat().take(steps * batch_size).enumerate()
        crops = images.map(
            lambda place, image: recipe.crops_of_one(image, _fold(crop_seed, place)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        crops = crops.batch(batch_size, drop_remainder=True)
        crops = crops.enumerate().map(lambda step, *views: (step, _as_tuple(views)))
    return crops.map(
        lambda step, views: recipe.finish(views, _fold(finish_seed, step)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _as_tuple(views):
    """Elements of a data set of tuples arrive unpacked, or nested once when enumerated."""
    return views[0] if len(views) == 1 and isinstance(views[0], tuple) else tuple(views)


def _epoch_numbers(initial_epoch: int, epochs: int | None) -> tf.data.Dataset:
    if epochs is not None:
        epochs = checks.integer(epochs, "epochs", minimum=1)
        return tf.data.Dataset.range(initial_epoch, initial_epoch + epochs)
    # Each pass over the data set takes the next number.
    numbers = itertools.count(initial_epoch)
    return tf.data.Dataset.from_generator(
        lambda: iter([next(numbers)]), output_signature=tf.TensorSpec((), tf.int64)
    )


def _fold(seed: tf.Tensor, number) -> tf.Tensor:
    return tf.random.fold_in(seed, tf.cast(number, tf.int32))
