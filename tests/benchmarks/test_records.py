"""Scores, measured fits, summaries and files."""

from __future__ import annotations

import json
import time
import warnings

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tfdpm.benchmarks import records
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.config import DeepDPMConfig


def test_noise_counts_against_the_scores_but_is_no_cluster() -> None:
    known = np.array([0, 0, 1, 1])
    assert records.score_clusters(known, np.array([5, 5, 2, 2])) == {
        "nmi": pytest.approx(1),
        "ari": pytest.approx(1),
        "acc": pytest.approx(1),
        "clusters": 2,
    }
    noisy = records.score_clusters(known, np.array([5, 5, 2, -1]))
    assert noisy["clusters"] == 2
    assert noisy["acc"] == pytest.approx(0.75)


def test_the_best_of_several_references_counts_without_its_noise() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 4, 60)
    references = [rng.integers(0, 3, 60), np.where(labels > 1, 2, rng.integers(0, 3, 60))]
    scores = records.score_references(references, labels)
    pairs = []
    for known in references:
        kept = [i for i in range(60) if known[i] != 0]
        pairs.append(([known[i] for i in kept], [labels[i] for i in kept]))
    assert scores["ari"] == pytest.approx(max(adjusted_rand_score(*pair) for pair in pairs))
    wanted = max(normalized_mutual_info_score(*pair) for pair in pairs)
    assert scores["nmi"] == pytest.approx(wanted)
    assert scores["clusters"] == 4
    noise = np.array([1, 1, 2, 2, 0, 0])
    scores = records.score_references([noise], np.array([7, 7, 5, 5, 7, 5]))
    assert (scores["ari"], scores["acc"]) == (1.0, 1.0)


def test_references_and_not_y_alone_are_scored_where_there_are_any() -> None:
    y, other = np.array([1, 1, 2, 3]), np.array([1, 1, 1, 2])
    data = LabelledData("a", np.zeros((4, 1)), y, (y, other))
    record = records.describe_clusters(data, "m", 0, other)
    assert record["ari"] == 1.0
    assert (record["true_clusters"], record["reference_clusters"]) == (3, [3, 2])
    alone = records.describe_clusters(data._replace(references=()), "m", 0, other)
    assert alone["ari"] < 0.5 and "reference_clusters" not in alone


def test_a_block_is_timed_and_its_warnings_are_kept() -> None:
    with records.measure_time() as cost:
        warnings.warn("not converged", RuntimeWarning, stacklevel=1)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
    assert cost["warnings"] == ["RuntimeWarning: not converged"]
    assert cost["cpu_seconds"] >= 0.02 and cost["seconds"] > 0


def test_a_peer_is_given_the_true_k_or_another_one() -> None:
    x = np.repeat(np.arange(4.0), 5)[:, np.newaxis, np.newaxis]
    data = LabelledData("a", x, np.repeat([0, 1], 10))
    record = records.measure_peer(data, 3, peer="kmeans")
    assert (record["data"], record["method"], record["seed"]) == ("a", "kmeans", 3)
    assert (record["acc"], record["clusters"], record["true_clusters"]) == (1.0, 2, 2)
    record = records.measure_peer(data, 3, peer="kmeans", method="m", given_k=4)
    assert (record["method"], record["clusters"]) == ("m", 4)


def test_a_fit_is_called_with_what_is_measured(fits) -> None:
    x = np.array([[-1.0], [1.0], [2.0]])
    data, config = LabelledData("a", x, np.array([0, 1, 1])), DeepDPMConfig()
    record = records.measure_fit(data, 5, config=config, initial_clusters=7)
    (call,) = fits
    assert call["x"] is x
    assert (call["seed"], call["initial_clusters"], call["config"]) == (5, 7, config)
    assert (record["acc"], record["clusters"], record["traces"]) == (1.0, 2, 3)
    assert (record["clusters_by_epoch"], record["initial_clusters"]) == ([1, 2], 7)


def test_summary_groups_by_keys_and_gives_mean_and_deviation() -> None:
    def record(method, value):
        scores = dict.fromkeys(("nmi", "ari", "acc", "clusters", "seconds", "cpu_seconds"), value)
        return {"method": method, **scores}

    rows = records.summarize([record("a", 1.0), record("b", 5.0), record("a", 3.0)], "method")
    assert [row["method"] for row in rows] == ["a", "b"]
    assert rows[0]["nmi"] == {"mean": 2.0, "std": 1.0}
    assert rows[0]["each_clusters"] == [1.0, 3.0]


def test_file_names_versions_and_its_folder_is_made(tmp_path) -> None:
    path = tmp_path / "new" / "a.json"
    records.write_results(path, {"b": [1]})
    written = json.loads(path.read_text())
    assert written["b"] == [1]
    assert written["machine"]["tensorflow"]
