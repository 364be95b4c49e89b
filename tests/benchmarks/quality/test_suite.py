"""A folder of labelled sets: noise, several references, failures, peers beside."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfdpm
from tests.benchmarks.conftest import SignModel
from tfdpm.benchmarks.peers import PEERS
from tfdpm.benchmarks.quality import suite
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.cli import main


@pytest.fixture
def folder(tmp_path):
    """Two sets: one whose second reference is the sign of x, and one with noise."""
    rng = np.random.default_rng(0)
    sides = np.arange(60) % 2
    x = rng.normal(size=(60, 2)) * 0.1 + np.where(sides, 1.0, -1.0)[:, np.newaxis] * [1, 0]
    thirds = 1 + np.arange(60) % 3
    place = tmp_path / "sets"
    place.mkdir()
    np.savez(place / "many.npz", x=x, y=thirds, y_1=1 + sides)
    noise = np.arange(60) < 10
    np.savez(
        place / "noisy.npz", x=np.where(noise[:, None], -x, x), y=np.where(noise, 0, 1 + sides)
    )
    return place


def run(folder, tmp_path, **changes):
    options = {"peers": "kmeans", "features": "auto", "only": ""}
    sweep = Sweep(out=tmp_path / "s.json", seed=3, seeds=2)
    return suite.run(sweep, folder=folder, **{**options, **changes})


def test_every_set_method_and_seed_is_recorded(fits, folder, tmp_path, capsys) -> None:
    results = run(folder, tmp_path)
    rows = [(row["data"], row["method"], row["seed"]) for row in results["records"]]
    methods = ("tfdpm", "kmeans")
    wanted = [(d, m, seed) for d in ("many", "noisy") for seed in (3, 4) for m in methods]
    assert rows == wanted
    assert [call["seed"] for call in fits] == [3, 4, 3, 4]
    assert {call["features"] for call in fits} == {"auto"}
    # The sign is the second reference of one set, and the first of the other but for its noise.
    ours, theirs = ([r for r in results["records"] if r["method"] == m] for m in methods)
    assert [record["ari"] for record in ours] == [1.0] * 4
    assert [record["reference_clusters"] for record in ours] == [[3, 2]] * 2 + [[2]] * 2
    assert [record["clusters"] for record in theirs] == [3, 3, 2, 2]  # K of the first reference
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["means"] == results["means"] and written["records"] == results["records"]
    assert results["means"]["tfdpm"]["clusters"] == 2.0
    aris = [record["ari"] for record in theirs]
    assert results["means"]["kmeans"]["ari"] == pytest.approx(sum(aris) / 4)
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    (many,) = (line for line in lines if line[:1] == ["many"])
    assert many[1:6] == ["1.000", "1.000", "2", "2", "3/2"]
    (mean,) = (line for line in lines if line[:1] == ["mean"])
    assert mean[2:6] == ["2", "1.000", "1.000", "2.0"]
    assert mean[-1] == f"{results['means']['kmeans']['ari']:.3f}"


def test_a_fit_that_fails_is_printed_and_counts_as_one_cluster(
    folder, tmp_path, monkeypatch, capsys
) -> None:
    def fit(x, **options):
        if options["seed"] == 4:
            raise FloatingPointError("no [N, D] here")
        return SignModel(x)

    def peer(x, num_clusters, seed):
        raise ValueError(f"too flat for {x.dtype}")

    monkeypatch.setattr(tfdpm, "fit", fit)
    monkeypatch.setitem(PEERS, "gmm", peer)
    results = run(folder, tmp_path, peers="gmm", only="noisy")
    first, flat, second, _ = results["records"]
    assert (first["ari"], first["clusters"]) == (1.0, 2) and "error" not in first
    assert second["error"] == "FloatingPointError: no [N, D] here"
    assert (second["ari"], second["nmi"], second["clusters"]) == (0.0, 0.0, 1)
    assert second["cpu_seconds"] >= 0 and flat["error"] == "ValueError: too flat for float64"
    printed = capsys.readouterr().out
    assert "noisy, tfdpm, seed 4: FloatingPointError: no [N, D] here\n" in printed
    assert results["means"]["tfdpm"]["ari"] == 0.5 and results["means"]["gmm"]["ari"] == 0.0


def test_the_command_clusters_the_sets_that_are_asked_for(folder, tmp_path) -> None:
    out = tmp_path / "o.json"
    arguments = ["--only", "man", "--peers", "none", "--features", "none", "--out", str(out)]
    assert main(["bench", "suite", str(folder), *arguments]) == 0
    written = json.loads(out.read_text())
    (record,) = written["records"]
    assert (record["data"], record["ari"], record["clusters"]) == ("many", 1.0, 2)
    assert written["features"] == "none"
