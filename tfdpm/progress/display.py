"""The progress of a long run: one bar that stays in its place, or lines with the time left."""

from __future__ import annotations

import contextlib
import sys
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfdpm import checks

if TYPE_CHECKING:
    from rich.live import Live

_SECONDS_IN_WORDS = 180.0  # longer times are told in minutes
_BAR_COLUMNS = 20
_drawn: weakref.WeakSet[ProgressDisplay] = weakref.WeakSet()  # with a bar in a terminal


def as_verbose(verbose: str | int | bool) -> str | int:
    """Returns "auto", 0, 1 or 2, also for False and True as in Keras, or raises."""
    if isinstance(verbose, bool):
        return int(verbose)
    return checks.one_of(verbose, "verbose", ("auto", 0, 1, 2))


def _in_notebook() -> bool:
    """Whether a kernel runs this program; others may have imported its package."""
    module = sys.modules.get("IPython")
    return getattr(module and module.get_ipython(), "kernel", None) is not None


@contextlib.contextmanager
def ending_displays() -> Iterator[None]:
    """Runs a block, or a function as its decorator; if it fails, the bars that it began end.

    Else the terminal's cursor would stay hidden, and the bar would follow every line.
    """
    before = set(_drawn)
    try:
        yield
    except BaseException:  # an interruption, too
        for display in set(_drawn) - before:
            display.leave()
        raise


class ProgressDisplay:
    """Counts steps, and tells how far they have come and how long the others will take.

    The first step traces and compiles, so the pace is that of the steps after it, and no time is
    told before there is one.

    Args:
        total: number of steps, as far as known; may be set later.
        verbose: 0 silent, 1 a bar in a terminal or a notebook and lines elsewhere, 2 always lines.
        unit: word for a step.

    Attributes:
        may_end_early: whether the total is only the most that there can be; it is told.
    """

    def __init__(self, total: int = 0, verbose: int = 1, *, unit: str = "step"):
        self.total, self.done, self.may_end_early = total, 0, False
        self._verbose, self._unit, self._name, self._note = verbose, unit, "", ""
        self._started = time.monotonic()
        self._paced_since: tuple[int, float] | None = None  # after the first step of this run
        self._is_notebook = verbose == 1 and _in_notebook()
        self._live: Live | None = None
        if verbose == 1 and not self._is_notebook and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, highlight=False)
            keeps = {"redirect_stdout": sys.stdout.isatty(), "auto_refresh": False}
            self._live = Live(console=console, **keeps)
            self._live.start()
            _drawn.add(self)

    @property
    def seconds(self) -> float:
        """Seconds since the display was made."""
        return time.monotonic() - self._started

    @property
    def seconds_per_step(self) -> float | None:
        """Mean seconds of the steps after the first of this run; `None` before there are any."""
        done, since = self._paced_since or (self.done, 0.0)
        return None if self.done == done else (time.monotonic() - since) / (self.done - done)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the steps to come will take at this pace; `None` without one."""
        pace = self.seconds_per_step
        return None if pace is None else pace * max(self.total - self.done, 0)

    def name_stage(self, name: str) -> None:
        """Names what runs now, beside the bar."""
        self._name = name

    def skip(self, steps: int) -> None:
        """Counts steps that an earlier run has done, and that say nothing about the pace."""
        self.done += steps

    def step(self, steps: int = 1, note: str = "") -> None:
        """Counts finished steps, and shows a note beside the bar."""
        self.done, self._note = self.done + steps, note
        if self._paced_since is None:
            self._paced_since = self.done, time.monotonic()
        self._draw()

    def write(self, line: str) -> None:
        """Writes a line, unless silent."""
        if self._verbose:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def report(self, text: str) -> None:
        """Writes a line with the time left, where no bar shows it."""
        if self._live is None and not self._is_notebook:
            left = self._time_left()
            self.write(f"{text}, {left}" if left else text)

    def close(self) -> None:
        """Ends the bar."""
        self.total = self.done
        if self._live is not None:
            self._draw()
            self.leave()
        elif self._is_notebook and self.done:
            self._draw()
            self.write("")
            self._is_notebook = False

    def leave(self) -> None:
        """Leaves the bar of a terminal as it is, and draws no more."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            _drawn.discard(self)

    def _time_left(self) -> str:
        left = self.seconds_left
        if left is None:
            return ""
        in_words = f"{left:.0f} s" if left < _SECONDS_IN_WORDS else f"{left / 60:.0f} min"
        return f"{'at most ' * (self.may_end_early and left > 0)}{in_words} left"

    def _draw(self) -> None:
        """Draws the bar in its place: in a terminal above its note, which may need more lines."""
        count = f"{self.done}/{self.total} {self._unit}s"
        if self._live is not None:
            from rich.console import Group
            from rich.progress_bar import ProgressBar
            from rich.table import Table
            from rich.text import Text

            row = Table.grid(padding=(0, 1))
            bar = ProgressBar(max(self.total, 1), self.done, width=_BAR_COLUMNS)
            cells = [self._name] * bool(self._name), bar, count, self._time_left()
            row.add_row(*cells[0], *cells[1:])
            notes = [Text(self._note, overflow="fold")] * bool(self._note)
            self._live.update(Group(row, *notes), refresh=True)
        elif self._is_notebook:
            parts = filter(None, (self._name, count, self._time_left(), self._note))
            # Spaces hide the end of a longer line.
            sys.stdout.write("\r" + ", ".join(parts).ljust(120))
            sys.stdout.flush()
