"""What is shown of a run's progress: lines and their time left, or a bar."""

from __future__ import annotations

import re
import sys
import types

import pytest

from tfdpm.progress import display
from tfdpm.progress.display import ProgressDisplay, ending_displays


@pytest.fixture
def clock(monkeypatch):
    """Time that a test sets, in seconds."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_time_left_follows_the_pace_after_the_first_step(clock, capsys) -> None:
    shown = ProgressDisplay(10, 2)
    clock[0] += 1680.0  # set-up and tracing
    shown.step(1, "not shown")
    shown.report("epoch 1")
    clock[0] += 3.0
    shown.step()
    shown.report("epoch 2")
    shown.total, shown.may_end_early = 5, True
    shown.report("epoch 2")
    shown.step(3)
    shown.report("epoch 5")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "epoch 1",
        "epoch 2, 24 s left",
        "epoch 2, at most 9 s left",
        "epoch 5, 0 s left",
    ]


def test_steps_of_an_earlier_run_do_not_count_for_the_pace(clock, capsys) -> None:
    shown = ProgressDisplay(100, 1)
    shown.skip(80)
    shown.step()
    clock[0] += 30.0
    shown.step()
    assert (shown.done, shown.seconds_left) == (82, 540.0)
    shown.report("82/100")
    assert capsys.readouterr().out == "82/100, 9 min left\n"


@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("columns", [80, 100])
def test_bar_is_drawn_in_a_terminal_unless_silent(
    clock, monkeypatch, capsys, verbose: int, columns: int
) -> None:
    monkeypatch.setattr(display.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    shown = ProgressDisplay(400, verbose, unit="epoch")
    shown.name_stage("stage 2 of 2, clusters")
    note = (
        "K 5, loss 0.1234, subcluster_loss 0.4567, splits 12, merges 3, nmi 0.987, acc 0.991, end"
    )
    shown.may_end_early = True
    for _ in range(3):
        clock[0] += 3.0
        shown.step(1, note)
    shown.report("not shown")
    shown.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.err)
    lines = re.split(r"[\r\n]", plain)
    assert max(map(len, lines)) <= columns
    text = " ".join("".join(lines).split())
    for part in (
        "stage 2 of 2, clusters",
        "3/400 epochs",
        "at most 20 min left",
        "end",
        "3/3 epochs",
    ):
        assert (part in text) == bool(verbose)
    if verbose:  # every redrawing takes the place of the last
        assert printed.err.count("\x1b[1A") >= 3


def test_a_bar_ends_where_what_began_it_is_interrupted(monkeypatch, capsys) -> None:
    monkeypatch.setattr(display.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    @ending_displays()
    def interrupted() -> None:
        shown = ProgressDisplay(4, 1, unit="inner")
        shown.step()
        raise KeyboardInterrupt

    outer = ProgressDisplay(2, 1, unit="outer")
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err.endswith("\x1b[?25h")  # the cursor is back
    outer.step()
    outer.close()
    printed = capsys.readouterr().err
    assert "1/2" in printed and "inner" not in printed


def test_a_notebook_has_one_line_that_is_overwritten(clock, monkeypatch, capsys) -> None:
    shell = types.SimpleNamespace(kernel="a kernel")
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    shown = ProgressDisplay(3, 1, unit="epoch")
    for _ in range(3):
        clock[0] += 2.0
        shown.step(1, "K 5")
        shown.report("not shown")
    shown.close()
    lines = [line.strip() for line in capsys.readouterr().out.split("\r")]
    assert lines[:3] == ["", "1/3 epochs, K 5", "2/3 epochs, 2 s left, K 5"]
    assert lines[-1] == "3/3 epochs, 0 s left, K 5"


def test_lines_are_written_where_they_are_asked_for(monkeypatch, capsys) -> None:
    monkeypatch.setattr(display.sys.stderr, "isatty", lambda: True, raising=False)
    shown = ProgressDisplay(4, 2)
    shown.step(4)
    shown.report("stage")
    shown.close()
    assert capsys.readouterr() == ("stage\n", "")
