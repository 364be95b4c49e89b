"""The study of rules for the prior."""

from __future__ import annotations

import json

from tfdpm.benchmarks.quality import prior_rules
from tfdpm.benchmarks.sweep import Sweep


def test_every_rule_is_fitted_to_every_data_set_and_seed(fits, labelled_file, tmp_path) -> None:
    out = tmp_path / "p.json"
    results = prior_rules.run(Sweep(data=[labelled_file], out=out, seeds=2))
    assert len(fits) == 2 * len(prior_rules.RULES)
    assert {call["config"].prior_scale for call in fits} == {0.25, 0.5, 1.0, 2.0, 4.0, 0.3, 0.005}
    assert [row["method"] for row in results["summary"]] == list(prior_rules.RULES)
    assert json.loads(out.read_text())["summary"] == results["summary"]


def test_a_trial_fits_two_rules(labelled_file, tmp_path) -> None:
    sweep = Sweep(data=[labelled_file], out=tmp_path / "p.json", quick=True)
    results = prior_rules.run(sweep)
    assert [record["method"] for record in results["records"]] == ["automatic", "0.3 v I"]
    assert all(record["clusters"] >= 1 for record in results["records"])
