"""Experiments on tiny stand-ins: what runs, what is compared, what is said to be missing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tfdpm.benchmarks.papers import EXPERIMENTS, run
from tfdpm.benchmarks.papers.data_files import SOURCES
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.cli import main
from tfdpm.data import gaussian_mixture


def write_stand_in(folder, file: str, count: int = 12, dim: int = 2) -> None:
    x, y = gaussian_mixture(10, dim, 10 * count, separation=8.0, seed=0)
    np.savez(folder / file, x=x, y=y)


@pytest.fixture
def quick(monkeypatch):
    """DeepDPM replaced by the known classes, but for one point; returns the calls."""
    calls = []

    def measure_fit(data, seed, *, method, config, initial_clusters=1):
        calls.append((data.name, method, config, initial_clusters, seed))
        scores = {"nmi": 0.9, "ari": 0.8, "acc": 0.7 + 0.1 * seed, "clusters": 10 + seed}
        return {"data": data.name, "method": method, "seed": seed, **scores}

    monkeypatch.setattr("tfdpm.benchmarks.papers.experiments.measure_fit", measure_fit)
    return calls


def test_a_real_fit_stands_beside_the_printed_numbers(tmp_path) -> None:
    write_stand_in(tmp_path, "usps_umap.npz")
    out = tmp_path / "made" / "t2.json"
    results = run("table2", tmp_path, Sweep(out=out), epochs=2)
    (ours,) = [row for row in results["rows"] if row["ours"]]
    assert ours["method"] == "DeepDPM"
    assert ours["ours"]["mean"] == 10.0
    assert ours["printed"] == {"mean": 9.2, "std": 0.42}
    assert json.loads(out.read_text())["rows"] == results["rows"]
    assert out.with_suffix(".png").stat().st_size > 1000
    assert len(results["missing"]) == 2


def test_means_and_deviations_are_over_seeds_and_peers_run_where_asked(quick, tmp_path) -> None:
    write_stand_in(tmp_path, "mnist_umap.npz")
    rows = run("table1", tmp_path, Sweep(out=tmp_path / "t.json", seeds=2), peers=True)["rows"]
    cell = {(r["data"], r["method"], r["metric"]): r for r in rows}
    ours = cell["mnist", "DeepDPM", "ACC"]["ours"]
    assert ours == {"mean": pytest.approx(0.75), "std": pytest.approx(0.05)}
    assert cell["mnist", "K-means", "ACC"]["ours"]["mean"] > 0.9
    assert cell["mnist", "moVB", "NMI"]["ours"] is None
    assert cell["mnist imbalanced", "DeepDPM", "NMI"]["printed"]["mean"] == 0.95
    assert {call[0] for call in quick} == {"mnist", "mnist imbalanced"}


def test_three_configurations_stand_beside_one_row_and_a_run_is_taken_up(quick, tmp_path) -> None:
    write_stand_in(tmp_path, "usps_umap.npz")
    sweep = Sweep(out=tmp_path / "c.json", seeds=2, resume=True)
    run("configurations", tmp_path, sweep)
    assert {(call[0], call[1], call[4]) for call in quick} == {
        (data, method, seed)
        for data in ("usps", "usps imbalanced")
        for method in ("default", "paper", "official")
        for seed in (0, 1)
    }
    assert {call[2].prior_scale for call in quick if call[1] != "default"} == {0.005}
    write_stand_in(tmp_path, "mnist_umap.npz")
    results = run("configurations", tmp_path, dataclasses.replace(sweep, seeds=3))
    # Two sets of which two seeds of three were known, and two new ones.
    assert len(quick) == len(results["records"]) == 3 * 4 * 3
    cell = {(r["data"], r["method"], r["metric"]): r for r in results["rows"]}
    for method in ("default", "paper", "official"):
        assert cell["usps", method, "NMI"]["printed"]["mean"] == 0.88
        assert cell["usps", method, "K"]["printed"]["mean"] == 9.2
        assert cell["mnist imbalanced", method, "K"]["printed"]["mean"] == 10.3
    with pytest.raises(
        ValueError, match="`--resume`: got .* with epochs None, wanted a file with 2"
    ):
        run("configurations", tmp_path, sweep, epochs=2)


def test_k_by_epoch_is_drawn(tmp_path) -> None:
    write_stand_in(tmp_path, "usps_umap.npz")
    results = run("configurations", tmp_path, Sweep(out=tmp_path / "c.json"), epochs=2)
    lengths = {len(each["clusters_by_epoch"]) for each in results["records"]}
    assert lengths <= {1, 2} and len(results["records"]) == 6
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_ablations_change_one_setting_each(quick, tmp_path) -> None:
    write_stand_in(tmp_path, "fashion.npz")
    results = run("table6", tmp_path, Sweep(out=tmp_path / "t.json"), configuration="paper")
    assert len(quick) == 7 * 3
    assert all(row["ours"] and row["printed"] for row in results["rows"])
    without = [call for call in quick if call[1] == "no splits, from K 10"]
    assert [(c[2].splits, c[2].merges, c[2].start, c[3]) for c in without] == [
        (False, True, "kmeans", 10)
    ]


def test_figures_vary_k(quick, tmp_path) -> None:
    write_stand_in(tmp_path, "imagenet50.npz", dim=3)
    rows = run("figure1", tmp_path, Sweep(out=tmp_path / "f.json"))["rows"]
    methods = [row["method"] for row in rows]
    assert "K-means with K 50" in methods
    assert "K-means with K 150" not in methods  # there are only 120 points
    write_stand_in(tmp_path, "usps_umap.npz")
    run("figure4", tmp_path, Sweep(out=tmp_path / "g.json"))
    assert [call[3] for call in quick if call[0] == "usps"] == [1, 3, 10, 20, 30]


def test_what_is_missing_is_named_with_its_origin(tmp_path, capsys) -> None:
    assert main(["reproduce", "table4", "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "imagenet50_moco.npz" in error
    assert "BGU-CS-VIL/DeepDPM" in error
    assert main(["reproduce", "table9"]) == 2
    assert "`NAME`: got 'table9', wanted one of 'table1'" in capsys.readouterr().err


def test_the_command_passes_its_options_on(quick, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stand_in(tmp_path, "usps_umap.npz")
    arguments = ["reproduce", "supplement1", "--seeds", "2", "--seed", "3"]
    assert main(arguments) == 0
    assert [call[4] for call in quick] == [3, 4]
    printed = capsys.readouterr().out
    assert "13.5 ± 0.5" in printed
    assert "9.1 ± 0.22 [1]" in printed
    assert "thinned from the balanced one" in printed
    assert "no mnist_umap.npz" in printed
    assert (tmp_path / "reproduce_supplement1.png").exists()


def test_every_experiment_knows_its_sources(tmp_path) -> None:
    assert len(EXPERIMENTS) == 16
    for experiment in EXPERIMENTS.values():
        for name in experiment.data:
            assert isinstance(experiment.find(name, tmp_path, 0, None), str)
            if not any("top-1" in metric for metric in experiment.metrics):
                assert name.removesuffix(" imbalanced") in SOURCES


def test_joint_training_runs_the_published_preset(monkeypatch, tmp_path) -> None:
    import tfdpm

    made = []

    class Joint:
        def __init__(self, config, *, seed):
            made.append((config, seed))

        def fit(self, x, **_):
            self.shape = x.shape

        def predict_labels(self, x):
            return np.zeros(len(x), np.int64)

    monkeypatch.setattr(tfdpm, "JointClustering", Joint, raising=False)
    write_stand_in(tmp_path, "mnist_images.npz")
    run("table3", tmp_path, Sweep(out=tmp_path / "t.json"), configuration="paper")
    run("table3", tmp_path, Sweep(out=tmp_path / "t.json"))
    assert made == [("mnist", 0), ("default", 0)]
