"""The table by round on a handful of images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfdpm.benchmarks import sweep as sweeps
from tfdpm.benchmarks.quality import joint_rounds
from tfdpm.benchmarks.sweep import Sweep


def test_every_round_is_a_record(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sweeps, "_QUICK_POINTS", 60)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 50, size=(80, 6, 6), dtype=np.uint8)
    y = np.arange(80) % 2
    x[y == 1, :3] += 200
    np.savez(tmp_path / "bars.npz", x=x, y=y)
    sweep = Sweep(data=[tmp_path / "bars.npz"], out=tmp_path / "joint.json", quick=True)
    results = joint_rounds.run(sweep, configuration="default", epochs=None)
    assert [record["round"] for record in results["records"]] == [1, 2]
    assert all(0 <= record["acc"] <= 1 for record in results["records"])
    seconds = [record["cpu_seconds"] for record in results["records"]]
    assert 0 < seconds[0] < seconds[1]
    assert json.loads((tmp_path / "joint.json").read_text())["records"] == results["records"]


def test_data_without_labels_are_named(tmp_path) -> None:
    np.savez(tmp_path / "bare.npz", x=np.zeros((3, 2)))
    options = {"configuration": "default", "epochs": None}
    with pytest.raises(ValueError, match="^`--data`: got .*bare.npz with x"):
        joint_rounds.run(Sweep(data=[tmp_path / "bare.npz"]), **options)
    with pytest.raises(ValueError, match="^`--data`: got no file"):
        joint_rounds.run(Sweep(), **options)
