"""Small tables of raw columns: which they are, that each is clustered by every method."""

from __future__ import annotations

from tfdpm.benchmarks.quality import table_scores
from tfdpm.benchmarks.sweep import Sweep


def test_tables_are_those_of_scikit_learn_as_they_are():
    sets = {each.name: each for each in table_scores.load_tables()}
    assert {name: each.x.shape for name, each in sets.items()} == {
        "iris": (150, 4),
        "wine": (178, 13),
        "breast_cancer": (569, 30),
    }
    assert [each.true_k for each in sets.values()] == [3, 3, 2]
    assert sets["wine"].x.max() == 1680.0  # proline, in its own unit


def test_every_table_method_and_seed_is_in_the_results(fits, labelled_file, tmp_path) -> None:
    sweep = Sweep(data=[labelled_file], out=tmp_path / "t.json", seed=1, seeds=2)
    results = table_scores.run(sweep, peers="kmeans")
    names = [(row["data"], row["method"]) for row in results["summary"]]
    sets = ("iris", "wine", "breast_cancer", "mnist_like")
    assert names == [(data, method) for data in sets for method in ("tfdpm", "kmeans")]
    assert [call["seed"] for call in fits] == [1, 2] * 4
    iris = next(row for row in results["summary"] if row["method"] == "kmeans")
    assert abs(iris["ari"]["mean"] - 0.730) < 0.01
