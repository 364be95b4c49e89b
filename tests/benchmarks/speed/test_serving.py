"""A short version of the serving benchmark, whose contestants must do the same work."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfdpm.benchmarks.speed import serving
from tfdpm.benchmarks.sweep import Sweep


def test_contestants_agree_and_are_all_timed(tmp_path, monkeypatch, capsys) -> None:
    called = {}

    def times(calls, rows, repeats):
        # Both exports hold the same encoder and network; all outputs of each come back.
        outputs = {key: call(rows) for key, call in calls.items()}
        called[rows.shape] = {key: len(output) for key, output in outputs.items()}
        for key in ("tfdpm, serving_default", "tfdpm, labels"):
            responsibilities = next(part for part in outputs[key] if part.ndim == 2)
            np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0, atol=1e-5)
            labels = next(part for part in outputs[key] if part.dtype == np.int64)
            np.testing.assert_array_equal(labels, responsibilities.argmax(axis=1))
        return {key: np.full([2, repeats], 1.0 + i) for i, key in enumerate(calls)}

    monkeypatch.setattr(serving, "_time_calls", times)
    results = serving.run(Sweep(out=tmp_path / "s.json", quick=True), repeats=1_000)
    assert set(called) == {(1, 784), (1024, 784), (1, 10), (1024, 10)}
    for lengths in called.values():
        assert list(lengths.values()) == [1, 4, 2]
    assert json.loads((tmp_path / "s.json").read_text())["records"] == results["records"]
    record = results["records"][1]
    assert record["export"] == "tfdpm, serving_default" and record["overhead_of_one_row"] == 1.0
    assert (record["p50_ms"], record["rows_per_second"]) == (2000.0, 512.0)
    assert "tfdpm, labels" in capsys.readouterr().out


def test_calls_take_turns_after_some_that_do_not_count() -> None:
    order = []
    calls = {"a": lambda rows: order.append("a"), "b": lambda rows: order.append("b")}
    times = serving._time_calls(calls, np.zeros([1, 2]), 3)
    assert order[-6:] == ["a", "b"] * 3 and len(order) == 2 * serving._WARMUP + 6
    assert times["a"].shape == (2, 3) and (times["a"] >= 0).all()


def test_data_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match="`--data`"):
        serving.run(Sweep(data=[tmp_path / "x.npz"]), repeats=1)
