from __future__ import annotations

import threading

import numpy as np
import pytest

from tfdpm import threads
from tfdpm.threads import THREADS, map_in_threads


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)


def blas_limits() -> list[int]:
    return [each["num_threads"] for each in THREADS.select(user_api="blas").info()]


def test_values_come_in_the_order_of_the_items(four_cores):
    assert map_in_threads(lambda each: each**2, range(100)) == [each**2 for each in range(100)]
    assert map_in_threads(str, []) == []


def test_as_many_threads_as_cores_work_at_once(four_cores):
    barrier = threading.Barrier(4)
    names = map_in_threads(lambda _: (barrier.wait(30), threading.get_ident())[1], range(4))
    assert len(set(names)) == 4
    assert threading.get_ident() in names


def test_no_more_threads_than_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    names = map_in_threads(lambda _: threading.get_ident(), range(20))
    assert set(names) == {threading.get_ident()}


def test_hundreds_of_cores_are_not_all_used(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(500)), raising=False)
    before, most = threading.active_count(), []
    map_in_threads(lambda _: most.append(threading.active_count()), range(500))
    assert max(most) <= before + 7


def test_what_a_thread_shares_out_stays_in_it(four_cores):
    barrier = threading.Barrier(2)

    def inner(_):
        barrier.wait(30)
        return set(map_in_threads(lambda _: threading.get_ident(), range(8)))

    found = map_in_threads(inner, range(2))
    assert [len(each) for each in found] == [1, 1]
    # Afterwards the caller shares out again.
    barrier = threading.Barrier(4)
    map_in_threads(lambda _: barrier.wait(30), range(4))


@pytest.mark.parametrize("place", [0, 7])
def test_an_error_of_any_item_is_raised_once_all_threads_have_ended(four_cores, place):
    before = threading.active_count()

    def function(each):
        if each == place:
            raise KeyError(each)

    with pytest.raises(KeyError, match=str(place)):
        map_in_threads(function, range(8))
    assert threading.active_count() == before


def test_one_thread_does_it_all_where_no_other_can_be_started(four_cores, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert map_in_threads(lambda each: -each, range(5)) == [0, -1, -2, -3, -4]


def test_settings_of_the_caller_hold_in_all_threads(four_cores):
    barrier = threading.Barrier(4)

    def function(_):
        barrier.wait(30)
        return np.geterr()["divide"]

    with np.errstate(divide="raise"):
        assert map_in_threads(function, range(4)) == ["raise"] * 4


def test_blas_has_one_thread_meanwhile_and_as_many_as_before_afterwards(four_cores):
    before = blas_limits()
    found = map_in_threads(lambda _: blas_limits(), range(4))
    assert all(limit == 1 for each in found for limit in each)
    assert blas_limits() == before


def test_several_callers_at_once_each_get_their_values(four_cores):
    found = {}

    def call(caller):
        found[caller] = map_in_threads(lambda each: caller * each, range(50))

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert found == {caller: [caller * each for each in range(50)] for caller in range(6)}


def test_systems_that_cannot_say_which_cores_are_counted(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert threads.num_cores() == 1
