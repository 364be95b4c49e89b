"""The loop over data sets, seeds and methods."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from tfdpm.benchmarks import sweep as sweeps
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.progress.display import ProgressDisplay


def test_methods_are_innermost_and_every_record_is_written(tmp_path) -> None:
    sweep = Sweep(out=tmp_path / "a.json", seed=4, seeds=2)

    def write_one(data, seed):
        written = [] if not sweep.out.exists() else json.loads(sweep.out.read_text())["made"]
        return {"data": data, "seed": seed, "before": len(written)}

    def write_two(data, seed):
        return [{"data": data, "seed": -seed}, {"data": data, "seed": -10 * seed}]

    results = {"benchmark": "b"}
    assert sweep.measure(results, ["x", "y"], [write_one, write_two], key="made") is results
    assert [(record["data"], record["seed"]) for record in results["made"]] == [
        (data, seed) for data in "xy" for seed in (4, -4, -40, 5, -5, -50)
    ]
    assert [record["before"] for record in results["made"][::3]] == [0, 3, 6, 9]
    assert json.loads(sweep.out.read_text())["made"] == results["made"]
    assert "summary" not in results


def test_records_are_averaged_by_the_keys_that_are_asked_for(tmp_path) -> None:
    names = ("nmi", "ari", "acc", "clusters", "seconds", "cpu_seconds")
    methods = [lambda data, seed: {"data": data, **dict.fromkeys(names, seed)}]
    sweep = Sweep(out=tmp_path / "a.json", seeds=3)
    summary = sweep.measure({}, ["x", "y"], methods, group_by=("data",))["summary"]
    assert [(row["data"], row["nmi"]["mean"]) for row in summary] == [("x", 1.0), ("y", 1.0)]


def test_files_are_read_thinned_and_subsampled(labelled_file, tmp_path) -> None:
    (data,) = Sweep(data=[labelled_file]).read_rows()
    assert (data.name, data.x.dtype, data.x.shape) == ("mnist_like", np.float32, (120, 2))
    whole, thin = Sweep(data=[labelled_file], imbalanced=True, max_points=90).read_rows()
    counts = np.bincount(data.y)
    assert thin.name == "mnist_like imbalanced" and len(whole.x) == 90
    assert np.bincount(thin.y).tolist() == [*counts[:2], np.ceil(0.05 * counts[2])]
    (unit,) = Sweep(data=[labelled_file], normalize_rows=True).read_rows()
    np.testing.assert_allclose(np.linalg.norm(unit.x, axis=1), 1, rtol=1e-6)
    images = LabelledData("i", np.zeros((500, 2, 2), np.uint8), np.zeros(500))
    np.savez(tmp_path / "i.npz", x=images.x, y=images.y)
    (read,) = Sweep(data=[tmp_path / "i.npz"], max_points=9).read_images()
    assert (read.x.shape, read.x.dtype) == ((9, 2, 2), np.uint8)


def test_a_trial_has_one_seed_and_few_points(labelled_file, monkeypatch) -> None:
    monkeypatch.setattr(sweeps, "_QUICK_POINTS", 70)
    sweep = Sweep(data=[labelled_file], seed=2, seeds=5, quick=True)
    assert list(sweep.seed_range) == [2]
    assert list(Sweep(seed=2, seeds=2).seed_range) == [2, 3]
    assert len(sweep.read_rows()[0].x) == 70
    with pytest.raises(ValueError, match="--seeds"):
        Sweep(seeds=0)


def test_runs_are_told_and_resumed_by_the_last_of_their_records(tmp_path, capsys) -> None:
    made = []

    def measure(data, seed, *, method):
        made.append((method, seed))
        return [{"data": data.name, "method": each, "seed": seed} for each in ("before", method)]

    data = LabelledData("blobs", np.zeros([4, 2]), np.zeros(4))
    methods = [partial(measure, method=name) for name in ("a", "b")]
    sweep = Sweep(out=tmp_path / "a.json", seeds=2, resume=True)
    results = sweep.measure({}, [data], methods[:1], display=ProgressDisplay(2))
    assert "1/2 blobs: a, seed 0\n2/2 blobs: a, seed 1" in capsys.readouterr().out
    sweep.measure(sweep.take_up({}), [data], methods, display=ProgressDisplay(4))
    assert made == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert capsys.readouterr().out.startswith("2/4 blobs: b, seed 0\n4/4 blobs: b, seed 1")
    assert len(results["records"]) == 4
