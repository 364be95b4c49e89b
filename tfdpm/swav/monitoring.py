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


class MeanCodeEntropy(keras.metrics.Metric):
    """Entropy in nats of the mean code since the last reset; `ln P` if all are used equally."""

    def __init__(self, num_prototypes: int, name: str = "mean_code_entropy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.mass = self.add_variable((num_prototypes,), "zeros", dtype="float32", name="mass")

    def update_state(self, codes, sample_weight=None):
        """Adds codes `[N, P]`."""
        self.mass.assign(self.mass + tf.cast(tf.reduce_sum(codes, axis=0), self.mass.dtype))

    def result(self):
        mass = tf.convert_to_tensor(self.mass)
        return entropy(mass / tf.maximum(tf.reduce_sum(mass), 1e-12))


class PrototypeUsage(MeanCodeEntropy):
    """Share of prototypes, in [0, 1], that some sample preferred since the last reset."""

    def update_state(self, codes, sample_weight=None):
        """Adds codes `[N, P]`."""
        super().update_state(tf.one_hot(tf.argmax(codes, axis=-1), codes.shape[-1]))

    def result(self):
        return tf.reduce_mean(tf.cast(tf.convert_to_tensor(self.mass) > 0, tf.float32))


class CollapseWatchdog(keras.callbacks.Callback):
    """Callback that warns once of each sign of a collapse and names the remedy.

    The signs are a loss that is no number or near that of a constant encoder, for SwAV
    `ln(prototypes)`; uniform codes; a mean code of low entropy; and prototypes that no sample
    prefers.

    Args:
        patience: number of epochs without warnings, >= 0, since prototypes are frozen at first.
        margin: distance from that loss that counts as near, as a share of it, in (0, 1).
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
        """Warns of each sign that the epoch is the first to show."""
        logs = {"loss": 0.0, "code_entropy": 0.0, "used_prototypes": 1.0} | (logs or {})
        loss, used, code_entropy = logs["loss"], logs["used_prototypes"], logs["code_entropy"]
        config = self.model.config
        num_prototypes = getattr(config, "num_prototypes", 0)
        ceiling = self.model.collapsed_loss()
        close = (1.0 - self.margin) * ceiling
        is_judged = epoch + 1 > self.patience
        # An epoch of fewer samples cannot use every prototype.
        num_images = config.training.num_images or math.inf
        is_dead = used < 1.0 - self.dead_share and num_images >= num_prototypes
        signs = (
            (
                "loss",
                not math.isfinite(loss),
                "the loss is not a number: lower the learning rate, or train in bfloat16 or "
                "float32 instead of float16",
            ),
            (
                "stuck",
                is_judged and loss > close,
                f"the loss, {loss:.3f}, is stuck at {ceiling:.3f}, that of an "
                f"encoder that ignores its input: {self._remedies()}make the crops easier",
            ),
            (
                "uniform",
                is_judged and code_entropy > close,
                f"the codes are uniform (entropy {code_entropy:.3f} of {ceiling:.3f}): lower "
                "`sinkhorn_epsilon` to 0.05 or 0.03, and keep `renormalize_prototypes` on",
            ),
            (
                "mean",
                is_judged and logs.get("mean_code_entropy", ceiling) < 0.5 * ceiling,
                "most samples share a few prototypes: raise `sinkhorn_iterations`, or the batch "
                "or queue"
                if hasattr(config, "sinkhorn_iterations")
                else "most samples share a few prototypes: lower the learning rate",
            ),
            (
                "dead",
                is_judged and is_dead,
                f"{1 - used:.0%} of the prototypes were no sample's first choice: lower "
                "`num_prototypes`" + " or raise `queue_length`" * hasattr(config, "queue_length"),
            ),
        )
        for name, is_seen, text in signs:
            if is_seen and name not in self.findings:
                self.findings[name] = text
                warnings.warn(
                    f"{type(self.model).__name__} may have collapsed: {text}.", stacklevel=2
                )

    def _remedies(self) -> str:
        """Lists what may help against a collapse, of settings that the model has."""
        remedies = {
            "sinkhorn_epsilon": "lower `sinkhorn_epsilon` to 0.03, ",
            "freeze_prototypes_steps": "freeze the prototypes longer, ",
        }
        known = (text for name, text in remedies.items() if hasattr(self.model.config, name))
        return "".join(known) + "lower the learning rate, or "


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
        """Measures where it is due, and adds `knn_accuracy` to the logs."""
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
        """Adds the numbers to the logs."""
        if logs is None:
            return
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        length = getattr(self.model.config, "queue_length", 0)
        if length:
            logs["queue_filled"] = int(self.model.queue.filled.numpy()) / length
            logs["queue_active"] = float(self.model.is_queue_active())
