"""Batch norm against NumPy and Keras; pooled moments of two replicas against one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.swav.normalization import BatchNorm, ImageStandardization, unit_rows


@pytest.mark.parametrize("shape", [(8, 5), (4, 3, 3, 5)])
def test_training_normalises_and_averages_like_numpy(shape):
    x = np.random.default_rng(0).normal(3.0, 2.0, size=shape).astype(np.float32)
    layer = BatchNorm(momentum=0.9, epsilon=1e-5)
    outputs = layer(x, training=True).numpy()
    axes = tuple(range(len(shape) - 1))
    mean, variance = x.mean(axes), x.var(axes)
    np.testing.assert_allclose(outputs, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    count = x.size // 5
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * mean, rtol=1e-5)
    unbiased = variance * count / (count - 1)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9 + 0.1 * unbiased, rtol=1e-5)


def test_inference_equals_keras():
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 5)).astype(np.float32)
    ours, theirs = BatchNorm(epsilon=1e-3), keras.layers.BatchNormalization(epsilon=1e-3)
    ours.build(x.shape), theirs.build(x.shape)
    values = [np.random.default_rng(i).uniform(0.5, 1.5, 5) for i in range(4)]
    ours.set_weights(values), theirs.set_weights(values)
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-6)


def test_two_replicas_share_moments_and_gradients(two_replicas):
    x = np.random.default_rng(1).normal(5.0, 2.0, size=(8, 4)).astype(np.float32)
    target = np.random.default_rng(2).normal(size=(8, 4)).astype(np.float32)

    def outputs_and_gradient(layer, inputs, wanted):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.square(outputs) * wanted)
        return outputs, tape.gradient(loss, inputs)

    single = BatchNorm()
    single.build((None, 4))
    expected = outputs_and_gradient(single, tf.constant(x), tf.constant(target))
    strategy = two_replicas
    with strategy.scope():
        layer = BatchNorm()
        layer.build((None, 4))

    def run():
        rank = tf.distribute.get_replica_context().replica_id_in_sync_group
        inputs, wanted = (tf.reshape(array, [2, 4, 4])[rank] for array in (x, target))
        return outputs_and_gradient(layer, inputs, wanted)

    results = tf.function(lambda: strategy.run(run))()
    for result, wanted in zip(results, expected, strict=True):
        joined = tf.concat(strategy.experimental_local_results(result), axis=0)
        np.testing.assert_allclose(joined, wanted, atol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), single.moving_variance.numpy(), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.bfloat16)])
def test_half_precision_input_keeps_its_dtype(dtype):
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 5)).astype(np.float32)
    layer = BatchNorm(dtype=f"mixed_{dtype}")
    assert layer(x, training=True).dtype.name == dtype
    assert layer(x, training=False).dtype.name == dtype
    assert layer.moving_mean.dtype == "float32"


def test_images_of_either_kind_are_standardised_alike():
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 4, 4, 3), dtype=np.uint8)
    layer = ImageStandardization((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    expected = (pixels / 255.0 - (0.4, 0.5, 0.6)) / (0.1, 0.2, 0.3)
    np.testing.assert_allclose(layer(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(layer((pixels / 255.0).astype(np.float32)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="3 channels"):
        layer(pixels[..., :1])


def test_unit_rows_keep_zero_and_give_it_no_gradient():
    inputs = tf.constant([[3.0, 4.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        rows = unit_rows(inputs)
        total = tf.reduce_sum(rows * [1.0, 2.0])
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]], atol=1e-6)
    # d(x/|x|) projects on the tangent: (w - (w.u) u) / |x| with u = (.6, .8), w = (1, 2).
    np.testing.assert_allclose(tape.gradient(total, inputs), [[-0.064, 0.048], [0, 0]], atol=1e-6)
