from __future__ import annotations

import numpy as np
import pytest

from tests.reference import niw as reference
from tests.reference.searches import search_settings
from tests.search.test_mixture_search import make_search, standard
from tfdpm.data import gaussian_mixture
from tfdpm.mixture.tails import log_tail_gain
from tfdpm.search.judge import SampleJudge
from tfdpm.search.mixture_search import MixtureSearch


def slow_terms(search, x, labels):
    """`log alpha + log Gamma(N) + log f(X)` and the gain of the tail, of every cluster."""
    prior = [np.asarray(part) for part in search.prior.partition_prior().as_niw()]
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
    actual = SampleJudge(search.evidence, labels.max() + 1, labels, sides).split_ratios()
    np.testing.assert_allclose(actual, halves[::2] + halves[1::2] - wholes, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(actual > 0, np.arange(len(actual)) == 2)


def test_gains_of_merges_are_those_of_the_formula(judged):
    search, x, labels, _ = judged
    wholes = slow_terms(search, x, labels)
    pairs, gains = SampleJudge(search.evidence, labels.max() + 1, labels).merge_ratios()
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
        tuple(pair): gain
        for pair, gain in zip(
            *SampleJudge(search.evidence, count, labels).merge_ratios(), strict=True
        )
    }
    pairs, gains = SampleJudge(search.evidence, count + 1, labels).merge_ratios()
    assert np.isfinite(gains).all()
    shared = [tuple(pair) in expected for pair in pairs]
    assert any(shared)
    wanted = [expected[tuple(pair)] for pair in pairs[shared]]
    np.testing.assert_allclose(gains[shared], wanted)
    assert (pairs[~np.array(shared)] == count).any()


def test_an_empty_or_single_half_is_never_split_off(judged):
    search, x, labels, _ = judged
    sides = np.zeros(len(x), int)
    assert (SampleJudge(search.evidence, 5, labels, sides).split_ratios() == -np.inf).all()
    sides[np.flatnonzero(labels == 0)[0]] = 1
    assert SampleJudge(search.evidence, 5, labels, sides).split_ratios()[0] == -np.inf


def test_a_resumed_search_judges_with_the_scale_of_the_prior(judged):
    search, x, labels, _ = judged
    settings = search_settings(prior_scale=0.5)
    first = MixtureSearch(x, settings, 0)
    first.run(1)
    again = MixtureSearch.resumed(
        x, settings, 0, first.prior.partition_prior(7.0).as_niw(), 5, 7.0 * len(x)
    )
    assert again.prior.scale == pytest.approx(first.prior.scale)
    expected = SampleJudge(first.evidence, 5, labels).merge_ratios()[1]
    np.testing.assert_allclose(SampleJudge(again.evidence, 5, labels).merge_ratios()[1], expected)


def test_overlapping_gaussians_are_not_merged_again():
    rng = np.random.default_rng(0)
    labels = np.arange(900) % 2
    search = make_search(rng.normal(size=(900, 2)) + np.outer(labels, [3.0, 0.0]))
    search.fit_scale_to(np.zeros(900, int))
    labels = search.settle(np.zeros(900, int), search.run(1)[1])[0]
    assert labels.max() == 1
    assert search.score(labels) < search.score(np.zeros(900, int))
    _, gains = SampleJudge(search.evidence, 2, labels).merge_ratios()
    assert (gains < 0).all()
    search = make_search(rng.normal(size=(900, 2)))
    halves = (search.points[:, 0] > 0).astype(int)
    _, gains = SampleJudge(search.evidence, 2, halves).merge_ratios()
    assert (gains > 0).all()
