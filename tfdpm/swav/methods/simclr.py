"""SimCLR with any number of crops as a Keras model: views of an image attract each other."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.config import SelfSupervisedConfig
from tfdpm.swav.methods.codes import gathered
from tfdpm.swav.self_supervised import Objective, SelfSupervisedModel
from tfdpm.swav.views import unpack


def contrastive_loss(embeddings: tf.Tensor, *, temperature: float = 0.1) -> tf.Tensor:
    """Returns the loss of telling other views of an image from views of other images.

    Each view is compared with each other view of its image, against the views of all other images
    of all replicas, [SwAV] equation 7.

    Args:
        embeddings: embeddings of unit norm, `[B, M, E]` floating, M >= 2.
        temperature: temperature of the similarities, > 0.
    Returns:
        Scalar float32 in nats, the mean over this replica's views and their M - 1 partners.
    Raises:
        ValueError: if the shape does not fit, or the temperature is bad.
    """
    temperature = checks.number(temperature, "temperature", above=0.0)
    if embeddings.shape.rank != 3 or embeddings.shape[1] < 2:
        checks.fail("embeddings", f"shape {embeddings.shape}", "[images, views >= 2, E]")
    embeddings = tf.cast(embeddings, tf.float32)
    batch, views = tf.shape(embeddings)[0], embeddings.shape[1]
    everyone = gathered(embeddings, axis=0)
    # Replicas may hold batches of different sizes, so that images are numbered by both.
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    own = tf.stack([tf.fill([batch], tf.cast(replica, tf.int32)), tf.range(batch)], axis=1)
    is_same = tf.reduce_all(own[:, tf.newaxis] == gathered(own, axis=0), axis=-1)
    # loss = 1 / (N (M - 1)) sum_i sum_v+ log(1 + sum_v- exp(z_i v- / t) / exp(z_i v+ / t)).
    against = tf.einsum("bve,cwe->bvcw", embeddings, everyone) / temperature
    against = tf.where(is_same[:, tf.newaxis, :, tf.newaxis], -math.inf, against)
    negatives = tf.reduce_logsumexp(against, axis=[2, 3])
    positives = tf.einsum("bve,bwe->bvw", embeddings, embeddings) / temperature
    terms = tf.math.softplus(negatives[..., tf.newaxis] - positives) * (1.0 - tf.eye(views))
    return tf.reduce_sum(tf.reduce_mean(terms, axis=0)) / (views * (views - 1))


@keras.saving.register_keras_serializable(package="tfdpm")
class SimCLR(SelfSupervisedModel):
    """Keras model that learns to tell views of an image from those of others, [SimCLR].

    It takes any number of crops, [SwAV] equation 7, and is used as `tfdpm.SwAV`:

        model = tfdpm.SimCLR.small(image_size=32, channels=3, num_images=20000, batch_size=256)
        model.fit(images)

    Args:
        backbone: Keras model from images `[B, H, W, C]` of any size to features `[B, D]`.
        config: settings; by default, those that `SwAV`'s published run shares.
        seed: random seed; the same seed gives the same initial head.
        **options: fields of `SelfSupervisedConfig` that differ from `config`.
    Raises:
        ValueError: if the backbone gives no matrix of features, or a setting is bad.
        TypeError: if an option is not a field of the settings.
    """

    def __init__(
        self, backbone: keras.Model, config: SelfSupervisedConfig | None = None, **options: Any
    ):
        super().__init__(backbone, config, **{"name": "simclr", **options})
        self.built = True

    def collapsed_loss(self) -> float:
        """Returns the loss of an encoder that ignores its input, in nats."""
        config = self.config
        return math.log1p(config.views.num_crops * (config.training.batch_size - 1))

    def objective(self, data, training):
        """Returns the contrastive loss of all views."""
        embeddings = self(unpack(data), training=training)
        loss = contrastive_loss(embeddings, temperature=self.config.temperature)
        return Objective(loss, embeddings)
