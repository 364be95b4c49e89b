"""Layers from features to scores: the projection head and the prototypes."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.normalization import BatchNorm, summing_dtype, unit_rows


def _uniform_fan_in(seed: int) -> keras.initializers.Initializer:
    """Makes the published runs' initialiser of linear layers, uniform on +-1/sqrt(fan_in)."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=seed)


@keras.saving.register_keras_serializable(package="tfdpm")
class ProjectionHead(keras.layers.Layer):
    """Layer from features to embeddings of unit norm.

    It applies a dense layer, batch normalisation, ReLU, a dense layer and L2 normalisation.

    Args:
        embedding_dim: size of an embedding, >= 1.
        hidden_units: number of hidden units; 0 leaves a single dense layer.
        batch_norm: whether the hidden layer is normalised; in RN50w5 it is not.
        synchronized: whether replicas share batch statistics.
        seed: random seed; the same seed gives the same initial weights.
    """

    def __init__(
        self,
        embedding_dim: int = 128,
        hidden_units: int = 2048,
        batch_norm: bool = True,
        synchronized: bool = True,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.embedding_dim = checks.integer(embedding_dim, "embedding_dim", minimum=1)
        self.hidden_units = checks.integer(hidden_units, "hidden_units", minimum=0)
        self.batch_norm = checks.boolean(batch_norm, "batch_norm")
        self.synchronized = checks.boolean(synchronized, "synchronized")
        self.seed = checks.integer(seed, "seed")
        self.hidden = self.norm = None
        if self.hidden_units:
            self.hidden = self._dense(self.hidden_units, 0, "hidden")
            if self.batch_norm:
                self.norm = BatchNorm(
                    synchronized=self.synchronized, name="norm", dtype=self.dtype_policy
                )
        self.output_layer = self._dense(self.embedding_dim, 1, "output")

    def _dense(self, units: int, index: int, name: str) -> keras.layers.Dense:
        start = _uniform_fan_in(self.seed + index)
        return keras.layers.Dense(
            units, kernel_initializer=start, name=name, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        shape = tuple(input_shape)
        for layer in (self.hidden, self.norm, self.output_layer):
            if layer is None:
                continue
            if layer is not self.norm:
                # With a zero bias, a row of inactive units would give a vector without direction.
                bound = shape[-1] ** -0.5
                seed = self.seed + (2 if layer is self.hidden else 3)
                layer.bias_initializer = keras.initializers.RandomUniform(-bound, bound, seed=seed)
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, features, training=False):
        hidden = features
        if self.hidden is not None:
            hidden = self.hidden(hidden)
            if self.norm is not None:
                hidden = self.norm(hidden, training=training)
            hidden = tf.nn.relu(hidden)
        return unit_rows(self.output_layer(hidden))


@keras.saving.register_keras_serializable(package="tfdpm")
class Prototypes(keras.layers.Layer):
    """Layer from embeddings to scores, their dot products with the prototypes.

    They are made in float32, or in float64 by that policy.

    Prototypes are the columns of `kernel` `[E, P]` and start with unit norm.

    Args:
        num_prototypes: number of prototypes P, >= 2.
        seed: random seed; the same seed gives the same initial prototypes.
    """

    def __init__(self, num_prototypes: int, seed: int = 0, **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.num_prototypes = checks.integer(num_prototypes, "num_prototypes", minimum=2)
        self.seed = checks.integer(seed, "seed")

    def build(self, input_shape):
        draw = _uniform_fan_in(self.seed)

        def unit_columns(shape, dtype):
            return tf.math.l2_normalize(draw(shape, dtype=dtype), axis=0)

        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.num_prototypes),
            initializer=unit_columns,
            dtype=summing_dtype(self.compute_dtype).name,
            autocast=False,
            # All replicas renormalise the same values, so that any of them may write.
            aggregation="only_first_replica",
        )

    def call(self, embeddings):
        return tf.matmul(tf.cast(embeddings, self.kernel.dtype), self.kernel)

    def score_views(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Returns scores `[B, V, P]` of embeddings `[B, V, E]`."""
        scores = self(tf.reshape(embeddings, [-1, embeddings.shape[-1]]))
        return tf.reshape(scores, [-1, embeddings.shape[1], self.num_prototypes])

    def renormalize(self) -> None:
        """Scales every prototype to unit norm, in place."""
        self.kernel.assign(tf.math.l2_normalize(tf.convert_to_tensor(self.kernel), axis=0))
