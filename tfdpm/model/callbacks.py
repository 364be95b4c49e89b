"""Keras callbacks that know about clusters."""

from __future__ import annotations

import keras

from tfdpm import checks


class StableClusters(keras.callbacks.Callback):
    """Stops training when K has not changed for a number of epochs.

    [DeepDPM] supplement 7.4 trains 100 epochs beyond the last change. The model stops by its
    configuration's `stable_epochs` anyway; this is for another patience in one call of `fit`, and
    for models that log `n_clusters` themselves.

    Args:
        patience: epochs without a change of K, >= 1.
        start_epoch: first epoch that counts, before which no proposal is made.
    """

    def __init__(self, patience: int = 100, *, start_epoch: int = 0):
        super().__init__()
        self.patience = checks.integer(patience, "patience", minimum=1)
        self.start_epoch = checks.integer(start_epoch, "start_epoch", minimum=0)
        self._last_count: int | None = None
        self._last_change = 0

    def on_train_begin(self, logs=None):
        """Forgets earlier fits."""
        self._last_count = None

    def on_epoch_end(self, epoch, logs=None):
        """Compares K with that of the epoch before."""
        count = (logs or {}).get("n_clusters")
        if count is None:
            checks.fail("n_clusters", "no such entry in the epoch's logs", "a model that logs it")
        if count != self._last_count:
            self._last_count, self._last_change = count, epoch
        since = epoch - max(self._last_change, self.start_epoch)
        if since >= self.patience:
            self.model.stop_training = True
