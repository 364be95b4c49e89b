"""A Keras callback that compares the batches of a stream with an older model."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from tfdpm import checks
from tfdpm.interpret.drift import Drift


class DriftMonitor(keras.callbacks.Callback):
    """Compares the last batch of each epoch of a fit on a stream with an older model.

    For `DeepDPM.fit(stream, steps_per_epoch=...)`, each batch of which is a `partial_fit`. The
    smallest p-value of each epoch goes into the history as `drift_p`, and a change is a warning.

    Args:
        reference: fitted model that stays as it is, such as a loaded copy.
        level: chance of any false alarm in a stream of any length; epoch n has the n (n + 1)-th
            part of it.
        stops: whether a change ends the fit.

    Attributes:
        drifts: the `Drift` of each epoch.
    """

    def __init__(self, reference: Any, *, level: float = 0.01, stops: bool = False):
        super().__init__()
        if not hasattr(reference, "drift"):
            checks.fail("reference", type(reference).__name__, "a fitted DeepDPM", TypeError)
        self.reference = reference
        self.level = checks.number(level, "level", minimum=0.0, maximum=1.0)
        self.stops = checks.boolean(stops, "stops")
        self.drifts: list[Drift] = []

    def on_train_begin(self, logs=None):
        """Forgets earlier fits."""
        if self.reference is self.model:
            checks.fail("reference", "the model that is fitted", "an older one, such as a copy")
        self.drifts = []

    def on_epoch_end(self, epoch, logs=None):
        """Compares the last batch that was read."""
        stream = self.model.stream
        if stream is None:
            checks.fail("DriftMonitor", "a fit of points", "a stream, with steps_per_epoch")
        # Level / 2, level / 6, level / 12 and so on sum to the level.
        share = 1.0 / ((len(self.drifts) + 1) * (len(self.drifts) + 2))
        drift = self.reference.drift(stream.latest, level=self.level * share)
        self.drifts = [*self.drifts, drift]
        if logs is not None:
            logs["drift_p"] = drift.smallest_p
        if drift.smallest_p < drift.level:
            warnings.warn(f"Epoch {epoch + 1}: {drift}", stacklevel=2)
            self.model.stop_training = self.model.stop_training or self.stops
