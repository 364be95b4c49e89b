"""Memory of models that nobody holds any more, which cycles of references within Keras keep."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator

# Of the time of fits that goes into collecting. Each fit leaves some 4 MB, and without this Python
# would wait for 25: twice of it halves what waits at most, half of it doubles it.
_SHARE = 0.03


class _Budget:
    """Seconds that fits have earned for a collection, and how long the last one took."""

    def __init__(self):
        self._earned, self._cost = 0.0, 0.2

    def spend(self, seconds: float) -> None:
        """Adds a fit's seconds, and collects if they have earned it."""
        self._earned += _SHARE * seconds
        if self._earned < self._cost or not gc.isenabled():
            return
        start = time.perf_counter()
        gc.collect()
        self._earned, self._cost = 0.0, time.perf_counter() - start


_budget = _Budget()


@contextlib.contextmanager
def freeing_models() -> Iterator[None]:
    """Runs a block, or a function as its decorator, and then frees what models of before have left.

    Keras's layers and TensorFlow's graphs refer to themselves, so that only the garbage collector
    frees them. It reads every object of the process, and so waits until fits took much longer.
    """
    start = time.perf_counter()
    try:
        yield
    finally:
        _budget.spend(time.perf_counter() - start)
