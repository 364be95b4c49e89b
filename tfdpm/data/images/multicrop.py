"""The `tf.data` pipeline of multi-crop views: several crops per image, at several resolutions."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from tfdpm import checks
from tfdpm.data.images import augment
from tfdpm.data.images.sources import SkippedImages, open_source
from tfdpm.data.images.view_config import ViewConfig


def multicrop(
    data: Any,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    shuffle_buffer: int = 10_000,
    initial_epoch: int = 0,
    epochs: int | None = None,
    service: str | None = None,
    skipped: SkippedImages | None = None,
    with_index: bool = False,
    **view_options: Any,
) -> tf.data.Dataset:
    """Makes batches of views for `tfdpm.SwAV`, one tensor per resolution.

    The operations and their order are the published ones: random resized crop, mirror image,
    colour jitter, grey, blur, standardisation, [SwAV]. Each pass over the data set is one epoch
    with new draws.

    Args:
        data: images, `[N, H, W]` or `[N, H, W, C]`, uint8 or floating in [0, 1]. Or a folder or a
            list of image files, an .npy or .npz file, TFRecord files (`*.tfrecord*`, feature
            "image"), a `tf.data.Dataset` of images or of batches, or the name of a data set, as in
            `tfdpm.data.load`. Labels beside the images are ignored.
        batch_size: number of images per batch; the last, smaller batch of an epoch is dropped.
        seed: random seed; the same seed gives the same views in the same order.
        shuffle: whether the order changes from epoch to epoch.
        shuffle_buffer: number of images in the buffer that shuffles sources without random access.
        initial_epoch: number of the first epoch, >= 0; an interrupted run goes on exactly.
        epochs: number of epochs in one pass, without Python state, as other processes need it. By
            default, each pass is one epoch and takes the next number.
        service: address of a `tf.data` service, such as "grpc://localhost:5000". Its workers make
            the views, each epoch on one worker. Needs `epochs`.
        skipped: list that collects unreadable files; they are left out with or without it.
        with_index: whether each batch has the places of its images in the data behind its crops,
            as `tfdpm.DeepCluster` needs them. Files are numbered in the order of their names.
        **view_options: settings of the views, the fields of `tfdpm.features.ViewConfig`, such as
            `crop_sizes`. With one channel in `mean`, colour images are read as grey; with three,
            grey images are read as colour and transparency is dropped.
    Returns:
        Data set of tuples with a `[batch_size, V, S, S, C]` float32 tensor per resolution; or of
        pairs of such a tuple and indices `[batch_size]` int32.
    Raises:
        ValueError: if the source is empty or smaller than a batch, has an impossible number of
            channels or values out of range, or a setting is bad.
        TypeError: if an option is not a field of `ViewConfig`.
    """
    views = ViewConfig(**view_options)
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    seed = checks.integer(seed, "seed")
    initial_epoch = checks.integer(initial_epoch, "initial_epoch", minimum=0)
    if service is not None and epochs is None:
        checks.fail("epochs", None, "a number of epochs where a `service` makes the views")
    source = open_source(
        data,
        channels=len(views.mean),
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
        return _batches(source, views, epoch_seed, batch_size, steps)

    if epochs is None:
        # Each pass over the data set takes the next number from the Python process.
        numbers = itertools.count(initial_epoch)
        epoch_numbers = tf.data.Dataset.from_generator(
            lambda: iter([next(numbers)]), output_signature=tf.TensorSpec((), tf.int64)
        )
    else:
        epochs = checks.integer(epochs, "epochs", minimum=1)
        epoch_numbers = tf.data.Dataset.range(initial_epoch, initial_epoch + epochs)
    batches = epoch_numbers.flat_map(one_epoch)
    if service is not None:
        batches = batches.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, service
            )
        )
    if not with_index:
        batches = batches.map(lambda crops, index: crops)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps * (epochs or 1)))
    # Workers that train together make the same batches and take their parts of each.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.with_options(options)
    return batches.prefetch(tf.data.AUTOTUNE)


def _batches(source, views: ViewConfig, epoch_seed, batch_size: int, steps: int):
    """Makes crops and indices of one epoch; each step draws from a seed of its own."""
    order_seed, crop_seed, color_seed = augment.split_seed(epoch_seed, 3)
    if source.is_batched:
        images = source.batches(order_seed, batch_size, with_index=True).take(steps).enumerate()
        crops = images.map(
            lambda step, batch: (step, (batch[0], crop(batch[1], views, _fold(crop_seed, step)))),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    else:
        images = source.images(order_seed, with_index=True).repeat().take(steps * batch_size)
        crops = images.enumerate().map(
            lambda place, pair: (pair[0], crop(pair[1], views, _fold(crop_seed, place))),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        crops = crops.batch(batch_size, drop_remainder=True).enumerate()
    return crops.map(
        lambda step, batch: (
            color_and_standardize(batch[1], views, _fold(color_seed, step)),
            batch[0],
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def crop(images: tf.Tensor, views: ViewConfig, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Cuts and mirrors crops `[B, V, S, S, C]` per resolution of images `[B, H, W, C]`.

    Of one image `[H, W, C]` they are `[V, S, S, C]`.
    """
    *batch, height, width, _ = tf.unstack(tf.shape(images))
    results = []
    for index, (size, count, scale) in enumerate(views.resolutions()):
        box_seed, flip_seed = augment.split_seed(_fold(seed, index), 2)
        shape = [*batch, count]
        boxes = augment.crop_boxes(box_seed, tf.reduce_prod(shape), height, width, scale=scale)
        mirrored = tf.random.stateless_uniform(shape, flip_seed) < views.flip_prob
        if batch:
            boxes = tf.reshape(boxes, [-1, count, 4])
            results.append(augment.resized_crops(images, boxes, size, mirrored))
        else:
            boxes = tf.ensure_shape(boxes, [count, 4])
            crops = augment.resized_crops_of_one(images, boxes, size, mirrored)
            results.append(tf.ensure_shape(crops, [count, size, size, len(views.mean)]))
    return tuple(results)


def color_and_standardize(
    crops: tuple[tf.Tensor, ...], views: ViewConfig, seed: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Applies jitter, grey, blur and standardisation to crops `[B, V, S, S, C]`, in this order."""
    results = []
    for index, batch in enumerate(crops):
        # Crops draw from the folds 0, 1, ...: these must be others.
        jitter_seed, gray_seed, blur_seed = augment.split_seed(_fold(seed, 1000 + index), 3)
        images = tf.reshape(batch, [-1, *batch.shape[2:]])
        images = augment.color_jitter(jitter_seed, images, views.jitter, views.jitter_prob)
        images = augment.random_grayscale(gray_seed, images, views.gray_prob)
        images = augment.random_blur(blur_seed, images, views.blur_prob, views.blur_sigma)
        images = (images - views.mean) / views.std
        results.append(tf.reshape(images, [-1, *batch.shape[1:]]))
    return tuple(results)


def _fold(seed: tf.Tensor, number) -> tf.Tensor:
    return tf.random.fold_in(seed, tf.cast(number, tf.int32))
