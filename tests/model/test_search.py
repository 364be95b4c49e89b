from __future__ import annotations

import numpy as np
import pytest

from tests.reference import niw as reference
from tfdpm import metrics
from tfdpm.data import gaussian_mixture
from tfdpm.mixture.tails import log_tail_gain
from tfdpm.model.search import MixtureSearch, SearchSettings, disjoint_best

SETTINGS = dict(
    splits=True,
    merges=True,
    dp_concentration=10.0,
    mean_precision=1e-4,
    df=4.0,
    scale_factor=1.0,
    num_neighbours=3,
    weight_concentration=1.0,
)


def standard(x):
    x = x.astype(np.float64) - x.mean(axis=0)
    return x / np.sqrt(x.var(axis=0).mean())


def make_search(x, seed=0, **changes):
    settings = {**SETTINGS, "df": x.shape[1] + 2.0, **changes}
    return MixtureSearch(standard(x), SearchSettings(**settings), seed)


@pytest.mark.parametrize(
    ("num_components", "dim", "imbalance", "seed"),
    [(1, 2, 1, 0), (3, 2, 1, 1), (3, 5, 20, 2), (8, 2, 1, 3), (15, 3, 20, 4), (20, 8, 1, 5)],
)
def test_separated_mixtures_are_found_exactly(num_components, dim, imbalance, seed):
    x, y = gaussian_mixture(num_components, dim, 1500, imbalance=imbalance, seed=seed)
    labels, parameters = make_search(x).run(1)
    assert parameters.num_components == num_components
    assert len(np.unique(labels)) == num_components
    assert metrics.ari(y, labels) > 0.99
    np.testing.assert_allclose(np.sum(parameters.mixture_weights), 1.0)


@pytest.mark.parametrize("initial_clusters", [1, 5, 30])
def test_the_first_number_of_clusters_does_not_matter(initial_clusters):
    x, y = gaussian_mixture(5, 2, 800, seed=7)
    labels, _ = make_search(x).run(initial_clusters)
    assert metrics.ari(y, labels) > 0.99 and labels.max() == 4


