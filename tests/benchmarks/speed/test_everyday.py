"""Every call has a row with its peer's time; programs are measured from within."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tfdpm.benchmarks.speed import everyday


def test_calls_and_steps_have_a_row_each_beside_a_peer(monkeypatch) -> None:
    monkeypatch.setattr(everyday, "_ROWS", 40)
    monkeypatch.setattr(everyday, "_BATCHES", 3)
    monkeypatch.setattr(everyday, "_CALLS", 2)
    monkeypatch.setattr(everyday, "has_pytorch", lambda: False)
    monkeypatch.setattr(everyday, "_STREAM", 5)
    rows = everyday.measure_everyday(repeats=2, seed=0, quick=True)
    assert [row["call"] for row in rows] == [
        "partial_fit, median of 5 batches",
        "partial_fit, mean of 5 batches",
        "predict_labels, one row",
        "score_samples, one row",
        "exported labels, one row",
        "SwAV.small step, 16 images",
    ]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["tfdpm"] / row["peer"])
        assert 0 < row["ratio"] < 1e5


def test_turns_alternate_and_medians_are_compared() -> None:
    order: list[str] = []
    ours, peer = iter([(3.0,), (1.0,), (2.0,)]), iter([(4.0,), (4.0,), (40.0,)])
    both = everyday._take_turns(
        lambda: order.append("ours") or next(ours), lambda: order.append("peer") or next(peer), 3
    )
    assert order == ["ours", "peer"] * 3
    row = everyday._row("call", "s", "peer", *(values[:, 0] for values in both))
    assert (row["tfdpm"], row["peer"], row["ratio"]) == (2.0, 4.0, 0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_program_tells_its_own_time_and_memory() -> None:
    idle, busy = (
        np.array(everyday._start(code))
        for code in ("pass", "x = bytearray(80 * 2**20)\nwhile time.process_time() < 0.5: pass")
    )
    assert busy[0] >= 0.5 and idle[0] < 0.5
    assert busy[1] - idle[1] == pytest.approx(80, abs=8)
