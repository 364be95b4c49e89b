"""Keras metrics that show a collapse while it happens.

What to do about it is said by the callbacks.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def entropy(rows: tf.Tensor) -> tf.Tensor:
    """Entropy of each row of a `[..., P]` tensor of distributions, nats; `0 log 0` is zero."""
    return -tf.reduce_sum(tf.math.xlogy(rows, rows), axis=-1)


@keras.saving.register_keras_serializable(package="tfdpm")
class MeanCodeEntropy(keras.metrics.Metric):
    """Entropy of the mean code since the last reset, nats: `ln P` when the prototypes share alike.

    Args:
        num_prototypes: P.
    """

    def __init__(self, num_prototypes: int, name: str = "mean_code_entropy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_prototypes = num_prototypes
        self.mass = self.add_variable((num_prototypes,), "zeros", dtype="float32", name="mass")

    def update_state(self, codes, sample_weight=None):
        """Adds codes `[N, P]`."""
        self.mass.assign(self.mass + tf.reduce_sum(codes, axis=0))

    def result(self):
        mass = tf.convert_to_tensor(self.mass)
        return entropy(mass / tf.maximum(tf.reduce_sum(mass), 1e-12))

    def get_config(self):
        return super().get_config() | {"num_prototypes": self.num_prototypes}


@keras.saving.register_keras_serializable(package="tfdpm")
class PrototypeUsage(keras.metrics.Metric):
    """Share of prototypes that were some sample's first choice since the last reset, in [0, 1].

    Args:
        num_prototypes: P.
    """

    def __init__(self, num_prototypes: int, name: str = "used_prototypes", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_prototypes = num_prototypes
        self.hits = self.add_variable((num_prototypes,), "zeros", dtype="float32", name="hits")

    def update_state(self, codes, sample_weight=None):
        """Adds codes `[N, P]`."""
        hits = tf.math.bincount(
            tf.argmax(codes, axis=-1, output_type=tf.int32),
            minlength=self.num_prototypes,
            maxlength=self.num_prototypes,
            dtype=tf.float32,
        )
        self.hits.assign(self.hits + hits)

    def result(self):
        return tf.reduce_mean(tf.cast(tf.convert_to_tensor(self.hits) > 0, tf.float32))

    def get_config(self):
        return super().get_config() | {"num_prototypes": self.num_prototypes}
