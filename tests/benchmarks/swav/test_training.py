"""Rates and the worth of features, on next to nothing. No time is asserted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.swav.test_swav_command import write_digits
from tfdpm.benchmarks import sweep as sweeps
from tfdpm.benchmarks.swav import step_rates, training
from tfdpm.benchmarks.sweep import Sweep


@pytest.mark.bfloat16
@pytest.mark.filterwarnings("ignore:8 samples")
def test_everything_is_measured_drawn_and_written(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(step_rates, "has_pytorch", lambda: False)
    monkeypatch.setattr(sweeps, "_QUICK_POINTS", 60)
    bars = write_digits(tmp_path / "bars.npz", 80, 0)
    out = tmp_path / "s.json"
    results = training.run(Sweep(data=[bars], out=out, quick=True), repeats=3, epochs=20)
    assert list(results["step"]) == ["tfdpm, float32", "tfdpm, bfloat16"] and not results["ratios"]
    assert 0 < results["pipeline_share"] < 1
    (record,) = results["features"]
    assert record["images"] == 48
    assert [epoch for epoch, _ in record["curve"]] == [0, 1]
    assert record["curve"][-1][1] == pytest.approx(record["trained"]["knn"])
    assert (tmp_path / "s_bars.png").stat().st_size > 1000
    assert json.loads(out.read_text())["features"][0]["loss"] == record["loss"]
    printed = capsys.readouterr().out
    assert "pipeline" in printed and "untrained" in printed


def test_ratios_and_shares_are_of_processor_time() -> None:
    rates = {"tfdpm, float32": 3.0, "PyTorch, float32": 2.0, "tfdpm, bfloat16": 4.0}
    step = {name: {"rate": 99.0, "cpu_rate": rate} for name, rate in rates.items()}
    results = {"step": step, "pipeline": {"rate": 99.0, "cpu_rate": 27.0}}
    training._add_ratios(results)
    assert results["ratios"] == {"float32": 1.5}
    assert results["pipeline_share"] == pytest.approx((1 / 27) / (1 / 27 + 1 / 3))


def test_files_without_images_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "points.npz", x=np.zeros((9, 4)), y=np.zeros(9))
    with pytest.raises(ValueError, match=r"images x \[N, H, W\]"):
        training.run(Sweep(data=[tmp_path / "points.npz"]), repeats=1, epochs=1)
