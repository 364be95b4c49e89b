"""Rates and the worth of features, on next to nothing. No time is asserted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.swav.test_swav_command import write_digits
from tfdpm.benchmarks import sweep as sweeps
from tfdpm.benchmarks.swav import step_rates, training
from tfdpm.benchmarks.swav.pillow_views import pillow_views
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.images.view_config import ViewConfig


@pytest.mark.bfloat16
@pytest.mark.filterwarnings("ignore:8 samples")
def test_everything_is_measured_drawn_and_written(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(step_rates, "has_pytorch", lambda: False)
    monkeypatch.setattr(sweeps, "_QUICK_POINTS", 60)
    bars = write_digits(tmp_path / "bars.npz", 80, 0)
    out = tmp_path / "s.json"
    results = training.run(Sweep(data=[bars], out=out, quick=True), repeats=3, epochs=20)
    assert list(results["step"]) == ["tfdpm, float32", "tfdpm, bfloat16"]
    assert list(results["pipeline"]) == ["tfdpm", "Pillow"] and list(results["ratios"]) == ["views"]
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
    views = {"tfdpm": {"rate": 99.0, "cpu_rate": 27.0}, "Pillow": {"rate": 1.0, "cpu_rate": 18.0}}
    results = {"step": step, "pipeline": views}
    training._add_ratios(results)
    assert results["ratios"] == {"float32": 1.5, "views": 1.5}
    assert results["pipeline_share"] == pytest.approx((1 / 27) / (1 / 27 + 1 / 3))


def test_views_of_pillow_have_the_mean_and_shapes_of_ours() -> None:
    """Crops, colours and blur of two programs differ image by image, but not on average."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 210, 60)[:, None, None] + 20 * np.sin(np.arange(80) / 9)[:, None]
    images = (ramp + np.array([0, 10, 20])).clip(0, 255).astype(np.uint8)
    config = ViewConfig(crop_sizes=(24, 12), crop_counts=(2, 3))
    theirs = [pillow_views(images, config, rng) for _ in range(60)]
    assert [view.shape for view in theirs[0]] == [(24, 24, 3)] * 2 + [(12, 12, 3)] * 3
    options = {"crop_sizes": (24, 12), "crop_counts": (2, 3)}
    ours = next(iter(multicrop(np.stack([images] * 60), batch_size=60, **options)))
    for index, views in enumerate(ours):
        part = np.stack([view for each in theirs for view in each[2 * index : 2 + 3 * index]])
        assert abs(float(part.mean()) - float(np.mean(views))) < 0.15
        assert abs(float(part.std()) - float(np.std(views))) < 0.15


def test_files_without_images_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "points.npz", x=np.zeros((9, 4)), y=np.zeros(9))
    with pytest.raises(ValueError, match=r"images x \[N, H, W\]"):
        training.run(Sweep(data=[tmp_path / "points.npz"]), repeats=1, epochs=1)
