"""Metrics that show a collapse of SwAV, and callbacks that warn of it and log the training."""

from __future__ import annotations

import math
import warnings

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.evaluation import knn_accuracy


def entropy(rows: tf.Tensor) -> tf.Tensor:
    """Returns the entropy of each row of distributions `[..., P]` in nats, with `0 log 0 = 0`."""
    return -tf.reduce_sum(tf.math.xlogy(rows, rows), axis=-1)


@keras.saving.register_keras_serializable(package="tfdpm")
class MeanCodeEntropy(keras.metrics.Metric):
    """Entropy of the mean code since the last reset, in nats.

    It is `ln P` if all prototypes are used equally.

    Args:
        num_prototypes: number of prototypes P.
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
    """Share of prototypes, in [0, 1], that some sample preferred since the last reset.

    Args:
        num_prototypes: number of prototypes P.
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


class CollapseWatchdog(keras.callbacks.Callback):
    """Callback that warns once of each sign of a collapse and names the remedy.

    The signs are a loss that is no number or near `ln(prototypes)`, the loss of a constant
    encoder; uniform codes; a mean code of low entropy; and prototypes that no sample prefers.

    Args:
        patience: number of epochs without warnings, >= 0, since prototypes are frozen at first.
        margin: distance from `ln(prototypes)` that counts as near, as a share of it, in (0, 1).
        dead_share: share of prototypes that may stay unused in an epoch, in (0, 1].
    Attributes:
        findings: text of each warning by the sign's name.
    """

    def __init__(self, patience: int = 3, margin: float = 0.03, dead_share: float = 0.5):
        super().__init__()
        self.patience = checks.integer(patience, "patience", minimum=0)
        self.margin = checks.number(margin, "margin", above=0.0, maximum=1.0)
        self.dead_share = checks.number(dead_share, "dead_share", above=0.0, maximum=1.0)
        self.findings: dict[str, str] = {}

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            self._report(
                "loss",
                "the loss is not a number: lower the learning rate, or train in "
                "bfloat16 or float32 instead of float16",
            )
        if epoch + 1 <= self.patience:
            return
        ceiling = math.log(self.model.config.num_prototypes)
        close = (1.0 - self.margin) * ceiling
        if loss is not None and loss > close:
            self._report(
                "stuck",
                f"the loss, {loss:.3f}, is stuck at ln(prototypes) = "
                f"{ceiling:.3f}, that of an encoder that ignores its input: lower"
                " `sinkhorn_epsilon` to 0.03, freeze the prototypes longer, "
                "lower the learning rate, or make the crops easier",
            )
        if logs.get("code_entropy", 0.0) > close:
            self._report(
                "uniform",
                f"the codes are uniform (entropy {logs['code_entropy']:.3f} of "
                f"{ceiling:.3f}): lower `sinkhorn_epsilon` to 0.05 or 0.03, "
                "and keep `renormalize_prototypes` on",
            )
        if logs.get("mean_code_entropy", ceiling) < 0.5 * ceiling:
            self._report(
                "mean",
                "most samples share a few prototypes: raise "
                "`sinkhorn_iterations`, or the batch or queue",
            )
        used = logs.get("used_prototypes", 1.0)
        if used < 1.0 - self.dead_share and self._could_use_all():
            self._report(
                "dead",
                f"{1 - used:.0%} of the prototypes were no sample's first choice: "
                "lower `num_prototypes` or raise `queue_length`",
            )

    def _could_use_all(self) -> bool:
        """Tells whether an epoch has enough samples to use every prototype."""
        training = self.model.config.training
        return (training.num_images or math.inf) >= self.model.config.num_prototypes

    def _report(self, name: str, text: str) -> None:
        if name not in self.findings:
            self.findings[name] = text
            warnings.warn(f"SwAV may have collapsed: {text}.", stacklevel=2)


class NearestNeighbours(keras.callbacks.Callback):
    """Callback that adds `knn_accuracy` of the encoder's features to the logs.

    Args:
        train_images, test_images: raw images, `[N, H, W, C]`.
        train_y, test_y: labels of the images; training does not see them.
        every: number of epochs between measurements, >= 1; the last epoch is always measured.
        k: number of neighbours.
    Attributes:
        history: epoch and accuracy of each measurement.
    """

    def __init__(self, train_images, train_y, test_images, test_y, every: int = 1, k: int = 20):
        super().__init__()
        self._train = (np.asarray(train_images), np.asarray(train_y))
        self._test = (np.asarray(test_images), np.asarray(test_y))
        self.every = checks.integer(every, "every", minimum=1)
        self.k = checks.integer(k, "k", minimum=1)
        self.history: list[tuple[int, float]] = []

    def measure(self) -> float:
        """Measures the accuracy of the present encoder."""
        features = [
            self.model.encoder.predict(images, batch_size=256, verbose=0)
            for images, _ in (self._train, self._test)
        ]
        return knn_accuracy(features[0], self._train[1], features[1], self._test[1], self.k)

    def on_epoch_end(self, epoch, logs=None):
        is_last = epoch + 1 == self.params.get("epochs")
        if (epoch + 1) % self.every and not is_last:
            return
        accuracy = self.measure()
        self.history.append((epoch + 1, accuracy))
        if logs is not None:
            logs["knn_accuracy"] = accuracy


class TrainingState(keras.callbacks.Callback):
    """Callback that adds the learning rate and the queue's state to the logs of each epoch.

    `learning_rate` is that of the next step; `queue_filled` is the share of slots in use;
    `queue_active` is 1 once the queue takes part in the assignment.
    """

    def on_epoch_end(self, epoch, logs=None):
        if logs is None:
            return
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        length = self.model.config.queue_length
        if length:
            logs["queue_filled"] = int(self.model.queue.filled.numpy()) / length
            logs["queue_active"] = float(self.model.is_queue_active())
