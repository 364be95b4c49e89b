"""Limits on cores and threads, so that methods that are compared have the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

from tfdpm import checks

__all__ = ["limit_threads"]


@contextlib.contextmanager
def limit_threads(count: int) -> Iterator[int]:
    """Limits the process to `count` cores, where the system can, and BLAS and OpenMP to as many.

    TensorFlow's threads share those cores; their number cannot be reduced once they run.

    Args:
        count: number of cores, at least 1.
    Yields:
        Number of cores that the process may use.
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
    """Moves every thread of this process to `cores`; later threads inherit them."""
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(thread, cores)
