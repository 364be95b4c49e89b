"""The stages of a long fit: which one runs, of how many, how long it still takes, what is kept.

What the stages do is in `encoding.py`; the epochs of the last one show their own progress.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfdpm import checks

__all__ = ["Stages", "fingerprint"]

_SECONDS_BETWEEN_REPORTS = 10.0
_MOST_REPORTS = 50  # of a stage: long ones report less often
_SECONDS_IN_WORDS = 180.0  # longer ones are told in minutes
_UNREADABLE = (OSError, ValueError, KeyError, EOFError)


class Stages:
    """Announces stages, and keeps their results so that a run that is cut short goes on.

    Args:
        names: of the stages, in order.
        verbose: 0 is silent.
        directory: where results are kept; `None` keeps none. A file appears whole or not at all,
            and its name holds `key`, so that other data or settings never meet it.
        key: stands for the data and all settings; see `fingerprint`.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        verbose: str | int = 0,
        directory: str | os.PathLike[str] | None = None,
        key: str = "",
    ):
        self.names = names
        self.directory = None if directory is None else Path(directory)
        self.key = key
        self._verbose = verbose
        self._current = 0
        self._started = self._reported = 0.0
        self._done_before = 0
        if self.directory is not None:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                got = f"{str(self.directory)!r}, a file or below one"
                checks.fail("directory", got, "a folder, which is made if needed")

    def say(self, line: str) -> None:
        """Writes a line, unless silent."""
        if self._verbose:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Runs a stage; an interruption says which one it met.

        Raises:
            KeyboardInterrupt: with a message, if the user interrupts.
        """
        self._current = self.names.index(name) + 1
        self._started = self._reported = time.monotonic()
        self._done_before = 0
        self.say(f"{self._title()} ...")
        try:
            yield
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(self._parting_words()) from interrupt
        self.say(f"{self._title()}: {time.monotonic() - self._started:.1f} s")

    def progress(self, done: int, total: int) -> None:
        """Tells how long the stage still takes, now and then."""
        now = time.monotonic()
        if now - self._reported < _SECONDS_BETWEEN_REPORTS or done >= total:
            return
        pace = (now - self._started) / max(done - self._done_before, 1)
        if now - self._reported < pace * total / _MOST_REPORTS:
            return
        self._reported = now
        self.say(f"{self._title()}: {done}/{total}, {_in_words(pace * (total - done))} left")

    def goes_on(self, done: int, total: int) -> None:
        """Tells that the stage goes on from what was kept of an interrupted run."""
        if done:
            self._done_before = done
            self.say(f"{self._title()}: goes on after {done}/{total}")

    def path(self, name: str, suffix: str) -> Path | None:
        """Where a result of that name is kept, if results are kept."""
        if self.directory is None:
            return None
        return self.directory / f"{name}-{self.key}{suffix}"

    def kept_array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array kept under that name, or else a new one, which is then kept."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, made)

        path, made = self.path(name, ".npy"), None
        if path is not None and path.exists():
            with contextlib.suppress(*_UNREADABLE):
                made = np.load(path, allow_pickle=False)
                self.say(f"{self._title()}: as kept in {path}")
                return made
        made = make()
        if path is not None:
            _replace(path, write)
        return made

    def kept_model(self, name: str, make: Callable[[], Any]) -> Any:
        """The Keras model kept under that name, or else a new one, which is then kept."""
        # Not at the top: the command line makes stages before it needs Keras.
        import keras

        path = self.path(name, ".keras")
        if path is not None and path.exists():
            with contextlib.suppress(*_UNREADABLE):
                model = keras.models.load_model(path)
                self.say(f"{self._title()}: as kept in {path}")
                return model
        model = make()
        if path is not None:
            _replace(path, model.save)
            self.epochs_path(name).unlink(missing_ok=True)
        return model

    def epochs_path(self, name: str) -> Path | None:
        """Where the training of that model is kept while it lasts, if results are kept."""
        return self.path(f"{name}-epochs", ".npz")

    def _title(self) -> str:
        return f"stage {self._current} of {len(self.names)}, {self.names[self._current - 1]}"

    def _parting_words(self) -> str:
        words = f"interrupted in {self._title()}"
        if self.directory is None:
            return words
        return f"{words}; run the same again to go on from what is kept in {self.directory}"


def fingerprint(x: np.ndarray, **settings: Any) -> str:
    """Sixteen hexadecimal digits that stand for data and settings.

    Args:
        x: points, in C order.
        **settings: values that JSON knows.
    """
    digest = hashlib.sha256(json.dumps([x.shape, x.dtype.str, settings], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()[:16]


def _in_words(seconds: float) -> str:
    if seconds < _SECONDS_IN_WORDS:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside `path` and then puts the file in its place in one step."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=f"-{path.name}", dir=path.parent)
    os.close(descriptor)
    try:
        write(Path(temporary))
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
