"""The stages of a long fit: their names, their progress, and the results that a rerun takes up."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdpm import checks
from tfdpm.progress.display import ProgressDisplay
from tfdpm.progress.epoch_backup import EpochBackup
from tfdpm.progress.files import UNREADABLE, claim, local_path, make_folder, release, replace_file

_SECONDS_BETWEEN_REPORTS = 10.0
_MAX_REPORTS = 50  # of a stage: long ones report less often


class Stages:
    """Announces stages, and keeps their results so that a run that is cut short goes on.

    Args:
        names: names of the stages, in order.
        verbose: 0 is silent.
        directory: folder for results, made if needed; `None` keeps none.
        key: text in the name of each file that stands for data and settings, so that other data
            or settings never meet it; see `fingerprint`.
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
        self.directory = None if directory is None else local_path(directory, "directory")
        self.key = key
        self._verbose = 1 if verbose == "auto" else verbose
        self._current = 0
        self._display = ProgressDisplay(verbose=2 if verbose else 0)
        self._reported = 0.0
        if self.directory is not None:
            try:
                make_folder(self.directory)
            except NotADirectoryError:
                got = f"{str(self.directory)!r}, a file or below one"
                checks.fail("directory", got, "a folder, which is made if needed")

    def say(self, line: str) -> None:
        """Writes a line, unless silent."""
        self._display.write(line)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Runs a stage; an interruption says which one it met.

        Raises:
            KeyboardInterrupt: with a message, if the user interrupts.
            BlockingIOError: if another process runs the same in the same folder.
        """
        run = self.path("run", "")
        if run is not None:
            try:
                claim(run, f"*-{self.key}*")
            except BlockingIOError as error:
                got = f"{str(self.directory)!r}, in which {error} runs the same"
                checks.fail("directory", got, "another folder, or its end", BlockingIOError)
        self._current = self.names.index(name) + 1
        self._display = ProgressDisplay(verbose=2 if self._verbose else 0)
        started = self._reported = time.monotonic()
        self.say(f"{self._title} ...")
        try:
            yield
        except KeyboardInterrupt as interrupt:
            message = f"interrupted in {self._title}"
            if self.directory is not None:
                message += f"; run the same again to go on from what is kept in {self.directory}"
            raise KeyboardInterrupt(message) from interrupt
        finally:
            self._display.close()
            if run is not None:
                release(run)
        self.say(f"{self._title}: {time.monotonic() - started:.1f} s")

    def progress(self, done: int, total: int) -> None:
        """Tells how long the stage still takes, now and then, after `done` of `total` steps."""
        display = self._display
        if not display.total:
            # Only now: the training of clusters draws a bar of its own.
            skipped = display.done
            display = self._display = ProgressDisplay(total, self._verbose)
            display.name_stage(self._title)
            display.skip(skipped)
        display.total = total
        display.step(done - display.done)
        now = time.monotonic()
        pace = display.seconds_per_step or 0.0
        spacing = max(_SECONDS_BETWEEN_REPORTS, pace * total / _MAX_REPORTS)
        if done < total and now - self._reported >= spacing:
            self._reported = now
            display.report(f"{self._title}: {done}/{total}")

    def resume(self, done: int, total: int) -> None:
        """Tells that an interrupted run has finished the first steps of the stage."""
        if done:
            self._display.skip(done)
            self.say(f"{self._title}: goes on after {done}/{total}")

    def path(self, name: str, suffix: str) -> Path | None:
        """Path of a result of that name, or `None` if results are not kept."""
        if self.directory is None:
            return None
        return self.directory / f"{name}-{self.key}{suffix}"

    def epoch_backup(self, name: str) -> EpochBackup:
        """Keeps the epochs of a model's training, until `kept_model` keeps the model."""
        return EpochBackup(self.path(f"{name}-epochs", ".npz"))

    def kept_array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array kept under that name, or else a new one, which is then kept."""
        path = self.path(name, ".npy")
        return self._kept(path, make, np.load, lambda array, file: np.save(file, array))

    def kept_model(self, name: str, make: Callable[[], keras.Model]) -> keras.Model:
        """The Keras model kept under that name, or else a new one, which is then kept."""
        path = self.path(name, ".keras")
        model = self._kept(path, make, keras.saving.load_model, keras.saving.save_model)
        self.epoch_backup(name).remove()
        return model

    def _kept(self, path: Path | None, make: Callable, read: Callable, write: Callable) -> Any:
        """Reads a result from a file, or makes and writes it if the file is missing or damaged."""
        if path is not None and path.exists():
            with contextlib.suppress(*UNREADABLE):
                result = read(path)
                self.say(f"{self._title}: as kept in {path}")
                return result
        result = make()
        if path is not None:
            with replace_file(path) as temporary:
                write(result, temporary)
        return result

    @property
    def _title(self) -> str:
        return f"stage {self._current} of {len(self.names)}, {self.names[self._current - 1]}"


class BatchProgress(keras.callbacks.Callback):
    """Tells the stage that runs how many batches of a Keras training are done."""

    def __init__(self, stages: Stages):
        super().__init__()
        self._stages = stages
        self._done: int | None = None  # batches, those of an interrupted run too

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of epochs that an interrupted run has done."""
        if self._done is None:
            self._done = epoch * self.params["steps"]
            self._stages.resume(self._done, self._total)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._done += 1
        self._stages.progress(self._done, self._total)

    @property
    def _total(self) -> int:
        return self.params["epochs"] * self.params["steps"]


def fingerprint(x: np.ndarray, **settings: Any) -> str:
    """Sixteen hexadecimal digits that stand for points or texts, and settings that JSON knows."""
    digest = hashlib.sha256(json.dumps([x.shape, x.dtype.str, settings], sort_keys=True).encode())
    x = np.ascontiguousarray(x)
    digest.update(json.dumps(x.tolist()).encode() if x.dtype == object else x.data)
    return digest.hexdigest()[:16]
