"""The same processor cores and threads for every method that is timed against another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

from tfdpm import checks

__all__ = ["same_threads"]


@contextlib.contextmanager
def same_threads(count: int) -> Iterator[int]:
    """Holds the process to `count` cores, where the system can, and BLAS and OpenMP to as many.

    TensorFlow's threads, which cannot be made fewer once they run, then share those cores.

    Args:
        count: at least 1.
    Yields:
        The number of cores that are left to the process.
    """
    checks.integer(count, "--threads", minimum=1)
    can_pin = hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if can_pin else set(range(os.cpu_count() or 1))
    cores = set(sorted(before)[-count:])
    with threadpool_limits(count):
        try:
            if can_pin:
                _pin(cores)
            yield len(cores)
        finally:
            if can_pin:
                _pin(before)


def _pin(cores: set[int]) -> None:
    """Moves every thread of this process to `cores`; those started later follow their starter."""
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(thread, cores)
