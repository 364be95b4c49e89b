"""SwAV as a Keras model: each view predicts the codes of the other views of its image."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.config import SwAVConfig
from tfdpm.swav.heads import Prototypes
from tfdpm.swav.methods.codes import FeatureQueue, gathered, sinkhorn
from tfdpm.swav.normalization import summing_dtype
from tfdpm.swav.self_supervised import Objective, SelfSupervisedModel
from tfdpm.swav.views import unpack


@keras.saving.register_keras_serializable(package="tfdpm")
class SwAV(SelfSupervisedModel):
    """Keras model that learns features of images without labels, [SwAV].

    A training step renormalises the prototypes and runs the backbone once per resolution. Sinkhorn
    assigns codes to the first crops, over all replicas and the queue. Then each view predicts the
    codes of the others. Train it on images, or on batches of `tfdpm.data.multicrop`:

        model = tfdpm.SwAV.small(image_size=32, channels=3, num_images=20000, batch_size=256)
        model.fit(images)
        features = model.encoder.predict(images)
        clusters = tfdpm.fit(images, features=model)

    Args:
        backbone: Keras model from images `[B, H, W, C]` of any size to features `[B, D]`.
        config: settings; by default, those of the published run of 800 epochs at batch 4096.
        seed: random seed; the same seed gives the same initial head and prototypes.
        **options: fields of `SwAVConfig` that differ from `config`, such as `num_prototypes=300`.
    Raises:
        ValueError: if the backbone gives no matrix of features, or a setting is bad.
        TypeError: if an option is not a field of `SwAVConfig`.
    """

    config_type = SwAVConfig

    def __init__(self, backbone: keras.Model, config: SwAVConfig | None = None, **options: Any):
        super().__init__(backbone, config, **{"name": "swav", **options})
        config = self.config
        dtype = summing_dtype(self.compute_dtype).name
        self.prototypes = Prototypes(
            config.num_prototypes, self.seed + 4, name="prototypes", dtype=dtype
        )
        self.prototypes.build((None, config.embedding_dim))
        self.queue = FeatureQueue(
            config.num_assigning_crops,
            config.queue_length,
            config.embedding_dim,
            name="queue",
            dtype=dtype,
        )
        self.built = True

    def call(self, crops, training=False):
        """Computes embeddings `[B, V, E]` and scores `[B, V, P]`, float32, of all views.

        Args:
            crops: standardised crops, a tuple with a `[B, V_r, H_r, W_r, C]` tensor per resolution.
            training: whether batch normalisation uses and updates batch statistics.
        """
        embeddings = self.embed(crops, training)
        return embeddings, self.prototypes.score_views(embeddings)

    def assign_codes(self, scores: tf.Tensor, *, use_queue: bool = True) -> tf.Tensor:
        """Assigns codes `[B, A, P]` to the first A crops of all replicas.

        Args:
            scores: scores of all views, `[B, V, P]` float32.
            use_queue: whether the queue takes part once it is active. Its embeddings are scored
                with the present prototypes.
        """
        config = self.config
        is_active = self.is_queue_active()
        past = self.queue.share() if use_queue and config.queue_length else None
        codes = []
        for lane in range(config.num_assigning_crops):
            rows, weights = scores[:, lane], None
            batch = tf.shape(rows)[0]
            if past is not None:
                past_scores = self.prototypes(past[lane])
                past_weights = tf.fill([tf.shape(past_scores)[0]], tf.cast(is_active, rows.dtype))
                weights = tf.concat([tf.ones([batch], rows.dtype), past_weights], axis=0)
                rows = tf.concat([rows, past_scores], axis=0)
            lane_codes = sinkhorn(
                rows,
                config.sinkhorn_epsilon,
                config.sinkhorn_iterations,
                row_weights=weights,
                gather_replicas=lambda log_sums: gathered(log_sums[tf.newaxis], axis=0),
            )
            codes.append(lane_codes[:batch])
        return tf.stack(codes, axis=1)

    def is_queue_active(self) -> tf.Tensor:
        """Tells whether the queue is full and has started at this step; boolean scalar."""
        has_started = tf.convert_to_tensor(self.step) >= self.config.queue_start_steps
        return tf.logical_and(has_started, self.queue.is_full())

    def collapsed_loss(self) -> float:
        """Returns the loss of an encoder that ignores its input, in nats."""
        return math.log(self.config.num_prototypes)

    def slow_variables(self):
        """The prototypes, which wait at first."""
        return [self.prototypes.kernel]

    def before_step(self, data):
        """Renormalises the prototypes, and warns once where too few samples share them."""
        if self.config.renormalize_prototypes:
            self.prototypes.renormalize()
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        num_prototypes, batch = self.config.num_prototypes, unpack(data)[0].shape[0]
        samples = (batch or math.inf) * replicas + self.config.queue_length
        if 2 * samples < num_prototypes:  # told once, while tracing
            warnings.warn(
                f"{samples} samples (batch and queue) share {num_prototypes} prototypes, so most "
                "codes are guesses: lower `num_prototypes` or raise `queue_length`.",
                stacklevel=2,
            )

    def objective(self, data, training):
        """Returns the loss of the swapped prediction of codes; tests leave the queue out."""
        embeddings, scores = self(unpack(data), training=training)
        codes = self.assign_codes(tf.stop_gradient(scores), use_queue=training)
        loss = swapped_prediction_loss(scores, codes, temperature=self.config.temperature)
        return Objective(loss, embeddings, codes)

    def after_step(self, data, objective):
        """Stores the embeddings of the assigning crops in the queue."""
        if self.config.queue_length:
            lanes = objective.embeddings[:, : self.config.num_assigning_crops]
            self.queue.push(tf.transpose(lanes, [1, 0, 2]))


def swapped_prediction_loss(
    scores: tf.Tensor, codes: tf.Tensor, *, temperature: float = 0.1
) -> tf.Tensor:
    """Returns the mean cross entropy of the views' predictions with the codes of other views.

    Pairs of views are averaged, not summed, as in the published runs.

    Args:
        scores: embeddings of all views times prototypes, `[B, V, P]` floating.
        codes: codes of the first A views, `[B, A, P]` floating, A <= V; rows sum to one.
        temperature: temperature of the predictions, > 0.
    Returns:
        Scalar float32 in nats; `ln P` if all predictions are uniform.
    Raises:
        ValueError: if the shapes do not fit, there is one view only, or the temperature is bad.
    """
    temperature = checks.number(temperature, "temperature", above=0.0)
    num_views, num_assigning = scores.shape[1], codes.shape[1]
    if scores.shape.rank != 3 or codes.shape.rank != 3 or scores.shape[2] != codes.shape[2]:
        checks.fail("codes", f"shape {codes.shape}", f"[B, A, P] beside scores {scores.shape}")
    if num_views < 2 or num_assigning > num_views:
        checks.fail("scores", f"{num_views} views", f"at least 2 and at least {num_assigning}")
    scores = tf.cast(scores, summing_dtype(scores.dtype))
    # loss = mean over n, a and v != a of -sum_p codes[n, a, p] log softmax(scores[n, v] / t)[p],
    # [SwAV] equation 2 and section 3.2 on multi-crop.
    log_predictions = tf.nn.log_softmax(scores / temperature, axis=-1)
    codes = tf.stop_gradient(tf.cast(codes, scores.dtype))
    agreement = tf.einsum("bap,bvp->bav", codes, log_predictions)
    is_other_view = 1.0 - tf.eye(num_assigning, num_views, dtype=scores.dtype)
    total = tf.reduce_sum(tf.reduce_mean(agreement, axis=0) * is_other_view)
    return -total / (num_assigning * (num_views - 1))
