"""Metrics against slow loops over matchings and pairs, hand-worked numbers, and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sklearn.metrics

from tfdpm import metrics

PARTITION_SCORES = [metrics.clustering_accuracy, metrics.nmi, metrics.ari, metrics.rand_index]


def random_labels(seed: int, *, num_true: int, num_pred: int, num_points: int = 60):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_true, num_points)
    pred = np.where(rng.random(num_points) < 0.5, true, rng.integers(0, num_pred, num_points))
    return true, pred % num_pred


def slow_accuracy(true, pred) -> float:
    """Best matching by trying all of them: of the smaller side into the larger."""
    rows, columns = sorted(set(true)), sorted(set(pred))
    swap = len(rows) > len(columns)
    if swap:
        true, pred, rows, columns = pred, true, columns, rows
    best = 0
    for chosen in itertools.permutations(columns, len(rows)):
        match = dict(zip(rows, chosen, strict=True))
        best = max(best, sum(match[t] == p for t, p in zip(true, pred, strict=True)))
    return best / len(true)


def slow_nmi(true, pred) -> float:
    """From probabilities of values and pairs of values, in plain Python."""
    n = len(true)

    def entropy(values) -> float:
        shares = [values.count(value) / n for value in set(values)]
        return -sum(share * math.log(share) for share in shares)

    true, pred = list(map(int, true)), list(map(int, pred))
    h_true, h_pred = entropy(true), entropy(pred)
    h_both = entropy(list(zip(true, pred, strict=True)))
    return 2 * (h_true + h_pred - h_both) / (h_true + h_pred)


def slow_silhouette(x, labels) -> float:
    values = []
    for i in range(len(x)):
        means = {}
        for k in set(labels.tolist()):
            others = [j for j in range(len(x)) if labels[j] == k and j != i]
            if others:
                means[k] = np.mean([np.linalg.norm(x[i] - x[j]) for j in others])
        own = means.pop(labels[i].item(), None)
        nearest = min(means.values())
        values.append(0.0 if own is None else (nearest - own) / max(own, nearest))
    return float(np.mean(values))


@pytest.mark.parametrize(("num_true", "num_pred"), [(4, 4), (3, 6), (6, 3), (1, 3), (3, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_the_best_of_all_matchings(num_true, num_pred, seed) -> None:
    true, pred = random_labels(seed, num_true=num_true, num_pred=num_pred)
    assert metrics.clustering_accuracy(true, pred) == pytest.approx(slow_accuracy(true, pred))


@pytest.mark.parametrize(("num_true", "num_pred"), [(4, 4), (3, 6), (6, 3), (1, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_nmi_equals_entropies_counted_in_a_loop(num_true, num_pred, seed) -> None:
    true, pred = random_labels(seed, num_true=num_true, num_pred=num_pred)
    assert metrics.nmi(true, pred) == pytest.approx(slow_nmi(true, pred), abs=1e-12)
    ours, theirs = metrics.nmi(true, pred), sklearn.metrics.normalized_mutual_info_score(true, pred)
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("num_true", "num_pred"), [(4, 4), (3, 6), (1, 3), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_rand_indices_count_pairs(num_true, num_pred, seed) -> None:
    true, pred = random_labels(seed, num_true=num_true, num_pred=num_pred)
    pairs = list(itertools.combinations(range(len(true)), 2))
    agree = [(true[i] == true[j]) == (pred[i] == pred[j]) for i, j in pairs]
    assert metrics.rand_index(true, pred) == pytest.approx(np.mean(agree))
    expected = sklearn.metrics.adjusted_rand_score(true, pred)
    assert metrics.ari(true, pred) == pytest.approx(expected, abs=1e-12)


def test_ari_worked_by_hand() -> None:
    # Tables {2, 0 / 1, 1}: 1 pair together in both; 2 in the rows, 3 in the columns, of 6 pairs.
    expected = (1 - 2 * 3 / 6) / ((2 + 3) / 2 - 2 * 3 / 6)
    assert metrics.ari([0, 0, 1, 1], [5, 5, 5, 7]) == pytest.approx(expected)


def test_ari_of_independent_labels_is_near_zero() -> None:
    rng = np.random.default_rng(0)
    assert abs(metrics.ari(rng.integers(0, 5, 20_000), rng.integers(0, 8, 20_000))) < 1e-3


@pytest.mark.parametrize("score", PARTITION_SCORES)
def test_score_is_one_for_the_same_partition_under_other_names(score) -> None:
    true = [0, 0, 1, 2, 2, 2]
    assert score(true, ["b", "b", "a", "c", "c", "c"]) == pytest.approx(1.0)
    assert score(true, true[:-1] + [0]) < 1.0
    assert score([3, 3, 3], [1, 1, 1]) == 1.0
    assert score([3], [1]) == 1.0


@pytest.mark.parametrize("score", PARTITION_SCORES)
def test_score_is_symmetric(score) -> None:
    true, pred = random_labels(0, num_true=3, num_pred=5)
    assert score(true, pred) == pytest.approx(score(pred, true), abs=1e-12)


@pytest.mark.parametrize("score", PARTITION_SCORES)
@pytest.mark.parametrize(
    ("true", "pred", "name"),
    [
        ([0, 1, 2], [0, 1], "labels_pred"),
        ([], [], "labels_true"),
        ([[0, 1]], [0, 1], "labels_true"),
        ([0, 1], [[0], [1]], "labels_pred"),
    ],
)
def test_score_names_the_argument_of_a_wrong_shape(score, true, pred, name) -> None:
    with pytest.raises(ValueError, match=f"`{name}`: got"):
        score(true, pred)


def test_score_labels_gives_all_three_scores() -> None:
    true, pred = random_labels(1, num_true=4, num_pred=6)
    assert metrics.score_labels(true, pred) == {
        "nmi": metrics.nmi(true, pred),
        "ari": metrics.ari(true, pred),
        "acc": metrics.clustering_accuracy(true, pred),
    }


def test_score_labels_names_the_argument_of_a_wrong_shape() -> None:
    with pytest.raises(ValueError, match="`labels_pred`: got"):
        metrics.score_labels([0, 1, 2], [0, 1])


def test_silhouette_does_not_depend_on_where_the_origin_is() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(200) % 3
    x = rng.normal(size=(200, 2)) + labels[:, np.newaxis]
    assert metrics.silhouette(x + 1e7, labels) == pytest.approx(
        metrics.silhouette(x, labels), abs=1e-6
    )


@pytest.mark.parametrize("num_clusters", [2, 5, 30])
def test_silhouette_equals_the_loop_over_points(num_clusters) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, num_clusters, 60)  # with 30, some clusters have one point only
    x = rng.normal(size=(60, 3)) + labels[:, np.newaxis]
    assert metrics.silhouette(x, labels) == pytest.approx(slow_silhouette(x, labels), abs=1e-12)
    expected = sklearn.metrics.silhouette_score(x, labels)
    assert metrics.silhouette(x, labels) == pytest.approx(expected, abs=1e-12)


def test_silhouette_is_the_same_in_blocks(monkeypatch) -> None:
    x, labels = np.random.default_rng(2).normal(size=(50, 2)), np.arange(50) % 3
    whole = metrics.silhouette(x, labels)
    monkeypatch.setattr(metrics, "_DISTANCES_MIB", 0.003)  # seven rows of distances
    assert metrics.silhouette(x, labels) == pytest.approx(whole, abs=1e-12)


def test_silhouette_of_a_sample_is_close_and_follows_the_seed() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 3000)
    x = rng.normal(size=(3000, 2)) + 3 * labels[:, np.newaxis]
    sampled = metrics.silhouette(x, labels, max_points=1000, seed=1)
    assert sampled == metrics.silhouette(x, labels, max_points=1000, seed=1)
    assert sampled != metrics.silhouette(x, labels, max_points=1000, seed=2)
    assert sampled == pytest.approx(metrics.silhouette(x, labels), abs=0.03)


def test_silhouette_of_one_cluster_is_nan_and_of_single_points_zero() -> None:
    x = np.arange(8.0).reshape(4, 2)
    assert math.isnan(metrics.silhouette(x, [1, 1, 1, 1]))
    assert metrics.silhouette(x, [0, 1, 2, 3]) == 0.0
    assert metrics.silhouette(np.ones((4, 2)), [0, 0, 1, 1]) == 0.0


def test_silhouette_is_positive_for_separated_and_negative_for_swapped_clusters() -> None:
    x = np.array([[0.0], [0.1], [10.0], [10.1]])
    assert metrics.silhouette(x, [0, 0, 1, 1]) == pytest.approx(0.99, abs=0.001)
    assert metrics.silhouette(x, [0, 1, 0, 1]) < -0.4


@pytest.mark.parametrize(
    ("x", "labels", "options", "name"),
    [
        ([1.0, 2.0], [0, 1], {}, "x"),
        ([[1.0], [2.0]], [0, 1, 1], {}, "labels"),
        ([[1.0], [2.0]], [0, 1], {"max_points": 1}, "max_points"),
        ([[1.0], [2.0]], [0, 1], {"seed": -1}, "seed"),
    ],
)
def test_silhouette_names_the_wrong_argument(x, labels, options, name) -> None:
    with pytest.raises(ValueError, match=f"`{name}`: got"):
        metrics.silhouette(x, labels, **options)
