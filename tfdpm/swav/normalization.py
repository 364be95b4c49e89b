"""Normalising layers: batch statistics of all replicas, unit vectors, constants of images."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdpm import checks


def summing_dtype(dtype) -> tf.DType:
    """float64 for values of float64, else float32, since sums in less would lose digits."""
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32


@keras.saving.register_keras_serializable(package="tfdpm")
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over all axes but the last, across all replicas.

    It is made in float32, or in float64 by that policy. One replica uses TensorFlow's fused
    kernel. Several replicas pool their moments and normalise a split batch as one replica would.
    The moving variance is unbiased, as in the published runs.

    Args:
        momentum: share of the moving averages that a step keeps, in [0, 1].
        epsilon: number added to the variance, > 0.
        synchronized: whether replicas share their moments.
    """

    def __init__(
        self, momentum: float = 0.9, epsilon: float = 1e-5, synchronized: bool = True, **kwargs
    ):
        super().__init__(**kwargs)
        self.momentum = checks.number(momentum, "momentum", minimum=0.0, maximum=1.0)
        self.epsilon = checks.number(epsilon, "epsilon", above=0.0)
        self.synchronized = checks.boolean(synchronized, "synchronized")

    def build(self, input_shape):
        size = input_shape[-1]
        dtype = summing_dtype(self.compute_dtype).name
        options = {"shape": (size,), "dtype": dtype, "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        # Synchronised replicas have the same averages; those of others are averaged.
        options["aggregation"] = "only_first_replica" if self.synchronized else "mean"
        options["trainable"] = False
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **options)
        self.moving_variance = self.add_weight(
            name="moving_variance", initializer="ones", **options
        )

    def call(self, inputs, training=False):
        if not (training and self.trainable):
            return self._affine(inputs, self.moving_mean, self.moving_variance)
        context = tf.distribute.get_replica_context()
        if self.synchronized and context is not None and context.num_replicas_in_sync > 1:
            outputs, mean, variance = self._normalized(
                inputs, *self._pooled_moments(inputs, context)
            )
        elif inputs.dtype == tf.float64:  # for which there is no fused kernel
            mean, variance = tf.nn.moments(inputs, list(range(inputs.shape.rank - 1)))
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float64)
            outputs, mean, variance = self._normalized(inputs, mean, variance, count)
        else:
            outputs, mean, variance = self._fused(inputs)
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            value = tf.stop_gradient(tf.cast(value, average.dtype))
            average.assign(average * self.momentum + value * (1.0 - self.momentum))
        return outputs

    def _normalized(self, inputs, mean, variance, count):
        """Returns normalised inputs, the mean and the unbiased variance."""
        outputs = self._affine(inputs, mean, variance)
        return outputs, mean, variance * count / tf.maximum(count - 1.0, 1.0)

    def _fused(self, inputs):
        rank = inputs.shape.rank
        flat = inputs if rank == 4 else tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            flat,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            epsilon=self.epsilon,
        )
        return (outputs if rank == 4 else tf.reshape(outputs, tf.shape(inputs))), mean, variance

    def _pooled_moments(self, inputs, context):
        """Returns mean, variance and count over all replicas."""
        values = tf.cast(inputs, summing_dtype(inputs.dtype))
        axes, size = list(range(inputs.shape.rank - 1)), inputs.shape[-1]
        count = tf.cast(tf.size(values) // size, values.dtype)
        mean = tf.reduce_mean(values, axes)
        squares = tf.reduce_sum(tf.square(values - mean), axes)
        own = tf.concat([mean, squares, [count]], axis=0)
        # Summing rows that are zero except for a replica's own gathers them, with gradients.
        rank = tf.one_hot(
            context.replica_id_in_sync_group, context.num_replicas_in_sync, dtype=values.dtype
        )
        rows = context.all_reduce(tf.distribute.ReduceOp.SUM, rank[:, tf.newaxis] * own)
        means, squares = rows[:, :size], rows[:, size : 2 * size]
        counts = tf.stop_gradient(rows[:, 2 * size :])
        total = tf.reduce_sum(counts)
        mean = tf.reduce_sum(means * (counts / total), axis=0)
        # sum (x - mean)^2 = sum_r [sum_i (x_ri - mean_r)^2 + n_r (mean_r - mean)^2]: nothing
        # cancels, since each replica centres its values (Chan, Golub and LeVeque 1979).
        between = counts * tf.square(means - mean)
        return mean, tf.reduce_sum(squares + between, axis=0) / total, total

    def _affine(self, inputs, mean, variance):
        scale = tf.math.rsqrt(tf.convert_to_tensor(variance) + self.epsilon) * self.gamma
        shift = self.beta - mean * scale
        return tf.cast(tf.cast(inputs, scale.dtype) * scale + shift, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def unit_rows(inputs: tf.Tensor) -> tf.Tensor:
    """Divides each row by its Euclidean norm, in float32 or float64.

    A row of norm below 1e-6 becomes zero and gets no gradient: both would be amplified rounding.
    """
    rows = tf.cast(inputs, summing_dtype(inputs.dtype))
    squares = tf.reduce_sum(tf.square(rows), axis=-1, keepdims=True)
    is_zero = squares < 1e-12
    # The inner choice keeps the gradient of the unused branch finite.
    scale = tf.math.rsqrt(tf.where(is_zero, tf.ones_like(squares), squares))
    return tf.where(is_zero, tf.zeros_like(rows), rows * scale)


@keras.saving.register_keras_serializable(package="tfdpm")
class ImageStandardization(keras.layers.Layer):
    """Layer that standardises raw images, `(x - mean) / std`.

    Images of integers are divided by 255; floating images must lie in [0, 1].

    Args:
        mean, std: constants of each channel for images in [0, 1]; `std` > 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs):
        super().__init__(**kwargs)
        self.mean = tuple(checks.number(value, "mean") for value in mean)
        self.std = tuple(checks.number(value, "std", above=0.0) for value in std)
        if len(self.mean) != len(self.std):
            checks.fail("std", f"{len(self.std)} values", f"{len(self.mean)}, as many as `mean`")

    def call(self, images):
        if images.shape[-1] != len(self.mean):
            checks.fail("images", f"shape {images.shape}", f"{len(self.mean)} channels, last axis")
        scale = 1.0 if images.dtype.is_floating else 255.0
        images = tf.cast(images, tf.float32) / scale
        return tf.cast((images - self.mean) / self.std, self.compute_dtype)
