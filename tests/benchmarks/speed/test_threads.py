"""The same cores for all."""

from __future__ import annotations

import os
import threading

import pytest
from threadpoolctl import threadpool_info

from tfdpm.benchmarks.speed.threads import limit_threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_running_and_new_threads_are_held_and_let_go() -> None:
    before = os.sched_getaffinity(0)
    release, seen = threading.Event(), {}
    running = threading.Thread(target=release.wait)
    running.start()
    with limit_threads(1) as cores:
        assert cores == 1
        assert len(os.sched_getaffinity(0)) == 1
        assert len(os.sched_getaffinity(running.native_id)) == 1
        new = threading.Thread(target=lambda: seen.update(new=len(os.sched_getaffinity(0))))
        new.start()
        new.join()
        assert all(pool["num_threads"] == 1 for pool in threadpool_info())
    assert seen == {"new": 1}
    assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(running.native_id) == before
    release.set()
    running.join()


def test_no_thread_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="--threads"), limit_threads(0):
        pass
