"""Every form of a convolution against sums of products, its gradients, and its files."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.swav.backbones import small_resnet
from tfdpm.swav.convolution import Conv2D


def sum_products(images, kernel, stride):
    """Convolves as the definition says, in float64, with zeros on every side."""
    size, side = kernel.shape[0], images.shape[1]
    pad, out = size // 2, (side - 1) // stride + 1
    images = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    end = stride * (out - 1) + 1
    return tf.add_n(
        [
            tf.einsum(
                "bhwc,cf->bhwf",
                images[:, row : row + end : stride, column : column + end : stride],
                kernel[row, column],
            )
            for row in range(size)
            for column in range(size)
        ]
    )


@pytest.mark.parametrize("is_static", [True, False])
@pytest.mark.parametrize(
    ("side", "channels", "filters", "size", "stride"),
    [(3, 64, 70, 3, 1), (4, 70, 64, 3, 1), (5, 64, 64, 3, 1), (4, 8, 8, 3, 1)]
    + [(side, 3, 4, size, 2) for side in (7, 8) for size in (1, 3, 7)]
    + [(7, 3, 4, 3, 3), (8, 3, 4, 3, 3)],
)
def test_all_forms_are_the_same_convolution(side, channels, filters, size, stride, is_static):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, side, side, channels))
    layer = Conv2D(filters, size, stride, "same", use_bias=False)
    layer.build(images.shape)
    kernel = rng.normal(size=layer.kernel.shape)
    layer.kernel.assign(kernel)
    shape = images.shape if is_static else (None, None, None, channels)
    with tf.GradientTape() as tape:
        sources = tf.constant(images), tf.constant(kernel)
        tape.watch(sources)
        expected = sum_products(*sources, stride)
    back = rng.normal(size=expected.shape)
    gradients = tape.gradient(expected, sources, back)
    signature = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec(expected.shape, tf.float32)]

    @tf.function(input_signature=signature)
    def differentiate(images, back):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
        return outputs, *tape.gradient(outputs, [images, layer.kernel.value], back)

    found = differentiate(tf.constant(images, tf.float32), tf.constant(back, tf.float32))
    still = layer(tf.constant(images, tf.float32))
    for value, truth in zip((*found, still), (expected, *gradients, expected), strict=True):
        scale = float(tf.math.reduce_std(truth))
        np.testing.assert_allclose(value, truth, rtol=0, atol=1e-4 * scale)


def kinds_of(layer, shape, training):
    graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    return {each.type for each in graph.graph.get_operations()}


def test_products_are_saved_in_training_and_models_are_served_plainly():
    layer = Conv2D(64, 3, 1, "same", use_bias=False)
    layer.build((None, None, None, 64))
    assert {"MatMul", "BatchMatMulV2"} <= kinds_of(layer, [None, 4, 4, 64], True)
    assert "Conv2D" not in kinds_of(layer, [None, 4, 4, 64], True)
    for shape, training in (([None, 4, 4, 64], False), ([None, 5, 5, 64], True)):
        assert "Conv2D" in kinds_of(layer, shape, training)


def test_unknown_sides_and_symmetric_ones_need_no_padding_of_their_own():
    layer = Conv2D(4, 3, 2, "same", use_bias=False)
    layer.build((None, None, None, 2))
    assert "Pad" not in kinds_of(layer, [None, 7, 7, 2], True)
    assert "Pad" in kinds_of(layer, [None, 8, 8, 2], True)
    assert "Pad" in kinds_of(layer, [None, None, None, 2], True)


def test_files_of_weights_name_convolutions_as_before(tmp_path):
    model = small_resnet(channels=1, widths=(2, 4))
    model.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5") as file:
        assert {f"conv2d_{place}" for place in range(1, 6)} | {"conv2d"} <= set(file["layers"])
    model.save(tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    images = np.random.default_rng(0).random((2, 9, 9, 1), np.float32)
    np.testing.assert_allclose(again(images), model(images), rtol=1e-6)
