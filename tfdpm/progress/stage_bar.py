"""The progress of a long run of several stages in one line: stage, of how many, time left."""

from __future__ import annotations

import sys
import time

from tqdm.auto import tqdm

__all__ = ["StageProgress"]


class StageProgress:
    """A bar over all stages in a terminal or a notebook, a line per stage in a log file.

    Args:
        total: steps of all stages together, as far as known.
        verbose: 0 silent, 1 a bar where one can be drawn, 2 always lines.
    """

    def __init__(self, total: int, verbose: int):
        self._total, self._done = total, 0
        self._verbose = verbose
        self._started = time.monotonic()
        self._bar: tqdm | None = None
        if verbose == 1 and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self._bar = tqdm(total=total, unit="step", dynamic_ncols=True)

    def begin(self, stage: str) -> None:
        """Names the stage that begins."""
        if self._bar is not None:
            self._bar.set_description_str(stage)

    def step(self, note: str = "", steps: int = 1) -> None:
        """Counts finished steps."""
        self._done += steps
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(steps)

    def end(self, stage: str, note: str) -> None:
        """Tells what a stage ended with, and the time left at the pace so far."""
        if self._verbose == 0 or self._bar is not None:
            return
        pace = (time.monotonic() - self._started) / max(self._done, 1)
        left = pace * max(self._total - self._done, 0)
        sys.stdout.write(f"{stage}: {note}, {left:.0f} s left\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