def test_the_same_seed_finds_the_same_partition():
    x, _ = gaussian_mixture(8, 2, 800, separation=1.5, seed=7)
    first, second = (make_search(x, seed=3).run(4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_grid_is_found_although_no_single_cut_gains():
    rng = np.random.default_rng(0)
    centres = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2) * 10.0
    x = np.repeat(centres, 40, axis=0) + rng.normal(size=(1000, 2))
    labels, _ = make_search(x).run(1)
    assert metrics.ari(np.repeat(np.arange(25), 40), labels) > 0.99


def test_without_splits_and_merges_the_number_stays():
    x, _ = gaussian_mixture(5, 2, 600, seed=7)
    assert make_search(x, splits=False).run(2)[1].num_components <= 2
    assert make_search(x, merges=False).run(9)[1].num_components >= 5
    assert make_search(x, splits=False, merges=False).run(3)[1].num_components == 3


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_points_is_survived(count):
    points = np.random.default_rng(0).normal(size=(count, 3))
    labels, parameters = MixtureSearch(
        points - points.mean(axis=0), SearchSettings(**{**SETTINGS, "df": 5.0}), 0
    ).run(1)
    assert len(labels) == count and np.isfinite(parameters.covariances).all()


def slow_terms(search, x, labels):
    """`log alpha + log Gamma(N) + log f(X)` and the gain of the tail, of every cluster."""
    prior = [np.asarray(part) for part in search.prior()]
    terms = []
    for k in range(labels.max() + 1):
        rows = x[labels == k]
        evidence = reference.log_evidence_closed_form(prior, rows)
        factorial = sum(np.log(np.arange(1, len(rows))))
        offsets = rows - rows.mean(axis=0)
        precision = np.linalg.inv(np.cov(rows.T, bias=True))
        distances = np.einsum("nd,de,ne->n", offsets, precision, offsets)
        tail = log_tail_gain(distances, np.zeros(len(rows), int), 1, x.shape[1])[0]
        terms.append(np.log(10.0) + factorial + evidence + tail)
    return np.array(terms)


@pytest.fixture(scope="module")
def judged():
    """A search and a partition of six clusters in which some moves gain and others do not."""
    x, y = gaussian_mixture(5, 2, 600, seed=3)
    y = np.where((y == 4) & (x[:, 0] > np.median(x[y == 4, 0])), 5, y)  # one blob halved
    y = np.where(y == 3, 2, y)  # and two as one
    labels = np.unique(y, return_inverse=True)[1]
    return make_search(x), standard(x), labels, gaussian_mixture(5, 2, 600, seed=3)[1]


def test_gains_of_splits_are_those_of_the_formula(judged):
    search, x, labels, truth = judged
    sides = (truth == 3).astype(int)
    sides = np.where(labels == 2, sides, np.arange(len(x)) % 2)
    wholes = slow_terms(search, x, labels)
    halves = slow_terms(search, x, 2 * labels + sides)
    actual = search.judge_splits(labels, sides, labels.max() + 1)
    np.testing.assert_allclose(actual, halves[::2] + halves[1::2] - wholes, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(actual > 0, np.arange(len(actual)) == 2)


def test_gains_of_merges_are_those_of_the_formula(judged):
    search, x, labels, _ = judged
    wholes = slow_terms(search, x, labels)
    pairs, gains = search.judge_merges(labels, labels.max() + 1)
    halved = sorted({3, 4})
    for pair, gain in zip(pairs, gains, strict=True):
        union = np.where(np.isin(labels, pair), 1, 0)
        expected = slow_terms(search, x, union)[1] - wholes[pair].sum()
        if gain > -3.0 * (union == 1).sum():  # further ones do without their tails
            np.testing.assert_allclose(gain, expected, rtol=1e-4, atol=1e-3)
        assert (gain > 0) == (sorted(pair) == halved)


def test_a_cluster_without_points_is_judged_like_any_other(judged):
    search, x, labels, _ = judged
    count = int(labels.max()) + 1
    expected = {
        tuple(pair): gain for pair, gain in zip(*search.judge_merges(labels, count), strict=True)
    }
    pairs, gains = search.judge_merges(labels, count + 1)
    assert np.isfinite(gains).all()
    shared = [tuple(pair) in expected for pair in pairs]
    assert any(shared)
    wanted = [expected[tuple(pair)] for pair in pairs[shared]]
    np.testing.assert_allclose(gains[shared], wanted)
    assert (pairs[~np.array(shared)] == count).any()


def test_an_empty_or_single_half_is_never_split_off(judged):
    search, x, labels, _ = judged
    sides = np.zeros(len(x), int)
    assert (search.judge_splits(labels, sides, 5) == -np.inf).all()
    sides[np.flatnonzero(labels == 0)[0]] = 1
    assert search.judge_splits(labels, sides, 5)[0] == -np.inf


def test_disjoint_pairs_are_taken_best_first():
    pairs = np.array([[0, 1], [1, 2], [3, 4], [2, 3]])
    gains = np.array([1.0, 5.0, 2.0, -1.0])
    np.testing.assert_array_equal(disjoint_best(pairs, gains), [[1, 2], [3, 4]])
    assert disjoint_best(pairs, -np.abs(gains)).shape == (0, 2)


def test_a_resumed_search_judges_with_the_scale_of_the_prior(judged):
    search, x, labels, _ = judged
    settings = SearchSettings(**{**SETTINGS, "scale_factor": 0.5})
    first = MixtureSearch(x, settings, 0)
    first.run(1)
    again = MixtureSearch.resumed(x, settings, 0, first.prior(7.0), 5, 7.0 * len(x))
    assert again.scale == pytest.approx(first.scale)
    expected = first.judge_merges(labels, 5)[1]
    np.testing.assert_allclose(again.judge_merges(labels, 5)[1], expected)


def test_a_scale_that_is_given_is_kept():
    x, _ = gaussian_mixture(3, 2, 300, seed=3)
    search = make_search(x, fixed_scale=np.diag([0.02, 0.05]))
    search.run(1)
    np.testing.assert_allclose(search.prior().scale, np.diag([0.02, 0.05]))
