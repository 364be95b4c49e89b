"""Memory bank: the latest embeddings of every image of a training set."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.methods.codes import gathered


@keras.saving.register_keras_serializable(package="tfdpm")
class MemoryBank(keras.layers.Layer):
    """Store of the latest embeddings of the assigning crops of each image.

    Every replica holds the whole bank and writes the embeddings of all replicas.

    Args:
        num_images: number of images, >= 1.
        num_lanes: number of crops whose embeddings are kept, >= 1.
        embedding_dim: size of an embedding, >= 1.
    """

    def __init__(self, num_images: int, num_lanes: int, embedding_dim: int, **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.num_images = checks.integer(num_images, "num_images", minimum=1)
        self.num_lanes = checks.integer(num_lanes, "num_lanes", minimum=1)
        self.embedding_dim = checks.integer(embedding_dim, "embedding_dim", minimum=1)
        # Embeddings have unit norm, so that rows of zeros are those of images not seen yet.
        self.storage = self.add_weight(
            name="storage",
            shape=(self.num_images, self.num_lanes, self.embedding_dim),
            dtype="float32",
            trainable=False,
            initializer="zeros",
            autocast=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def write(self, index: tf.Tensor, embeddings: tf.Tensor) -> None:
        """Stores embeddings `[B, num_lanes, embedding_dim]` of the images `index` `[B]`."""
        embeddings = gathered(tf.cast(tf.stop_gradient(embeddings), tf.float32), axis=0)
        places = gathered(tf.cast(index, tf.int32), axis=0)[:, tf.newaxis]
        wanted = f"`x`: wanted indices below `training.num_images`, {self.num_images}"
        tf.debugging.assert_less(places, self.num_images, message=wanted)
        bank = tf.convert_to_tensor(self.storage)
        self.storage.assign(tf.tensor_scatter_nd_update(bank, places, embeddings))

    def seen(self) -> np.ndarray:
        """Returns the indices of the images that the bank holds, in order."""
        return np.flatnonzero(np.any(self.storage.numpy() != 0.0, axis=(1, 2)))

    def lane(self, lane: int, index: np.ndarray) -> tf.Tensor:
        """Returns the embeddings `[n, embedding_dim]` of one crop of some images."""
        return tf.gather(tf.convert_to_tensor(self.storage)[:, lane], index)
