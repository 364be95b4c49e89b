"""The progress bar of a fit: epoch, K, losses, moves, time left."""

from __future__ import annotations

import keras

_SHOWN = {
    "n_clusters": "K",
    "loss": "loss",
    "subcluster_loss": "subcluster_loss",
    "accepted_splits": "splits",
    "accepted_merges": "merges",
    "nmi": "nmi",
    "acc": "acc",
}
_SUMMED = ("accepted_splits", "accepted_merges")


class ProgressBar(keras.callbacks.Callback):
    """Keras's own bar with one step per epoch; it is readable in a notebook, a terminal or a log.

    Args:
        verbose: 1 for a bar, 2 for a line per epoch.
    """

    def __init__(self, verbose: int = 1):
        super().__init__()
        self._verbose = verbose
        self._bar = None
        self._totals = dict.fromkeys(_SUMMED, 0)
        self._last = 0

    def on_train_begin(self, logs=None):
        """Starts the bar."""
        names = list(_SHOWN.values())
        self._bar = keras.utils.Progbar(
            self.params["epochs"], verbose=self._verbose, stateful_metrics=names, unit_name="epoch"
        )
        self._totals = dict.fromkeys(_SUMMED, 0)

    def on_epoch_end(self, epoch, logs=None):
        """Moves the bar by one epoch; moves accepted so far are summed."""
        logs = logs or {}
        for name in _SUMMED:
            self._totals[name] += logs.get(name, 0)
        shown = {**logs, **self._totals}
        values = [(title, shown[name]) for name, title in _SHOWN.items() if name in shown]
        self._last = epoch + 1
        self._values = values
        self._bar.update(epoch + 1, values, finalize=epoch + 1 == self.params["epochs"])

    def on_train_end(self, logs=None):
        """Ends the line of a fit that stopped before its last epoch."""
        if 0 < self._last < self.params["epochs"]:
            self._bar.target = self._last
            self._bar.update(self._last, self._values, finalize=True)
