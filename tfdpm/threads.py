"""Work of NumPy shared out among threads, whose results do not depend on how many there are."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import sklearn.cluster  # noqa: F401  # loads the libraries whose threads are limited
import threadpoolctl

THREADS = threadpoolctl.ThreadpoolController()
# Python itself runs on one thread at a time: more would mostly wait for each other.
_MOST_THREADS = 8
_present = threading.local()


def map_in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Values of a function of each item, in the items' order.

    Items are shared out among as many threads as this process may use cores, and BLAS uses one
    thread for each. What the function shares out in turn stays within its thread.
    """
    items = list(items)
    num_threads = min(len(items), num_cores(), _MOST_THREADS)
    if num_threads < 2 or getattr(_present, "is_busy", False):
        return [function(item) for item in items]
    results: list[Any] = [None] * len(items)
    waiting = iter(list(enumerate(items)))  # of which each goes to one thread
    errors: list[BaseException] = []

    def work() -> None:
        _present.is_busy = True
        try:
            for place, item in waiting:
                results[place] = function(item)
        except BaseException as error:
            errors.append(error)
            list(waiting)  # nobody begins another one
        _present.is_busy = False

    with THREADS.limit(limits=1):
        threads = []
        for _ in range(num_threads - 1):
            run = contextvars.copy_context().run
            thread = threading.Thread(target=run, args=(work,), daemon=True)
            with contextlib.suppress(RuntimeError):  # where no more are allowed, fewer will do
                thread.start()
                threads.append(thread)
        work()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return results


def num_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
