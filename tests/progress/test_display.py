"""What is shown of a run's progress: lines and their time left, or a bar."""

from __future__ import annotations

import sys

import pytest

from tfdpm.progress import display
from tfdpm.progress.display import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    """Time that a test sets, in seconds."""
    # Notebooks that other tests run leave their kernel's package behind.
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_time_left_follows_the_pace(clock, capsys) -> None:
    shown = ProgressDisplay(10, 2)
    clock[0] += 6.0
    shown.step(2, "not shown")
    shown.report("epoch 2")
    shown.total = 5
    shown.report("epoch 2")
    shown.step(3)
    shown.report("epoch 5")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["epoch 2, 24 s left", "epoch 2, 9 s left", "epoch 5, 0 s left"]


def test_steps_of_an_earlier_run_do_not_count_for_the_pace(clock, capsys) -> None:
    shown = ProgressDisplay(100, 1)
    shown.skip(80)
    clock[0] += 60.0
    shown.step(2)
    assert (shown.done, shown.seconds_left) == (82, 540.0)
    shown.report("82/100")
    assert capsys.readouterr().out == "82/100, 9 min left\n"


@pytest.mark.parametrize("verbose", [0, 1])
def test_bar_is_drawn_in_a_terminal_unless_silent(monkeypatch, capsys, verbose: int) -> None:
    monkeypatch.setattr(display.sys.stderr, "isatty", lambda: True, raising=False)
    shown = ProgressDisplay(4, verbose, unit="epoch")
    shown.name_stage("clusters")
    shown.step(4, "K 5")
    shown.report("not shown")
    shown.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    for text in ("clusters: 100%", "4/4", "epoch/s, K 5]"):
        assert (text in printed.err) == bool(verbose)


def test_lines_are_written_where_they_are_asked_for(monkeypatch, capsys) -> None:
    monkeypatch.setattr(display.sys.stderr, "isatty", lambda: True, raising=False)
    shown = ProgressDisplay(4, 2)
    shown.step(4)
    shown.report("stage")
    shown.close()
    assert capsys.readouterr() == ("stage, 0 s left\n", "")
