"""Words against a slow loop, shares of variance against an analysis of variance."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from tfdpm.report import traits


def test_words_are_ranked_by_class_wise_tf_idf() -> None:
    texts = ["red apple apple", "red pear apple", "blue sea", "red sea ship", "ship ship blue"]
    labels = np.array([0, 0, 2, 2, 2])
    found = traits.typical_words(texts, labels, 3, 2)
    words = {k: " ".join(np.array(texts)[labels == k]).split() for k in range(3)}
    everything = sum(words.values(), [])

    def score(k, word):
        rarity = np.log(1 + len(everything) / 3 / everything.count(word))
        return words[k].count(word) / max(len(words[k]), 1) * rarity

    for k in (0, 2):
        ranked = sorted((score(k, word) for word in set(words[k])), reverse=True)
        assert [score(k, word) for word in found[k]] == ranked[:2]  # words may tie
    assert found[1] == []
    assert traits.typical_words(["1", "!?"], np.array([0, 1]), 2, 3) == [[], []]


def test_explained_variance_is_that_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    values = rng.normal(size=(200, 4)) + labels[:, np.newaxis] * [0.0, 0.3, 2.0, 0.0]
    values[:, 3] = 5.0
    shares = traits.explained_variance(values, labels)
    for column in range(3):
        f = scipy.stats.f_oneway(*(values[labels == k, column] for k in range(3))).statistic
        share = shares[column]
        assert (share / 2) / ((1 - share) / (200 - 3)) == pytest.approx(f)
    assert shares[3] == 0.0


def test_columns_far_from_the_mean_of_all_describe_a_cluster() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 50)
    values = rng.normal(size=(100, 3)) + np.outer(labels, [0.0, 20.0, -5.0])
    means, spreads = traits.cluster_moments(values, labels, 3)
    np.testing.assert_allclose(means[1], values[50:].mean(axis=0))
    np.testing.assert_allclose(spreads[0], values[:50].std(axis=0))
    assert np.isnan(means[2]).all()
    assert (traits.cluster_moments(np.full((100, 1), 18.1), labels, 2)[1] == 0.0).all()
    found = traits.typical_columns(values, labels, means, ["a", "b", "c"], 3)
    assert [text.split()[0] for text in found[1]] == ["b", "c"]
    assert found[1][0].startswith(f"b {traits.number(means[1, 1])}, all ")
    assert found[2] == []


def test_numbers_have_no_exponent() -> None:
    assert [traits.number(value) for value in (1110.4, 0.012345, -2.5, 3.0)] == [
        "1110",
        "0.0123",
        "-2.5",
        "3",
    ]
