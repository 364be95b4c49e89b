"""Past embeddings that join the assignment problem when a batch is small.

State with an explicit fill counter; what is done with the embeddings is the model's matter.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tfdpm import checks


@keras.saving.register_keras_serializable(package="tfdpm")
class FeatureQueue(keras.layers.Layer):
    """First-in first-out store of embeddings, one lane per assigning crop, saved with the model.

    Every replica holds the whole queue and pushes what all replicas saw; `share` hands each
    replica its own part, so that the parts make up the queue once. [SwAV] section 4.4.

    Args:
        num_lanes: crops that give codes, >= 1.
        length: embeddings per lane, >= 0; zero stores nothing.
        embedding_dim: size of an embedding, >= 1.
    """

    def __init__(self, num_lanes: int, length: int, embedding_dim: int, **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.num_lanes = checks.integer(num_lanes, "num_lanes", minimum=1)
        self.length = checks.integer(length, "length", minimum=0)
        self.embedding_dim = checks.integer(embedding_dim, "embedding_dim", minimum=1)
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        options = {
            "trainable": False,
            "initializer": "zeros",
            "autocast": False,
            "aggregation": "only_first_replica",
        }
        self.storage = self.add_weight(
            name="storage",
            shape=(self.num_lanes, self.length, self.embedding_dim),
            dtype="float32",
            **options,
        )
        self.filled = self.add_weight(name="filled", shape=(), dtype="int32", **options)
        self.built = True

    def is_full(self) -> tf.Tensor:
        """Boolean scalar: every slot holds an embedding that was pushed (false for length 0)."""
        return tf.logical_and(tf.convert_to_tensor(self.filled) >= self.length, self.length > 0)

    def push(self, embeddings: tf.Tensor) -> None:
        """Stores the newest embeddings of all replicas and drops the oldest.

        Args:
            embeddings: `[num_lanes, B, embedding_dim]`, this replica's batch. Of a batch longer
                than the queue the last `length` are kept.
        """
        embeddings = tf.cast(tf.stop_gradient(embeddings), tf.float32)
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            embeddings = context.all_gather(embeddings, axis=1)
        joined = tf.concat([tf.convert_to_tensor(self.storage), embeddings], axis=1)
        self.storage.assign(joined[:, tf.shape(joined)[1] - self.length :])
        added = tf.shape(embeddings)[1]
        self.filled.assign(tf.minimum(tf.convert_to_tensor(self.filled) + added, self.length))

    def share(self) -> tf.Tensor:
        """This replica's part of the queue, `[num_lanes, ~length / R, embedding_dim]` float32."""
        storage = tf.convert_to_tensor(self.storage)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return storage
        replicas = context.num_replicas_in_sync
        rank = tf.cast(context.replica_id_in_sync_group, tf.int32)
        return storage[:, rank * self.length // replicas : (rank + 1) * self.length // replicas]

    def get_config(self):
        return super().get_config() | {
            "num_lanes": self.num_lanes,
            "length": self.length,
            "embedding_dim": self.embedding_dim,
        }
