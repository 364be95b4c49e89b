"""Final K from several initial K."""

from __future__ import annotations

import json

from tfdpm.benchmarks.quality import initial_clusters
from tfdpm.benchmarks.sweep import Sweep


def test_every_initial_k_is_fitted_and_the_range_is_told(fits, labelled_file, tmp_path) -> None:
    out = tmp_path / "r.json"
    sweep = Sweep(data=[labelled_file], out=out, seed=2, max_points=90)
    results = initial_clusters.run(sweep, initial_clusters=(1, 9), configuration="paper", epochs=50)
    assert [call["initial_clusters"] for call in fits] == [1, 9]
    assert {call["seed"] for call in fits} == {2}
    assert {len(call["x"]) for call in fits} == {90}
    assert fits[0]["config"].start == "kmeans"
    assert fits[0]["config"].epochs == 50
    assert fits[0]["config"].move_interval_epochs == 3  # 30 of 500
    assert results["summary"] == [{"data": "mnist_like", "seed": 2, "fewest": 2, "most": 2}]
    assert json.loads(out.read_text())["records"][1]["initial_clusters"] == 9
