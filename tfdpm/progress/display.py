"""The progress of a long run: a bar where one can be drawn, else lines with the time left."""

from __future__ import annotations

import sys
import time

from tqdm.auto import tqdm

from tfdpm import checks

_SECONDS_IN_WORDS = 180.0  # longer times are told in minutes


def as_verbose(verbose: str | int | bool) -> str | int:
    """Returns "auto", 0, 1 or 2, also for False and True as in Keras, or raises."""
    if isinstance(verbose, bool):
        return int(verbose)
    return checks.one_of(verbose, "verbose", ("auto", 0, 1, 2))


class ProgressDisplay:
    """Counts steps, and tells how far they have come and how long the others will take.

    Args:
        total: number of steps, as far as known; may be set later.
        verbose: 0 silent, 1 a bar in a terminal or a notebook and lines elsewhere, 2 always lines.
        unit: word for a step.
    """

    def __init__(self, total: int = 0, verbose: int = 1, *, unit: str = "step"):
        self.total, self.done = total, 0
        self._skipped = 0
        self._verbose = verbose
        self._started = time.monotonic()
        self._bar: tqdm | None = None
        if verbose == 1 and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self._bar = tqdm(total=total, unit=unit, dynamic_ncols=True)

    @property
    def seconds(self) -> float:
        """Seconds since the display was made."""
        return time.monotonic() - self._started

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds of the steps of this run."""
        return self.seconds / max(self.done - self._skipped, 1)

    @property
    def seconds_left(self) -> float:
        """Seconds that the steps to come will take at the pace of those of this run."""
        return self.seconds_per_step * max(self.total - self.done, 0)

    def name_stage(self, name: str) -> None:
        """Names what runs now, beside the bar."""
        if self._bar is not None:
            self._bar.set_description_str(name)

    def skip(self, steps: int) -> None:
        """Counts steps that an earlier run has done, and that say nothing about the pace."""
        self._skipped += steps
        self.step(steps)

    def step(self, steps: int = 1, note: str = "") -> None:
        """Counts finished steps, and shows a note beside the bar."""
        self.done += steps
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(steps)

    def write(self, line: str) -> None:
        """Writes a line, unless silent."""
        if self._verbose:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def report(self, text: str) -> None:
        """Writes a line with the time left, where no bar shows it."""
        if self._bar is None:
            left = self.seconds_left
            in_words = f"{left:.0f} s" if left < _SECONDS_IN_WORDS else f"{left / 60:.0f} min"
            self.write(f"{text}, {in_words} left")

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.total = self._bar.n
            self._bar.close()
            self._bar = None
