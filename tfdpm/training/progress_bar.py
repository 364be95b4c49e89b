"""The progress of a fit in one line: epoch, K, losses, moves, time left."""

from __future__ import annotations

import keras

from tfdpm import checks
from tfdpm.progress.display import ProgressDisplay, as_verbose


class ProgressBar(keras.callbacks.Callback):
    """A bar in a terminal or a notebook, plain lines in a log file.

    Args:
        verbose: 1 for a bar where one can be drawn, 2 for a line per epoch.
    """

    def __init__(self, verbose: int = 1):
        super().__init__()
        self._verbose = verbose
        self._display: ProgressDisplay | None = None
        self._splits = self._merges = 0

    def on_train_begin(self, logs=None):
        """Starts the bar."""
        self._splits = self._merges = 0
        self._display = ProgressDisplay(self.params["epochs"], self._verbose, unit="epoch")

    def on_epoch_end(self, epoch, logs=None):
        """Shows the epoch that has ended; moves are summed over the fit."""
        logs, display = logs or {}, self._display
        self._splits += int(logs.get("accepted_splits", 0))
        self._merges += int(logs.get("accepted_merges", 0))
        trainer, expected = self.model.trainer, self.params["epochs"]
        if trainer is not None:
            expected = max(trainer.expected_epochs(self.model.fitted, expected), epoch + 1)
        display.total = expected
        display.may_end_early = trainer is not None and trainer.config.stable_epochs is not None
        if not display.done:
            display.skip(epoch)
        line = self._line(logs)
        display.step(1, line)
        most = "at most " if display.may_end_early and epoch + 1 < expected else ""
        display.report(f"epoch {epoch + 1} of {most}{expected}, {line}")

    def on_train_end(self, logs=None):
        """Closes the bar, and tells how many clusters the components were joined into."""
        self._display.close()
        parts = self.model.parts
        if parts is not None and parts.num_clusters < parts.state.num_components:
            count = parts.state.num_components
            self._display.write(f"{count} components joined into {parts.num_clusters} clusters")

    def _line(self, logs) -> str:
        losses = {"loss": ".4f", "subcluster_loss": ".4g"}
        parts = [f"K {int(logs['n_clusters'])}"]
        parts += [f"{name} {logs[name]:{form}}" for name, form in losses.items() if name in logs]
        parts += [f"splits {self._splits}", f"merges {self._merges}"]
        parts += [f"{name} {logs[name]:.3f}" for name in ("nmi", "acc") if name in logs]
        return ", ".join(parts)


def callback_list(
    model: keras.Model,
    callbacks,
    verbose: str | int,
    epochs: int,
    *,
    keeps_history: bool = True,
) -> keras.callbacks.CallbackList:
    """What a fit tells of its progress to: the caller's callbacks, and a bar unless silent.

    `callbacks` are one Keras callback, several, a `CallbackList` as it is, or `None`; what is none
    is an error that names the argument.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    verbose = as_verbose(verbose)
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
    callbacks = list(callbacks or ())
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            checks.fail("callbacks", repr(callback), "Keras callbacks", TypeError)
    if verbose != 0:
        callbacks.append(ProgressBar(1 if verbose == "auto" else verbose))
    return keras.callbacks.CallbackList(
        callbacks,
        add_history=keeps_history,
        add_progbar=False,
        model=model,
        verbose=0 if verbose == 0 else 1,
        epochs=epochs,
        steps=1,
    )
