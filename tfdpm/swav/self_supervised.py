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
from tfdpm.data.images.sources import image_batches
from tfdpm.swav import config as presets
from tfdpm.swav.backbones import Encoder, small_resnet
from tfdpm.swav.config import SelfSupervisedConfig
from tfdpm.swav.heads import ProjectionHead
from tfdpm.swav.monitoring import MeanCodeEntropy, PrototypeUsage, entropy
from tfdpm.swav.optimizers import optimizer_for
from tfdpm.swav.views import checked_crops, is_images, read_sequence, split_off, unpack

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

    def compile(self, optimizer=None, loss=None, loss_weights=None, metrics=None, **kwargs):
        """Compiles the model without a `loss`; by default, with the optimiser of the settings."""
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics}
        given["weighted_metrics"] = kwargs.pop("weighted_metrics", None)
        for name, value in given.items():
            if value is not None:
                checks.fail(name, repr(value), "None: the model brings its own loss and metrics")
        super().compile(optimizer=optimizer or self.default_optimizer(), **kwargs)
        self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        """Compiles as before saving."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means over an epoch that the logs show; Keras would add a second loss."""
        if not self._num_prototypes:
            return [self._loss_mean]
        codes = (self._code_entropy, self._mean_code_entropy, self._used_prototypes)
        return [self._loss_mean, *codes]

    def fit(
        self,
        x=None,
        y=None,
        batch_size: int | None = None,
        epochs: int | None = None,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: None = None,
        sample_weight: None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        *,
        skipped: Any = None,
    ) -> keras.callbacks.History:
        """Trains as Keras's `fit`, by default for the settings' epochs.

        Args:
            x: images, as `tfdpm.data.multicrop` takes them, or a `PyDataset`, `DataLoader` or
                generator of their batches, of which the model makes views by its own settings; or
                batches of crops that `multicrop` made.
            y: labels beside images; ignored.
            batch_size: of images, `None` or that of the settings.
            epochs: number of the last epoch; `None` for that of the settings.
            verbose: 0 silent, 1 or `"auto"` a progress bar, 2 a line per epoch.
            callbacks: any Keras callbacks.
            validation_split: share of an array or list of images, the last ones, that is kept apart
                as `validation_data`.
            validation_data: images or crops that are only scored, as by `evaluate`.
            shuffle: whether the order of images changes from epoch to epoch.
            class_weight, sample_weight: `None`; there are no classes, and images of a batch are
                compared with each other.
            initial_epoch: number of the first epoch.
            steps_per_epoch: batches that make up an epoch; `None` for those of one pass.
            validation_steps: batches of `validation_data` that are scored; `None` for all.
            validation_batch_size: as `batch_size` of `evaluate`.
            validation_freq: number of epochs between two scores of `validation_data`.
            skipped: list of the image files that could not be read, as for `tfdpm.data.multicrop`.
        """
        _refuse_weights(sample_weight, class_weight)
        if x is None:
            checks.fail("x", None, "images, or batches of crops")
        if not self.compiled:
            self.compile()
        epochs = self.config.training.epochs if epochs is None else epochs
        x, validation_data = read_sequence(x), read_sequence(validation_data)
        if validation_split and validation_data is None:
            x, validation_data = split_off(x, validation_split)
        if own := self.epoch_callbacks(x, initial_epoch):
            callbacks = [*own, *tf.nest.flatten(callbacks or [])]
        if is_images(x):
            size = self.config.training.batch_size
            if batch_size not in (None, size):
                wanted = f"{size}, that of the settings, on which the schedule depends"
                checks.fail("batch_size", batch_size, wanted)
            x = self.views_of(x, initial_epoch=initial_epoch, shuffle=shuffle, skipped=skipped)
            batch_size = None
        elif y is not None:
            checks.fail("y", "labels beside crops", "None")
        if is_images(validation_data):
            validation_data = self._scored_views(validation_data, validation_batch_size)
        return super().fit(
            x,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            # Keras would warn of streams that it cannot shuffle.
            shuffle=shuffle and not (isinstance(x, tf.data.Dataset) or hasattr(x, "__next__")),
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **kwargs
    ) -> Any:
        """The loss, and the metrics of `fit`, without learning; returned as by Keras's `evaluate`.

        Args:
            x: images or crops, as for `fit`. Views of images are the same each time.
            y: labels beside images; ignored.
            batch_size: images that are compared with each other, by default as many as in the
                settings, or all where there are fewer. The last, smaller batch is left out.
            verbose: as for `fit`.
            sample_weight: `None`.
            **kwargs: passed to `keras.Model.evaluate`, such as `return_dict`.
        """
        _refuse_weights(sample_weight)
        x = read_sequence(x)
        if is_images(x):
            x, y, batch_size = self._scored_views(x, batch_size), None, None
        return super().evaluate(x, y, batch_size=batch_size, verbose=verbose, **kwargs)

    def predict(self, x, batch_size: int | None = None, verbose: str | int = "auto", **kwargs):
        """Features `[N, D]` of images, as `encoder` computes them; what a call returns of crops.

        Args:
            x: images or crops, as for `fit`.
            batch_size: images at once; 32 when `None`.
            verbose: as for `fit`.
            **kwargs: passed to `keras.Model.predict`, such as `steps`.
        """
        x = read_sequence(x)
        if not is_images(x):
            return super().predict(x, batch_size=batch_size, verbose=verbose, **kwargs)
        images = image_batches(x, len(self.config.views.mean), batch_size or 32)
        return self.encoder.predict(images, verbose=verbose, **kwargs)

    def predict_on_batch(self, x):
        """As `predict`, of images or crops that are one batch."""
        return self.predict(x, verbose=0) if is_images(x) else super().predict_on_batch(x)

    def export(self, filepath, *args, **kwargs) -> None:
        """Exports the encoder, from images to features; arguments as of `keras.Model.export`."""
        self.encoder.export(filepath, *args, **kwargs)

    def _scored_views(self, images: Any, batch_size: int | None) -> tf.data.Dataset:
        """Views of images in their order, the same in each pass; of few images, in one batch."""
        size = self.config.training.batch_size if batch_size is None else batch_size
        array = images[0] if isinstance(images, tuple) else images
        if hasattr(array, "shape"):
            size = min(size, len(array))
        return self.views_of(images, shuffle=False, batch_size=size, epochs=1)

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
        for views in self._check_crops(crops):
            count = views.shape[1]
            images = tf.reshape(views, tf.concat([[-1], tf.shape(views)[2:]], axis=0))
            images = tf.ensure_shape(images, [None, *views.shape[2:]])
            rows = self.backbone(images, training=training)
            features.append(tf.reshape(rows, [-1, count, rows.shape[-1]]))
        features = tf.concat(features, axis=1)
        num_views, width = features.shape[1:]
        embeddings = self.head(tf.reshape(features, [-1, width]), training=training)
        return tf.reshape(embeddings, [-1, num_views, embeddings.shape[-1]])

    def _check_crops(self, data: Any) -> tuple[tf.Tensor, ...]:
        return checked_crops(data, getattr(self.config, "num_assigning_crops", 1))

    def call(self, crops, training=False):
        """Computes the embeddings as `embed`."""
        return self.embed(crops, training)

    def train_step(self, data):
        """One step on a batch as the data set gives it; returns the logs by name."""
        self._check_crops(data)
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
            for place in [i for i, v in enumerate(variables) if v is slow]:  # none of a frozen one
                gradients[place] *= tf.cast(is_free, gradients[place].dtype)
        with tf.control_dependencies([total]):  # nothing is counted where a stream had ended
            if variables:
                self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            self.after_step(data, objective)
            self.step.assign_add(1)
            return self._log(total, objective.codes)

    def test_step(self, data):
        """Logs by name of a batch, from which nothing is learned."""
        self._check_crops(data)
        objective = self.objective(data, training=False)
        with tf.control_dependencies([objective.loss]):
            return self._log(objective.loss, objective.codes)

    def predict_step(self, data):
        """What a call returns of a batch of crops, of all resolutions."""
        return self(unpack(data), training=False)

    def _log(self, loss, codes):
        self._loss_mean.update_state(loss)
        logs = {"loss": self._loss_mean.result()}
        if codes is not None:
            flat = tf.reshape(codes, [-1, self._num_prototypes])
            self._code_entropy.update_state(entropy(flat))
            for metric in (self._mean_code_entropy, self._used_prototypes):
                metric.update_state(flat)
            logs |= {metric.name: metric.result() for metric in self.metrics}
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


def _refuse_weights(sample_weight: Any, class_weight: Any = None) -> None:
    """Raises unless both are `None`."""
    given = {"sample_weight": sample_weight, "class_weight": class_weight}
    for name, value in given.items():
        if value is not None:
            wanted = "None: images have no classes, and are compared with each other"
            checks.fail(name, "weights", wanted)
