"""The progress of a fit in one line: epoch, K, losses, moves, time left."""

from __future__ import annotations

import sys
import time

import keras
from tqdm.auto import tqdm

from tfdpm import checks

__all__ = ["ProgressBar", "callback_list"]


class ProgressBar(keras.callbacks.Callback):
    """A bar in a terminal or a notebook, plain lines in a log file.

    Args:
        verbose: 1 for a bar where one can be drawn, 2 for a line per epoch.
    """

    def __init__(self, verbose: int = 1):
        super().__init__()
        self._verbose = verbose
        self._bar: tqdm | None = None
        self._splits = self._merges = self._done = 0
        self._started = 0.0

    def on_train_begin(self, logs=None):
        """Starts the bar."""
        self._splits = self._merges = self._done = 0
        self._started = time.monotonic()
        draws_bar = self._verbose == 1 and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        if draws_bar:
            self._bar = tqdm(total=self.params["epochs"], unit="epoch", dynamic_ncols=True)

    def _expected_epochs(self, most: int) -> int:
        trainer = getattr(self.model, "trainer", None)
        return most if trainer is None else trainer.expected_epochs(self.model.fitted, most)

    def on_epoch_end(self, epoch, logs=None):
        """Shows the epoch that has ended; moves are summed over the fit."""
        logs = logs or {}
        self._done += 1
        self._splits += int(logs.get("accepted_splits", 0))
        self._merges += int(logs.get("accepted_merges", 0))
        expected = max(self._expected_epochs(self.params["epochs"]), epoch + 1)
        if self._bar is not None:
            self._bar.total = expected
            self._bar.set_postfix_str(self._line(logs), refresh=False)
            self._bar.update(epoch + 1 - self._bar.n)
            return
        pace = (time.monotonic() - self._started) / self._done
        left = pace * (expected - epoch - 1)
        sys.stdout.write(f"epoch {epoch + 1}/{expected}, {self._line(logs)}, {left:.0f} s left\n")
        sys.stdout.flush()

    def on_train_end(self, logs=None):
        """Closes the bar."""
        if self._bar is not None:
            self._bar.total = self._bar.n
            self._bar.close()
            self._bar = None

    def _line(self, logs) -> str:
        parts = [
            f"K {int(logs['n_clusters'])}",
            f"loss {logs['loss']:.4f}",
            f"subcluster_loss {logs['subcluster_loss']:.4g}",
            f"splits {self._splits}",
            f"merges {self._merges}",
        ]
        parts += [f"{name} {logs[name]:.3f}" for name in ("nmi", "acc") if name in logs]
        return ", ".join(parts)


def callback_list(
    model: keras.Model, callbacks, verbose: str | int, epochs: int
) -> keras.callbacks.CallbackList:
    """What a fit tells of its progress to: the caller's callbacks, and a bar unless silent.

    Args:
        model: that is fitted.
        callbacks: one Keras callback, several, a `CallbackList` as it is, or `None`.
        verbose: 0 silent, 1 or `"auto"` a bar, 2 a line per epoch.
        epochs: most epochs.

    Raises:
        TypeError, ValueError: naming `callbacks` or `verbose`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    checks.one_of(verbose, "verbose", ("auto", 0, 1, 2))
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
    callbacks = list(callbacks or ())
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            checks.fail("callbacks", repr(callback), "Keras callbacks", TypeError)
    if verbose != 0:
        callbacks.append(ProgressBar(1 if verbose == "auto" else verbose))
    return keras.callbacks.CallbackList(
        callbacks,
        add_history=True,
        add_progbar=False,
        model=model,
        verbose=0 if verbose == 0 else 1,
        epochs=epochs,
        steps=1,
    )
