"""Methods that assign all images to prototypes before each epoch: DeepCluster-v2 and SeLa-v2."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.config import DeepClusterConfig, OfflineConfig, SeLaConfig
from tfdpm.swav.heads import Prototypes
from tfdpm.swav.methods.codes import sinkhorn
from tfdpm.swav.methods.memory_bank import MemoryBank
from tfdpm.swav.methods.spherical_kmeans import spherical_kmeans
from tfdpm.swav.self_supervised import Objective, SelfSupervisedModel
from tfdpm.swav.views import indices_of, is_images, unpack


class OfflineClustering(SelfSupervisedModel):
    """Keras model whose views predict the prototype that their image got before the epoch.

    A memory bank holds the latest embeddings of each image. There are several sets of prototypes;
    set h is assigned by crop h modulo the number of assigning crops.

    Args:
        backbone: Keras model from images `[B, H, W, C]` of any size to features `[B, D]`.
        config: settings, whose `training.num_images` is the number of images of the bank.
        **options: as for `SelfSupervisedModel`.
    """

    config_type: type[OfflineConfig] = OfflineConfig
    trains_prototypes = False

    def __init__(self, backbone: keras.Model, config: Any = None, **options: Any):
        super().__init__(backbone, config, **options)
        config, num_images = self.config, self.config.training.num_images
        if num_images is None:
            checks.fail("num_images", None, "the size of the training set in `config.training`")
        self.prototypes = [
            Prototypes(config.num_prototypes, self.seed + 4 + index, name=f"prototypes{index}")
            for index in range(config.num_heads)
        ]
        for prototypes in self.prototypes:
            prototypes.trainable = self.trains_prototypes
            prototypes.build((None, config.embedding_dim))
        self.bank = MemoryBank(
            num_images, config.num_assigning_crops, config.embedding_dim, name="bank"
        )
        self.assignments = self.add_weight(
            name="assignments",
            shape=(num_images, config.num_heads),
            dtype="int32",
            initializer=keras.initializers.Constant(-1),
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,
        )
        self.built = True

    def assign_rows(self, head: int, rows: tf.Tensor) -> tf.Tensor:
        """Returns the prototype `[n]` of set `head` of each embedding `[n, E]` of the bank."""
        raise NotImplementedError

    def collapsed_loss(self) -> float:
        """Returns the loss of an encoder that ignores its input, in nats."""
        return math.log(self.config.num_prototypes)

    def call(self, crops, training=False):
        """Computes embeddings `[B, V, E]` and scores `[B, V, sets, P]`, float32, of all views."""
        embeddings = self.embed(crops, training)
        scores = [prototypes.score_views(embeddings) for prototypes in self.prototypes]
        return embeddings, tf.stack(scores, axis=2)

    def objective(self, data, training):
        """Returns the cross entropy of all views with the prototype of their image.

        In tests, that is the prototype nearest to the first view. Images that the bank did not
        hold before the epoch do not count.
        """
        embeddings, scores = self(unpack(data), training=training)
        if training:
            chosen = tf.gather(tf.convert_to_tensor(self.assignments), indices_of(data))
        else:
            chosen = tf.argmax(scores[:, 0], axis=-1, output_type=tf.int32)
        targets = tf.repeat(chosen[:, tf.newaxis], scores.shape[1], axis=1)
        is_known = tf.cast(targets >= 0, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.maximum(targets, 0), scores / self.config.temperature
        )
        loss = tf.math.divide_no_nan(tf.reduce_sum(losses * is_known), tf.reduce_sum(is_known))
        codes = tf.one_hot(chosen[:, 0], self.config.num_prototypes)
        return Objective(loss, embeddings, codes)

    def after_step(self, data, objective):
        """Stores the embeddings of the assigning crops in the bank."""
        self.remember(data, objective.embeddings)

    def remember(self, data: Any, embeddings: tf.Tensor) -> None:
        """Stores the embeddings `[B, V, E]` of a batch."""
        self.bank.write(indices_of(data), embeddings[:, : self.config.num_assigning_crops])

    def assign_images(self) -> None:
        """Assigns each image that the bank holds to a prototype of each set."""
        seen = self.bank.seen()
        found = np.full(self.assignments.shape, -1, np.int32)
        for head in range(self.config.num_heads):
            rows = self.bank.lane(head % self.config.num_assigning_crops, seen)
            found[seen, head] = self.assign_rows(head, rows)
        self.assignments.assign(found)

    def fill_bank(self, views: tf.data.Dataset) -> None:
        """Stores embeddings of all images before the first epoch.

        Args:
            views: one pass of crops and indices, as `multicrop(..., with_index=True)` makes.
        """
        strategy = self.distribute_strategy

        def store(data):
            # Batch statistics, since an untrained network has no others.
            self.remember(data, self.embed(unpack(data), training=True))

        run = tf.function(lambda data: strategy.run(store, args=(data,)))
        for data in strategy.experimental_distribute_dataset(views):
            run(data)

    def views_of(self, images: Any, **options: Any) -> tf.data.Dataset:
        """Views of images, as `SelfSupervisedModel.views_of`, and the places of the images."""
        return super().views_of(images, **{"with_index": True, **options})

    def epoch_callbacks(self, x, initial_epoch):
        """Fills an empty bank, and returns a callback that assigns the images before an epoch."""
        if is_images(x):
            x, training = (
                self.views_of(x, initial_epoch=initial_epoch, epochs=1),
                self.config.training,
            )
            if len(x) != training.steps_per_epoch:
                wanted = f"{training.steps_per_epoch}, those of {training.num_images} images"
                checks.fail("x", f"{len(x)} batches", wanted)
        elif not isinstance(x, tf.data.Dataset):
            wanted = "images, or a data set as `multicrop(..., with_index=True)` makes"
            checks.fail("x", type(x).__name__, wanted, TypeError)
        if not len(self.bank.seen()):
            self.fill_bank(x)
        return [
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.assign_images())
        ]


@keras.saving.register_keras_serializable(package="tfdpm")
class DeepCluster(OfflineClustering):
    """Keras model that learns to predict the K-means cluster of an image, DeepCluster-v2, [SwAV].

    Before each epoch, spherical K-means clusters the embeddings of the last one, and its centres
    become the prototypes. It is used as `tfdpm.SwAV`:

        model = tfdpm.DeepCluster.small(image_size=32, num_images=20000, batch_size=256)
        model.fit(images)

    Args:
        backbone: Keras model from images `[B, H, W, C]` of any size to features `[B, D]`.
        config: settings, whose `training.num_images` is the number of images of the bank.
        seed: random seed; the same seed gives the same initial weights and centres.
        **options: fields of `DeepClusterConfig` that differ from `config`.
    Raises:
        ValueError: if the backbone gives no matrix of features, or a setting is bad.
        TypeError: if an option is not a field of the settings.
    """

    config_type = DeepClusterConfig

    def __init__(
        self, backbone: keras.Model, config: DeepClusterConfig | None = None, **options: Any
    ):
        super().__init__(backbone, config, **{"name": "deepcluster", **options})

    def assign_rows(self, head, rows):
        """Clusters the embeddings, whose centres become the prototypes of set `head`."""
        config = self.config
        centres, chosen = spherical_kmeans(
            rows,
            config.num_prototypes,
            config.kmeans_iterations,
            seed=(self.seed + head, int(self.step.numpy())),
        )
        self.prototypes[head].kernel.assign(tf.transpose(centres))
        return chosen


@keras.saving.register_keras_serializable(package="tfdpm")
class SeLa(OfflineClustering):
    """Keras model that learns to predict its own balanced labels of the images, SeLa-v2, [SwAV].

    Before each epoch, Sinkhorn parts all images equally among the prototypes, which are trained;
    each image takes its likeliest one. It is used as `tfdpm.SwAV`:

        model = tfdpm.SeLa.small(image_size=32, num_images=20000, batch_size=256)
        model.fit(images)

    Args:
        backbone: Keras model from images `[B, H, W, C]` of any size to features `[B, D]`.
        config: settings, whose `training.num_images` is the number of images of the bank.
        seed: random seed; the same seed gives the same initial weights.
        **options: fields of `SeLaConfig` that differ from `config`.
    Raises:
        ValueError: if the backbone gives no matrix of features, or a setting is bad.
        TypeError: if an option is not a field of the settings.
    """

    config_type = SeLaConfig
    trains_prototypes = True

    def __init__(self, backbone: keras.Model, config: SeLaConfig | None = None, **options: Any):
        super().__init__(backbone, config, **{"name": "sela", **options})

    def assign_rows(self, head, rows):
        """Parts the embeddings equally among the prototypes of set `head`."""
        scores = self.prototypes[head](rows)
        codes = sinkhorn(scores, self.config.sinkhorn_epsilon, self.config.balancing_iterations)
        return tf.argmax(codes, axis=1, output_type=tf.int32)

    def slow_variables(self):
        """The prototypes of all heads, which wait at first."""
        return [prototypes.kernel for prototypes in self.prototypes]

    def before_step(self, data):
        """Renormalises the prototypes."""
        for prototypes in self.prototypes:
            prototypes.renormalize()
