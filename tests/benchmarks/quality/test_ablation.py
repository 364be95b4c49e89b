"""Every part of the method left out in turn."""

from __future__ import annotations

import dataclasses
import json

from tfdpm.benchmarks.quality import ablation
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.config import DeepDPMConfig

METHODS = {**ablation.ABLATIONS, **ablation.OWN_ABLATIONS}


def test_each_ablation_changes_what_its_name_says_and_nothing_else() -> None:
    full = dataclasses.asdict(DeepDPMConfig())
    changed = {
        name: {
            key: value
            for key, value in dataclasses.asdict(DeepDPMConfig().replace(**changes)).items()
            if value != full[key]
        }
        for name, changes in METHODS.items()
    }
    assert changed == METHODS
    assert (len(ablation.ABLATIONS), len(METHODS)) == (7, 8)


def test_every_ablation_is_fitted_from_every_initial_k(fits, labelled_file, tmp_path) -> None:
    out = tmp_path / "a.json"
    sweep = Sweep(data=[labelled_file], out=out, seeds=2)
    options = {"configuration": "default", "epochs": None}
    results = ablation.run(sweep, initial_clusters=(3, 10), **options)
    assert len(fits) == 2 * 2 * 8
    assert {call["initial_clusters"] for call in fits} == {3, 10}
    assert sum(not call["config"].splits for call in fits) == 2 * 2 * 2
    assert sum(call["config"].cluster_loss == "isotropic" for call in fits) == 2 * 2
    assert [row["method"] for row in results["summary"]] == 2 * list(METHODS)
    assert json.loads(out.read_text())["summary"] == results["summary"]


def test_the_papers_configuration_is_compared_with_the_papers_ablations(
    fits, labelled_file, tmp_path
) -> None:
    sweep = Sweep(data=[labelled_file], out=tmp_path / "a.json")
    ablation.run(sweep, initial_clusters=(3,), configuration="paper", epochs=None)
    assert len(fits) == 7 and {call["config"].tails for call in fits} == {"gaussian"}


def test_a_real_fit_without_splits_does_not_grow(labelled_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ablation, "ABLATIONS", {"no splits": {"splits": False}})
    monkeypatch.setattr(ablation, "OWN_ABLATIONS", {})
    sweep = Sweep(data=[labelled_file], out=tmp_path / "a.json", quick=True)
    options = {"configuration": "default", "epochs": None}
    results = ablation.run(sweep, initial_clusters=(3, 10), **options)
    (record,) = results["records"]
    assert record["initial_clusters"] == 3
    assert max(record["clusters_by_epoch"]) <= 3
    assert record["epochs"] <= 4
