"""What models that learn features from views of images share: network, training step and fit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.images.multicrop import multicrop
from tfdpm.swav import config as presets
from tfdpm.swav.backbones import Encoder, small_resnet
from tfdpm.swav.config import SelfSupervisedConfig
from tfdpm.swav.heads import ProjectionHead
from tfdpm.swav.monitoring import MeanCodeEntropy, PrototypeUsage, entropy
from tfdpm.swav.optimizers import optimizer_for
from tfdpm.swav.views import checked_crops, is_images

if TYPE_CHECKING:
    from typing_extensions import Self


class Objective(NamedTuple):
    """What a batch of views gives.

    Attributes:
        loss: scalar float32, the mean over this replica's samples.
        embeddings: embeddings of all views, `[B, V, E]`.
        codes: codes `[..., P]` that the views predict; `None` for methods without prototypes.
    """

    loss: tf.Tensor
    embeddings: tf.Tensor
    codes: tf.Tensor | None = None


class SelfSupervisedModel(keras.Model):
    """Keras model that learns features of images from their views, without labels.

    It holds the backbone, the projection head, the schedule and the training step. A method
    defines `objective`, what comes before and after a step, and which prototypes wait at first.

    Args:
        backbone: Keras model from images `[B, H, W, C]` of any size to features `[B, D]`.
        config: settings of the kind `config_type`; by default, those of the published run.
        seed: random seed; the same seed gives the same initial weights.
        **options: fields of the settings that differ from `config`, such as `temperature=0.2`.
    Raises:
        ValueError: if the backbone gives no matrix of features, or a setting is bad.
        TypeError: if an option is not a field of the settings.
    """

    config_type: ClassVar[type[SelfSupervisedConfig]] = SelfSupervisedConfig

    def __init__(
        self,
        backbone: keras.Model,
        config: Any = None,
        *,
        seed: int = 0,
        name: str | None = None,
        dtype=None,
        **options: Any,
    ):
        super().__init__(name=name, dtype=dtype)
        known = sorted(entry.name for entry in fields(self.config_type))
        for option in sorted(options.keys() - known):
            checks.fail(option, "an unknown option", "one of " + ", ".join(known), TypeError)
        self.config = config = replace(config or self.config_type(), **options)
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
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,
        )
        self._loss_mean = keras.metrics.Mean(name="loss")
        self._num_prototypes = getattr(config, "num_prototypes", 0)
        if self._num_prototypes:
            self._code_entropy = keras.metrics.Mean(name="code_entropy")
            self._mean_code_entropy = MeanCodeEntropy(self._num_prototypes)
            self._used_prototypes = PrototypeUsage(self._num_prototypes, "used_prototypes")

    # -- a method's own part ----------------------------------------------------------------------

    def objective(self, data: Any, training: bool) -> Objective:
        """Returns loss, embeddings and codes of a batch as the data set gives it."""
        raise NotImplementedError

    def before_step(self, data: Any) -> None:
        """Changes the state before a training step."""

    def after_step(self, data: Any, objective: Objective) -> None:
        """Stores what later steps need of a training step."""

    def slow_variables(self) -> list[Any]:
        """Returns variables that stay as they are for `config.freeze_prototypes_steps` steps."""
        return []

    def epoch_callbacks(self, x: Any, initial_epoch: int) -> list[keras.callbacks.Callback]:
        """Returns callbacks that `fit` runs before those of the user."""
        return []

    def collapsed_loss(self) -> float:
        """Returns the loss of an encoder that ignores its input, in nats."""
        raise NotImplementedError

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
    ) -> Self:
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
        config = presets.convert(config, cls.config_type)
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
        """Compiles as before saving."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, x=None, y=None, *, epochs: int | None = None, skipped=None, **kwargs):
        """Trains as Keras's `fit`, by default for the settings' epochs.

        Args:
            x: images, as `tfdpm.data.multicrop` takes them, of which the model makes views by its
                own settings; or batches of crops that `multicrop` made.
            y: labels beside images; ignored.
            epochs: number of epochs.
            skipped: list of the image files that could not be read, as for `tfdpm.data.multicrop`.
            **kwargs: passed to `keras.Model.fit`. `validation_data` may be images, too.
        """
        if not self.compiled:
            self.compile()
        epochs = epochs or self.config.training.epochs
        first = kwargs.get("initial_epoch", 0)
        if own := self.epoch_callbacks(x, first):
            kwargs["callbacks"] = [*own, *tf.nest.flatten(kwargs.get("callbacks") or [])]
        if is_images(x):
            size = self.config.training.batch_size
            if kwargs.pop("batch_size", size) != size:
                wanted = f"{size}, that of the settings, on which the schedule depends"
                checks.fail("batch_size", "another one", wanted)
            x = self.views_of(x, initial_epoch=first, skipped=skipped)
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

    def embed(self, crops, training=False) -> tf.Tensor:
        """Computes embeddings `[B, V, E]` of unit norm of all views.

        Args:
            crops: standardised crops, a tuple with a `[B, V_r, H_r, W_r, C]` tensor per resolution.
            training: whether batch normalisation uses and updates batch statistics.
        """
        features = []
        for views in checked_crops(crops, getattr(self.config, "num_assigning_crops", 1)):
            count = views.shape[1]
            images = tf.reshape(views, tf.concat([[-1], tf.shape(views)[2:]], axis=0))
            images = tf.ensure_shape(images, [None, *views.shape[2:]])
            rows = self.backbone(images, training=training)
            features.append(tf.reshape(rows, [-1, count, rows.shape[-1]]))
        features = tf.concat(features, axis=1)
        num_views, width = features.shape[1:]
        embeddings = self.head(tf.reshape(features, [-1, width]), training=training)
        return tf.reshape(embeddings, [-1, num_views, embeddings.shape[-1]])

    def call(self, crops, training=False):
        """Computes the embeddings as `embed`."""
        return self.embed(crops, training)

    def train_step(self, data):
        """One step on a batch as the data set gives it; returns the logs by name."""
        self.before_step(data)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            objective = self.objective(data, training=True)
            extra = (tf.cast(each, objective.loss.dtype) for each in self.losses)
            total = tf.add_n([objective.loss, *extra])
            # Gradients of the replicas are summed once, by the optimiser.
            scaled = self.optimizer.scale_loss(total / replicas)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        for slow in self.slow_variables():
            is_free = tf.convert_to_tensor(self.step) >= self.config.freeze_prototypes_steps
            place = next(i for i, v in enumerate(variables) if v is slow)
            gradients[place] *= tf.cast(is_free, gradients[place].dtype)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.after_step(data, objective)
        self.step.assign_add(1)
        return self._log(total, objective.codes)

    def test_step(self, data):
        """Logs by name of a batch, from which nothing is learned."""
        objective = self.objective(data, training=False)
        return self._log(objective.loss, objective.codes)

    def _log(self, loss, codes):
        self._loss_mean.update_state(loss)
        logs = {"loss": self._loss_mean.result()}
        if codes is not None:
            flat = tf.reshape(codes, [-1, self._num_prototypes])
            self._code_entropy.update_state(entropy(flat))
            for metric in (self._mean_code_entropy, self._used_prototypes):
                metric.update_state(flat)
            metrics = (self._code_entropy, self._mean_code_entropy, self._used_prototypes)
            logs |= {metric.name: metric.result() for metric in metrics}
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            # There Keras takes the mean over a first axis, which scalars lack.
            return {name: value[tf.newaxis] for name, value in logs.items()}
        return logs

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: all layers are built, and looking at a batch would cost an epoch."""

    def get_config(self):
        """Constructor arguments, serialised."""
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "config": asdict(self.config),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        """A model without weights from `get_config`'s result."""
        options = keras.saving.deserialize_keras_object(config)
        return cls(**options | {"config": cls.config_type(**options["config"])})
