"""The table of accuracy against peers."""

from __future__ import annotations

import json

import pytest

from tfdpm.benchmarks.quality import peer_scores
from tfdpm.benchmarks.sweep import Sweep


def test_every_method_seed_and_data_set_is_recorded(fits, labelled_file, tmp_path, capsys) -> None:
    out = tmp_path / "q.json"
    sweep = Sweep(data=[labelled_file], out=out, seed=4, seeds=2, imbalanced=True)
    results = peer_scores.run(sweep, peers="kmeans,dbscan")
    assert [call["seed"] for call in fits] == [4, 5, 4, 5]
    names = [(row["data"], row["method"]) for row in results["summary"]]
    methods = ("tfdpm", "kmeans", "dbscan")
    sets = ("mnist_like", "mnist_like imbalanced")
    assert names == [(data, method) for data in sets for method in methods]
    k_means = next(row for row in results["summary"] if row["method"] == "kmeans")
    assert k_means["acc"]["mean"] == pytest.approx(1.0)  # told K = 3, and the three are far apart
    assert k_means["each_clusters"] == [3, 3]
    written = json.loads(out.read_text())
    assert written["summary"] == results["summary"]
    assert len(written["records"]) == 12
    printed = capsys.readouterr().out
    assert "1.000 ± 0.000" in printed
    assert "mean" in printed.split("imbalanced")[-1]


def test_a_real_fit_without_peers(labelled_file, tmp_path) -> None:
    sweep = Sweep(data=[labelled_file], out=tmp_path / "q.json", quick=True)
    results = peer_scores.run(sweep, peers="none")
    (row,) = results["summary"]
    assert row["method"] == "tfdpm"
    assert row["each_clusters"] == [3]
    assert row["acc"]["mean"] == pytest.approx(1.0)
