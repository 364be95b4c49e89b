"""Ratios, exponents and the picture. No time is asserted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfdpm.benchmarks.speed import fit_times, growth, streaming, time_plot
from tfdpm.benchmarks.sweep import Sweep

NO_GROWTH = {"points": (), "clusters": (), "dims": (), "stream": ()}


def test_ratios_are_of_medians_and_everything_is_written(
    fits, labelled_file, tmp_path, capsys
) -> None:
    out = tmp_path / "s.json"
    sweep = Sweep(data=[labelled_file], out=out)
    results = fit_times.run(sweep, repeats=3, peers="gmm,hdbscan", **NO_GROWTH)
    (comparison,) = results["comparisons"]
    assert list(comparison["methods"]) == ["tfdpm", "gmm", "hdbscan"]
    for record in comparison["methods"].values():
        assert len(record["each_seconds"]) == 3
        assert record["seconds"] == np.median(record["each_seconds"])
    own, peer = (comparison["methods"][name]["seconds"] for name in ("tfdpm", "gmm"))
    assert comparison["ratios"]["gmm"] == pytest.approx(own / peer)
    predict = comparison["predict"]
    assert predict["ratio"] == pytest.approx(predict["tfdpm"] / predict["gmm"])
    assert predict["clusters"] == 2
    assert json.loads(out.read_text())["comparisons"][0]["ratios"] == comparison["ratios"]
    out = capsys.readouterr().out
    assert "tfdpm / it" in out
    assert "first s" in out


def test_growth_gets_exponents_shares_and_a_picture(monkeypatch, tmp_path) -> None:
    def measure_fit(num_points, dim, clusters, seed):
        row = {"num_points": num_points, "dim": dim, "clusters": clusters}
        seconds = {"seconds": 5.0, "cpu_seconds": 1e-3 * num_points}
        return {**row, **seconds, "peak_above_data_mib": 1.0}

    def measure_epoch(num_points, dim, clusters, seed, batch_size=None, jit_compile=False):
        row = {"num_points": num_points, "dim": dim, "clusters": clusters, "traces": 3}
        seconds = {"seconds": 5.0, "cpu_seconds": clusters * dim**2.0, "first_cpu_seconds": 9.0}
        work = {"operations": 3.0 * clusters**2 * dim, "operations_per_second": 5e9}
        return {**row, **seconds, **work, "batch_size": batch_size, "peak_mib": 2.0}

    alone = {growth.measure_fit_growth: measure_fit, streaming.measure_stream: measure_epoch}
    monkeypatch.setattr(growth, "measure_alone", lambda measure, *sizes: alone[measure](*sizes))
    monkeypatch.setattr(growth, "measure_epoch", measure_epoch)
    monkeypatch.setattr(growth, "measure_matmul_rate", lambda dtype, seconds: 1e10)
    sizes = {"points": (10, 100), "clusters": (2, 4, 8), "dims": (3, 9), "stream": (1_000_000,)}
    results = fit_times.run(Sweep(out=tmp_path / "s.json"), repeats=3, peers="gmm", **sizes)
    assert results["exponents"] == pytest.approx({"points": 1, "clusters": 1, "dims": 2})
    assert results["arithmetic_exponents"] == pytest.approx({"clusters": 2, "dims": 1})
    (row,) = results["growth"]["paper"]
    assert (row["num_points"], row["dim"], row["clusters"], row["batch_size"]) == (
        70_000,
        10,
        10,
        128,
    )
    assert [row["clusters"] for row in results["growth"]["clusters"]] == [2, 4, 8]
    assert [row["dim"] for row in results["growth"]["dims"]] == [3, 9]
    assert results["growth"]["dims"][0]["share_of_float64_rate"] == pytest.approx(0.5)
    (row,) = results["growth"]["stream"]
    assert (row["num_points"], row["dim"], row["clusters"]) == (1_000_000, 128, 200)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_picture(monkeypatch, fits, labelled_file, tmp_path) -> None:
    find_spec = time_plot.importlib.util.find_spec
    monkeypatch.setattr(
        time_plot.importlib.util,
        "find_spec",
        lambda name: None if name == "matplotlib" else find_spec(name),
    )
    sweep = Sweep(data=[labelled_file], out=tmp_path / "s.json", quick=True)
    results = fit_times.run(sweep, repeats=3, peers="none", **NO_GROWTH)
    assert results["picture"] is None
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_line_says_that_pytorch_is_missing(is_installed, monkeypatch, tmp_path, capsys) -> None:
    row = {"call": "step", "unit": "s", "tfdpm": 1.0, "beside": "it", "peer": 2.0, "ratio": 0.5}
    monkeypatch.setattr(fit_times, "measure_everyday", lambda **options: [row])
    monkeypatch.setattr(fit_times, "has_pytorch", lambda: is_installed)
    sweep = Sweep(data=[], out=tmp_path / "s.json", quick=True)
    fit_times.run(sweep, repeats=1, peers="none", everyday=True, **NO_GROWTH)
    assert ("PyTorch is not installed" in capsys.readouterr().out) != is_installed
