"""SwAV as a Keras model, whose training step assigns codes and predicts them swapped."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.images.multicrop import multicrop
from tfdpm.swav import config as presets
from tfdpm.swav.backbones import Encoder, small_resnet
from tfdpm.swav.codes import FeatureQueue, gathered, sinkhorn
from tfdpm.swav.config import SwAVConfig
from tfdpm.swav.heads import ProjectionHead, Prototypes
from tfdpm.swav.loss import swapped_prediction_loss
from tfdpm.swav.monitoring import MeanCodeEntropy, PrototypeUsage, entropy
from tfdpm.swav.optimizers import optimizer_for
from tfdpm.swav.views import checked_crops, is_images, unpack


@keras.saving.register_keras_serializable(package="tfdpm")
class SwAV(keras.Model):
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

    def __init__(
        self,
        backbone: keras.Model,
        config: SwAVConfig | None = None,
        *,
        seed: int = 0,
        name: str = "swav",
        dtype=None,
        **options: Any,
    ):
        super().__init__(name=name, dtype=dtype)
        known = sorted(entry.name for entry in fields(SwAVConfig))
        for option in sorted(options.keys() - known):
            checks.fail(option, "an unknown option", "one of " + ", ".join(known), TypeError)
        self.config = config = replace(config or SwAVConfig(), **options)
        self.seed = checks.integer(seed, "seed")
        self.backbone = backbone
        side, channels = config.views.crop_sizes[0], len(config.views.mean)
        shape = backbone.compute_output_shape((None, side, side, channels))
        if len(shape) != 2 or shape[-1] is None:
            got = f"output of shape {tuple(shape)}"
            checks.fail("backbone", got, "[B, D]: pool before the head")
        self.head = ProjectionHead(
            config.embedding_dim,
            config.hidden_units,
            config.head_batch_norm,
            config.synchronized,
            self.seed,
            name="head",
            dtype=self.dtype_policy,
        )
        self.head.build((None, int(shape[-1])))
        self.prototypes = Prototypes(config.num_prototypes, self.seed + 4, name="prototypes")
        self.prototypes.build((None, config.embedding_dim))
        self.queue = FeatureQueue(
            config.num_assigning_crops, config.queue_length, config.embedding_dim, name="queue"
        )
        self._step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,
        )
        self._loss_mean = keras.metrics.Mean(name="loss")
        self._code_entropy = keras.metrics.Mean(name="code_entropy")
        self._mean_code_entropy = MeanCodeEntropy(config.num_prototypes)
        self._used_prototypes = PrototypeUsage(config.num_prototypes, "used_prototypes")
        self.built = True

    @classmethod
    def small(
        cls,
        *,
        image_size: int,
        channels: int = 3,
        num_images: int,
        batch_size: int = 64,
        epochs: int = 30,
        seed: int = 0,
        dtype: str | None = None,
        print_fn: Callable[[str], None] = print,
    ) -> SwAV:
        """Makes a compiled model for small images and small data, and prints its settings.

        Args:
            image_size: side of the images in pixels, >= 8.
            channels: number of channels, 1 or 3.
            num_images: number of images in the training set.
            batch_size: number of images per step over all replicas, at most `num_images`.
            epochs: number of epochs of the run, which sets the schedule.
            seed: random seed; the same seed gives the same initial weights.
            dtype: Keras dtype policy, such as "mixed_bfloat16"; by default, the global one.
            print_fn: function that prints the settings.
        """
        config = presets.small_config(
            image_size=image_size,
            channels=channels,
            num_images=num_images,
            batch_size=batch_size,
            epochs=epochs,
        )
        backbone = small_resnet(
            channels=channels, widths=(32, 64, 128), stem_stride=2, seed=seed, dtype=dtype
        )
        model = cls(backbone, config, seed=seed, dtype=dtype)
        model.compile()
        print_fn(presets.describe(config))
        return model

    def view_options(self) -> dict[str, Any]:
        """Returns the keyword arguments of `tfdpm.data.multicrop` for this model."""
        return asdict(self.config.views) | {"batch_size": self.config.training.batch_size}

    @functools.cached_property
    def encoder(self) -> Encoder:
        """Model from raw images to features `[B, D]`: the backbone with the model's constants."""
        views = self.config.views
        return Encoder(self.backbone, mean=views.mean, std=views.std, name="encoder")

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Makes the optimiser of the settings with its schedule.

        Raises:
            ValueError: if `config.training.num_images` is `None`, so that the schedule has no end.
        """
        return optimizer_for(self.config.training)

    def compile(self, optimizer=None, **kwargs):
        """Compiles the model without a `loss`; by default, with the optimiser of the settings."""
        if kwargs.get("loss") is not None:
            checks.fail("loss", kwargs["loss"], "None: the model brings its own loss")
        super().compile(optimizer=optimizer or self.default_optimizer(), **kwargs)
        self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, x=None, y=None, *, epochs: int | None = None, **kwargs):
        """Trains as Keras's `fit`, by default for the settings' epochs.

        Args:
            x: images, as `tfdpm.data.multicrop` takes them, of which the model makes views by its
                own settings; or batches of crops that `multicrop` made.
            y: labels beside images; ignored.
            epochs: number of epochs.
            **kwargs: passed to `keras.Model.fit`. `validation_data` may be images, too.
        """
        if not self.compiled:
            self.compile()
        epochs = epochs or self.config.training.epochs
        if is_images(x):
            size = self.config.training.batch_size
            if kwargs.pop("batch_size", size) != size:
                wanted = f"{size}, that of the settings, on which the schedule depends"
                checks.fail("batch_size", "another one", wanted)
            x = self.views_of(x, initial_epoch=kwargs.get("initial_epoch", 0))
        elif y is not None:
            checks.fail("y", "labels beside crops", "None")
        if is_images(kwargs.get("validation_data")):
            kwargs["validation_data"] = self.views_of(kwargs["validation_data"], shuffle=False)
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # the pipeline shuffles, and Keras would warn
        return super().fit(x, epochs=epochs, **kwargs)

    def views_of(self, images: Any, **options: Any) -> tf.data.Dataset:
        """Views of images by the settings and the seed of the model.

        Args:
            images: as for `tfdpm.data.multicrop`.
            **options: arguments of `multicrop` that differ, such as `shuffle`.
        """
        return multicrop(images, **{"seed": self.seed, **self.view_options(), **options})

    def call(self, crops, training=False):
        """Computes embeddings `[B, V, E]` and scores `[B, V, P]`, float32, of all views.

        Args:
            crops: standardised crops, a tuple with a `[B, V_r, H_r, W_r, C]` tensor per resolution.
            training: whether batch normalisation uses and updates batch statistics.
        """
        features = []
        for views in checked_crops(crops, self.config.num_assigning_crops):
            count = views.shape[1]
            images = tf.reshape(views, tf.concat([[-1], tf.shape(views)[2:]], axis=0))
            images = tf.ensure_shape(images, [None, *views.shape[2:]])
            rows = self.backbone(images, training=training)
            features.append(tf.reshape(rows, [-1, count, rows.shape[-1]]))
        features = tf.concat(features, axis=1)
        num_views, width = features.shape[1:]
        embeddings = self.head(tf.reshape(features, [-1, width]), training=training)
        results = (embeddings, self.prototypes(embeddings))
        return tuple(tf.reshape(rows, [-1, num_views, rows.shape[-1]]) for rows in results)

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
                past_weights = tf.fill([tf.shape(past_scores)[0]], tf.cast(is_active, tf.float32))
                weights = tf.concat([tf.ones([batch]), past_weights], axis=0)
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
        has_started = tf.convert_to_tensor(self._step) >= self.config.queue_start_steps
        return tf.logical_and(has_started, self.queue.is_full())

    def train_step(self, data):
        crops = unpack(data)
        if self.config.renormalize_prototypes:
            self.prototypes.renormalize()
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        num_prototypes, batch = self.config.num_prototypes, crops[0].shape[0]
        samples = (batch or math.inf) * replicas + self.config.queue_length
        if 2 * samples < num_prototypes:  # told once, while tracing
            warnings.warn(
                f"{samples} samples (batch and queue) share {num_prototypes} prototypes, so most "
                "codes are guesses: lower `num_prototypes` or raise `queue_length`.",
                stacklevel=2,
            )
        with tf.GradientTape() as tape:
            embeddings, scores = self(crops, training=True)
            with tape.stop_recording():
                codes = self.assign_codes(scores)
            loss = swapped_prediction_loss(scores, codes, temperature=self.config.temperature)
            total = tf.add_n([loss, *(tf.cast(extra, tf.float32) for extra in self.losses)])
            # Gradients of the replicas are summed once, by the optimiser.
            scaled = self.optimizer.scale_loss(total / replicas)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        # During the first steps the prototypes stay as they are.
        is_free = tf.convert_to_tensor(self._step) >= self.config.freeze_prototypes_steps
        place = next(i for i, v in enumerate(variables) if v is self.prototypes.kernel)
        gradients[place] *= tf.cast(is_free, gradients[place].dtype)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self.config.queue_length:
            lanes = embeddings[:, : self.config.num_assigning_crops]
            self.queue.push(tf.transpose(lanes, [1, 0, 2]))
        self._step.assign_add(1)
        return self._log(total, codes)

    def test_step(self, data):
        _, scores = self(unpack(data), training=False)
        codes = self.assign_codes(scores, use_queue=False)
        loss = swapped_prediction_loss(scores, codes, temperature=self.config.temperature)
        return self._log(loss, codes)

    def _log(self, loss, codes):
        self._loss_mean.update_state(loss)
        flat = tf.reshape(codes, [-1, self.config.num_prototypes])
        self._code_entropy.update_state(entropy(flat))
        self._mean_code_entropy.update_state(flat)
        self._used_prototypes.update_state(flat)
        logs = {
            "loss": self._loss_mean.result(),
            "code_entropy": self._code_entropy.result(),
            "mean_code_entropy": self._mean_code_entropy.result(),
            "used_prototypes": self._used_prototypes.result(),
        }
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            # There Keras takes the mean over a first axis, which scalars lack.
            return {name: value[tf.newaxis] for name, value in logs.items()}
        return logs

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: all layers are built, and looking at a batch would cost an epoch."""

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "config": asdict(self.config),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        options = keras.saving.deserialize_keras_object(config)
        return cls(**options | {"config": SwAVConfig(**options["config"])})
