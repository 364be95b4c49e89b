"""Scores, summaries, tables and files."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from tfdpm.benchmarks import records
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.config import DeepDPMConfig


def test_noise_counts_against_the_scores_but_is_no_cluster() -> None:
    known = np.array([0, 0, 1, 1])
    assert records.scores(known, np.array([5, 5, 2, 2])) == {
        "nmi": pytest.approx(1),
        "ari": pytest.approx(1),
        "acc": pytest.approx(1),
        "clusters": 2,
    }
    noisy = records.scores(known, np.array([5, 5, 2, -1]))
    assert noisy["clusters"] == 2
    assert noisy["acc"] == pytest.approx(0.75)


def test_warnings_of_a_method_are_kept_with_its_record() -> None:
    data = LabelledData("a", np.zeros((2, 1)), np.array([0, 1]))

    def cluster():
        warnings.warn("not converged", RuntimeWarning, stacklevel=1)
        return data.y

    record = records.measured(data, "m", 3, cluster)
    assert record["warnings"] == ["RuntimeWarning: not converged"]
    assert (record["data"], record["method"], record["seed"]) == ("a", "m", 3)
    assert record["seconds"] >= 0 and record["true_clusters"] == 2


def test_a_fit_is_called_with_what_is_measured(fits) -> None:
    x = np.array([[-1.0], [1.0], [2.0]])
    data, config = LabelledData("a", x, np.array([0, 1, 1])), DeepDPMConfig()
    record = records.fit_record(data, 5, config=config, initial_clusters=7)
    (call,) = fits
    assert call["x"] is x
    assert (call["seed"], call["initial_clusters"], call["config"]) == (5, 7, config)
    assert (record["acc"], record["clusters"], record["traces"]) == (1.0, 2, 3)
    assert record["clusters_by_epoch"] == [1, 2]


def test_summary_groups_by_keys_and_gives_mean_and_deviation() -> None:
    def record(method, value):
        scores = dict.fromkeys(("nmi", "ari", "acc", "clusters", "seconds", "cpu_seconds"), value)
        return {"method": method, **scores}

    rows = records.summarised([record("a", 1.0), record("b", 5.0), record("a", 3.0)], "method")
    assert [row["method"] for row in rows] == ["a", "b"]
    assert rows[0]["nmi"] == {"mean": 2.0, "std": 1.0}
    assert rows[0]["each_clusters"] == [1.0, 3.0]
    assert records.spread(rows[0]["nmi"], 1) == "2.0 ± 1.0"


def test_file_names_versions_and_its_folder_is_made(tmp_path) -> None:
    path = tmp_path / "new" / "a.json"
    records.write(path, {"b": [1]})
    written = json.loads(path.read_text())
    assert written["b"] == [1]
    assert written["machine"]["tensorflow"]


def test_table_is_printed_whole_where_there_is_no_terminal(capsys) -> None:
    records.show("T", ["name"] * 8, [["a-long-value-here", *[1234.5678] * 7]])
    printed = capsys.readouterr().out
    assert "a-long-value-here" in printed
    assert printed.count("1.23e+03") == 7
