"""Experiments on tiny stand-ins: what runs, what is compared, what is said to be missing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.papers import EXPERIMENTS, data_files, run
from tfdpm.benchmarks.papers.alternation import joint_config, measure_alternation
from tfdpm.benchmarks.papers.data_files import SOURCES
from tfdpm.benchmarks.peers import LEARN, PEERS
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

    def measure_alternation(data, seed, *, method, config, peers, epochs):
        names = ("DeepDPM", *peers, method)
        records = [
            measure_fit(data, seed, method=name, config=config, initial_clusters=None)
            for name in names
        ]
        return records

    for function in (measure_fit, measure_alternation):
        place = f"tfdpm.benchmarks.papers.experiments.{function.__name__}"
        monkeypatch.setattr(place, function)
    return calls


@pytest.fixture
def fast_peers(monkeypatch):
    """K-means in place of the peers that take long."""
    for name in (*LEARN, "movb", "sampler"):
        monkeypatch.setitem(
            PEERS, name, lambda x, count, seed, *, epochs=None: PEERS["kmeans"](x, count, seed)
        )


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


def test_means_and_deviations_are_over_seeds_and_peers_run_where_asked(
    quick, fast_peers, tmp_path
) -> None:
    write_stand_in(tmp_path, "mnist_umap.npz")
    rows = run("table1", tmp_path, Sweep(out=tmp_path / "t.json", seeds=2), peers=True)["rows"]
    cell = {(r["data"], r["method"], r["metric"]): r for r in rows}
    ours = cell["mnist", "DeepDPM", "ACC"]["ours"]
    assert ours == {"mean": pytest.approx(0.75), "std": pytest.approx(0.05)}
    assert cell["mnist", "K-means", "ACC"]["ours"]["mean"] > 0.9
    variational = cell["mnist", "moVB", "NMI"]
    assert variational["ours"]["mean"] > 0.9 and variational["printed"]["mean"] == 0.93
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


def test_tables_of_k_leave_out_methods_that_are_given_it(quick, fast_peers, tmp_path) -> None:
    write_stand_in(tmp_path, "usps_umap.npz")
    records = run("table2", tmp_path, Sweep(out=tmp_path / "t.json"), peers=True)["records"]
    assert {each["method"] for each in records} == {"DeepDPM", "DBSCAN", "DPM sampler", "moVB"}


def test_ablations_change_one_setting_each(quick, tmp_path) -> None:
    write_stand_in(tmp_path, "fashion.npz")
    results = run("table6", tmp_path, Sweep(out=tmp_path / "t.json"), configuration="paper")
    assert len(quick) == 7 * 3
    assert all(row["ours"] and row["printed"] for row in results["rows"])
    without = [call for call in quick if call[1] == "no splits, from K 10"]
    assert [(c[2].splits, c[2].merges, c[2].start, c[3]) for c in without] == [
        (False, True, "kmeans", 10)
    ]


def test_figures_vary_k(quick, fast_peers, tmp_path) -> None:
    write_stand_in(tmp_path, "imagenet50.npz", dim=3)
    sweep = Sweep(out=tmp_path / "f.json")
    rows = run("figure1", tmp_path, sweep, assumed_k=(5, 50, 150))["rows"]
    cell = {(row["data"], row["method"], row["metric"]): row for row in rows}
    for name in ("K-means", "GMM", "DCN++", "SCAN"):
        assert cell["imagenet50", f"{name} with K 50", "ARI"]["ours"]["mean"] > 0
        assert ("imagenet50", f"{name} with K 150", "ARI") not in cell  # there are 120 points
    ours = cell["imagenet50", "DeepDPM*", "NMI"]
    assert (ours["ours"]["mean"], ours["printed"]["mean"]) == (0.9, 0.77)
    assert cell["imagenet50", "DeepDPM", "ACC"]["printed"] is None
    write_stand_in(tmp_path, "usps_umap.npz")
    run("figure4", tmp_path, Sweep(out=tmp_path / "g.json"))
    assert [call[3] for call in quick if call[0] == "usps"] == [1, 3, 10, 20, 30]


def test_methods_that_need_k_take_that_of_the_best_silhouette(quick, fast_peers, tmp_path) -> None:
    write_stand_in(tmp_path, "imagenet50.npz", dim=3)
    options = {"peers": True, "assumed_k": (3, 10, 20)}
    results = run("table5", tmp_path, Sweep(out=tmp_path / "t.json"), **options)
    cell = {(row["data"], row["method"]): row for row in results["rows"]}
    k_means = cell["imagenet50", "K-means"]
    assert (k_means["ours"]["mean"], k_means["printed"]["mean"]) == (10, 40)
    record = next(each for each in results["records"] if each["method"] == "SCAN")
    assert record["silhouettes"][10] == max(record["silhouettes"].values()) > 0.5
    assert {"DeepDPM", "DeepDPM*", "moVB", "DPM sampler", "DBSCAN", "DCN++"} <= {
        each["method"] for each in results["records"]
    }


def test_alternation_is_recorded_before_and_after_its_rounds(monkeypatch) -> None:
    import tfdpm

    class Joint:
        def __init__(self, config, *, seed):
            self.labels = np.zeros(40, np.int64)
            self.encoder = self

        def fit(self, x, *, rounds=None, verbose):
            if rounds is None:  # the alternation finds what is there
                self.labels = np.arange(40) % 2

        def predict_labels(self, x):
            return self.labels

        def predict(self, x, verbose):
            return np.eye(2)[np.arange(40) % 4 // 2] * 100.0 + x

    monkeypatch.setattr(tfdpm, "JointClustering", Joint, raising=False)
    rng = np.random.default_rng(0)
    data = LabelledData("blobs", rng.normal(size=[40, 2]), np.arange(40) % 2)
    records = measure_alternation(data, 0, method="DeepDPM*", config=None, peers={"moVB": "kmeans"})
    assert [each["method"] for each in records] == ["DeepDPM", "moVB", "DeepDPM*"]
    assert [each["clusters"] for each in records] == [1, 2, 2]
    # The peer sees the features, whose two clusters cut across the classes.
    assert records[0]["ari"] == 0.0 and records[1]["ari"] < 0.1 and records[2]["ari"] == 1.0
    assert records[2]["seconds"] >= records[0]["seconds"]


def test_published_settings_of_features_are_presets(quick, tmp_path) -> None:
    for file in ("stl10.npz", "imagenet_moco.npz"):
        write_stand_in(tmp_path, file)
    sweep = Sweep(out=tmp_path / "t.json")
    run("table3", tmp_path, sweep, configuration="paper")
    run("imagenet", tmp_path, sweep, configuration="paper", epochs=20)
    rows = run("imagenet", tmp_path, sweep)["rows"]
    (_, _, stl10, start, _), (_, _, imagenet, from_k, _), (_, _, default, also, _) = quick
    assert (stl10.prior_scale, start, stl10.epochs) == (0.05, 3, 500)
    assert (imagenet.prior_scale, from_k, imagenet.epochs) == (0.001, 200, 20)
    assert default.prior == "auto" and also == 200
    printed = {row["metric"]: row["printed"]["mean"] for row in rows}
    assert printed == {"NMI": 0.65, "ARI": 0.14, "ACC": 0.25, "K": 707}
    run("imagenet", tmp_path, sweep, on=("drawn",))
    assert quick[-1][0] == "drawn" and quick[-1][3] == 200
    drawn = data_files.find_points("drawn", tmp_path, 0, None)
    assert drawn.true_k == 1000 and drawn.x.shape == (20_000, 8)


def test_epochs_shorten_every_stage_of_joint_training() -> None:
    config = joint_config("imagenet50 imbalanced", "paper", 7)
    assert (config.pretrain_epochs, config.round_epochs, config.clustering.epochs) == (7, 7, 7)
    assert (config.max_rounds, config.clustering.prior_scale) == (5, 1e-4)
    assert joint_config("usps", "paper", None).clustering.initial_clusters == 3
    assert joint_config("usps", "default", None).embedding == "umap"


def test_other_data_stand_in_where_they_are_named(quick, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--on", "digits", "--max-points", "50", "--assumed-k", "5"]
    assert main(["reproduce", "table4", *options]) == 0
    assert {call[0] for call in quick} == {"digits"}
    printed = capsys.readouterr().out
    assert "imagenet50" not in printed and "table4: ImageNet-50, on digits" in printed
    assert main(["reproduce", "table4", "--on", "letters"]) == 2
    assert "`--on`: got 'letters', wanted one of 'digits'" in capsys.readouterr().err
    for name in ("swav-table1", "swav-table2", "swav-table3"):
        assert main(["reproduce", name, "--on", "digits"]) == 2
    assert "`--on`" in capsys.readouterr().err


def test_published_sets_are_fetched_once(tmp_path, monkeypatch) -> None:
    asked = []

    def load(*arguments, download):
        asked.append((*arguments, download))
        return np.zeros([3, 2], np.float32), np.array([0, 1, 1])

    monkeypatch.setattr(data_files, "load", load)
    for _ in range(2):
        data_files.download_sets(("mnist images", "stl10", "reuters10k"), tmp_path)
    assert asked == [("mnist", "all", tmp_path, True), ("reuters10k", "all", tmp_path, True)]
    assert data_files.find_points("reuters10k", tmp_path, 0, None).y.tolist() == [0, 1, 1]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_missing_is_one_line(name: str, tmp_path, capsys) -> None:
    assert main(["reproduce", name, "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("tfdpm: `--data`: got ")
    for data in EXPERIMENTS[name].data:
        assert data.removesuffix(" imbalanced") in error
    assert ("--on digits or drawn" in error) == (not name.startswith("swav"))


@pytest.mark.parametrize("name", [each for each in EXPERIMENTS if not each.startswith("swav")])
def test_every_command_runs_on_digits_and_goes_on(
    name, quick, fast_peers, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(
        "tfdpm.benchmarks.papers.experiments.measure_joint",
        lambda data, seed, *, method, config: (
            quick.append(config) or {"data": data.name, "method": method, "seed": seed, "nmi": 0.5}
        ),
    )
    out = tmp_path / "r.json"
    options = ["--on", "digits", "--max-points", "60", "--assumed-k", "5", "--peers"]
    assert main(["reproduce", name, *options, "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert quick and results["missing"] == []
    assert {row["data"] for row in results["rows"]} == {"digits"}
    assert all(row["ours"] for row in results["rows"])
    assert capsys.readouterr().out.startswith("1/")
    count = len(quick)
    assert main(["reproduce", name, *options, "--out", str(out), "--resume"]) == 0
    assert len(quick) == count
    assert json.loads(out.read_text())["records"] == results["records"]


def test_what_is_missing_is_named_with_its_origin(tmp_path, capsys) -> None:
    assert main(["reproduce", "table4", "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
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
    assert len(EXPERIMENTS) == 17
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
    assert [(config.embedding, seed) for config, seed in made] == [("none", 0), ("umap", 0)]
    assert made[0][0].clustering.initial_clusters == 3
