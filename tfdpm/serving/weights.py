"""Weights of a graph that is served: constants in it, or variables beside it.

A call looks every variable up anew, in three operations that take longer than the arithmetic of one
point. Constants cost nothing, but a graph file has a size limit and is held in memory several
times, so that large weights stay variables.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
import tensorflow as tf

_LARGEST_CONSTANT = 2**20  # bytes of one weight, of which each signature has its own copy
_LARGEST_ENCODER = 2**25  # bytes of all weights of an encoder, which signatures share

Weight = np.ndarray | tf.Variable


def held(value: np.ndarray, dtype: tf.DType = tf.float32) -> Weight:
    """`value` as a constant, or as a variable where it is large."""
    value = np.asarray(value, dtype.as_numpy_dtype)
    if value.nbytes <= _LARGEST_CONSTANT:
        return value
    return tf.Variable(value, trainable=False)


def held_affine(kernel: np.ndarray, bias: np.ndarray) -> tuple[Weight, Weight]:
    """What `affine` takes: the kernel and the negative bias."""
    return held(kernel), held(-bias)


def affine(rows, weights: tuple[Weight, Weight]) -> tf.Tensor:
    """`rows @ kernel + bias`."""
    # TensorFlow fuses a product with a bias that is added to it, but not with one that is
    # subtracted. The fused kernel starts so slowly that both take a fifth of it for one row.
    kernel, negative_bias = weights
    return tf.linalg.matmul(rows, kernel) - negative_bias


class ServedEncoder(tf.Module):
    """A built encoder, of one input and output, whose weights are constants unless large."""

    def __init__(self, encoder: keras.Model):
        super().__init__(name="encoder")
        self._input_shape = tuple(encoder.input_shape[1:])
        # A session finds only variables that stand in a list of their own, as Keras writes them.
        self._variables = [each.value for each in encoder.variables]
        is_small = sum(np.asarray(each).nbytes for each in self._variables) <= _LARGEST_ENCODER
        encode = functools.partial(encoder, training=False)
        if is_small:
            self._variables = []
            parts = (encoder.trainable_variables, encoder.non_trainable_variables)
            values = [[np.asarray(each) for each in part] for part in parts]
            encode = functools.partial(_encoded_by, encoder, values)
        # A function of its own stands in the file once, whoever calls it.
        points = tf.TensorSpec([None, *self._input_shape], tf.float32)
        self._encode = tf.function(encode, autograph=False).get_concrete_function(points)

    def __call__(self, inputs) -> tf.Tensor:
        """Features `[B, F]` of points `[B, ...]`, in the shape that the encoder takes or flat."""
        if tuple(inputs.shape[1:]) != self._input_shape:
            inputs = tf.reshape(inputs, [-1, *self._input_shape])
        return self._encode(inputs)


def _encoded_by(encoder: keras.Model, values: list[list[np.ndarray]], points) -> tf.Tensor:
    """Features under trainable and other weights that are given."""
    weights = ([tf.constant(value) for value in part] for part in values)
    return encoder.stateless_call(*weights, points, training=False)[0]
