from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special, stats

from tests.search.test_mixture_search import make_search
from tfdpm import metrics
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search import splits as many_way
from tfdpm.search.partitions import make_partition
from tfdpm.search.splits import overlap_gain, split_many_ways, split_overlapping

NUM_PARTS = 6


def layouts_of_blobs(seed=0):
    """Two layouts of four blobs, and a lone blob; points, blobs, and layouts that they are in."""
    rng = np.random.default_rng(seed)
    corners = 15.0 * np.concatenate([np.zeros((1, 3)), np.eye(3)])
    centres = np.concatenate([corners, corners + 60.0, [[-60.0, 30.0, 0.0]]])
    blobs = np.repeat(np.arange(9), 100)
    order = rng.permutation(len(blobs))
    x = centres[blobs] + rng.normal(size=(len(blobs), 3))
    return x[order], blobs[order], (blobs // 4)[order]


@pytest.mark.parametrize("most_elements", [many_way._MOST_ELEMENTS, 1])
def test_all_layouts_fall_into_their_blobs_and_a_blob_stays_whole(monkeypatch, most_elements):
    monkeypatch.setattr(many_way, "_MOST_ELEMENTS", most_elements)
    x, blobs, layouts = layouts_of_blobs()
    search = make_search(x)
    search.fit_scale_to(blobs)
    partition = make_partition(search.evidence, layouts)
    labels, accepted = split_many_ways(search.evidence, partition, np.random.default_rng(0))
    assert accepted == 2
    np.testing.assert_array_equal(np.unique(labels), np.arange(9))
    assert metrics.ari(blobs, labels) > 0.999
    np.testing.assert_array_equal(labels == 2, layouts == 2)


def test_clusters_of_too_few_points_are_left_alone():
    x, blobs, layouts = layouts_of_blobs()
    search = make_search(x)
    partition = make_partition(search.evidence, blobs)
    labels, accepted = split_many_ways(
        search.evidence, partition, np.random.default_rng(0), max_parts=51
    )
    assert accepted == 0
    np.testing.assert_array_equal(labels, blobs)


def slow_join(search, points, parts):
    """The same greedy joining, of sets of points."""
    parts = {k: points[parts == k] for k in range(NUM_PARTS) if (parts == k).any()}
    pieces = {k: [k] for k in parts}

    def term(rows):
        one = np.ones(len(rows))
        statistics = SufficientStatistics(
            one.sum()[None], rows.sum(axis=0)[None], (rows.T @ rows)[None]
        )
        return search.evidence.terms(statistics)[0]

    while len(parts) > 1:
        gains = {
            (a, b): term(np.concatenate([parts[a], parts[b]])) - term(parts[a]) - term(parts[b])
            for a, b in itertools.combinations(sorted(parts), 2)
        }
        (a, b), gain = max(gains.items(), key=lambda item: item[1])
        if gain <= 0:
            break
        parts[a] = np.concatenate([parts[a], parts.pop(b)])
        pieces[a] += pieces.pop(b)
    return pieces, {k: term(rows) for k, rows in parts.items()}


def test_parts_are_joined_as_one_pair_after_another_would_be():
    x, _, layouts = layouts_of_blobs(1)
    search = make_search(x)
    points = search.points
    rng = np.random.default_rng(2)
    # Cuts across and along blobs; part 4 of the second cluster is empty.
    cuts = (points @ rng.normal(size=3) > 0) + 2 * (points[:, 1] > np.median(points[:, 1]))
    parts = cuts + 2 * (rng.uniform(size=len(points)) < 0.2)
    parts[(layouts == 1) & (parts == 4)] = 5
    statistics = search.sample.hard_statistics(NUM_PARTS * layouts + parts, 3 * NUM_PARTS)
    stacked = SufficientStatistics(
        *(part.reshape(3, NUM_PARTS, *part.shape[1:]) for part in statistics)
    )
    target, terms = many_way._join_parts(search.evidence, stacked)
    num_joined = 0
    for group in range(3):
        pieces, expected = slow_join(search, points[layouts == group], parts[layouts == group])
        num_joined += NUM_PARTS - len(pieces)
        for kept, members in pieces.items():
            assert (target[group, members] == kept).all()
            np.testing.assert_allclose(terms[group, kept], expected[kept], rtol=1e-8)
    assert num_joined > 3


def gain_of_two(x, sides):
    search = make_search(x)
    search.fit_scale_to(np.zeros(len(x), int))
    return overlap_gain(search.evidence, np.arange(len(x)), sides)


def slow_gain_of_two(search, x, sides):
    """The variational bound of two Gaussians less the evidence of one, by plain EM."""
    prior = search.prior.partition_prior()

    def statistics(shares):
        outer = np.einsum("nk,nd,ne->kde", shares, x, x)
        return SufficientStatistics(shares.sum(axis=0), shares.T @ x, outer)

    shares = np.eye(2)[sides]
    for _ in range(300):
        weights, means, covariances = prior.map_mixture(statistics(shares))
        logs = [
            np.log(weight) + stats.multivariate_normal(mean, covariance).logpdf(x)
            for weight, mean, covariance in zip(weights, means, covariances, strict=True)
        ]
        shares = special.softmax(np.stack(logs, axis=1), axis=1)
    bound = prior.terms(statistics(shares)).sum() + stats.entropy(shares, axis=1).sum()
    return bound - prior.terms(statistics(np.ones((len(x), 1))))[0]


def test_overlapping_gaussians_gain_by_shared_responsibility():
    rng = np.random.default_rng(0)
    truth = np.arange(900) % 2
    x = rng.normal(size=(900, 2)) + np.outer(truth, [3.0, 0.0])
    search = make_search(x)
    search.fit_scale_to(np.zeros(900, int))
    gain, sides = overlap_gain(search.evidence, np.arange(900), truth)
    wanted = slow_gain_of_two(search, search.points, truth)
    assert gain == pytest.approx(wanted, rel=0.1) and gain > 5.0
    assert metrics.clustering_accuracy(truth, sides) > 0.9
    # Each point counted for one of them, they have less evidence than one.
    assert search.score(truth) < search.score(np.zeros(900, int))
    partition = make_partition(search.evidence, np.zeros(900, int))
    labels, accepted = split_overlapping(search.evidence, partition)
    assert accepted == 1 and metrics.clustering_accuracy(truth, labels) > 0.9


@pytest.mark.parametrize("draw", ["normal", "uniform", "standard_t"])
@pytest.mark.parametrize("seed", range(3))
def test_one_cloud_gains_nothing_by_a_second_gaussian(draw, seed):
    rng = np.random.default_rng(seed)
    arguments = (3,) if draw == "standard_t" else ()
    x = getattr(rng, draw)(*arguments, size=(900, 2))
    assert gain_of_two(x, (x[:, 0] > np.median(x[:, 0])).astype(int))[0] <= 0
    assert gain_of_two(x, np.eye(900, dtype=int)[0])[0] == -np.inf


def test_few_steps_tell_that_one_gaussian_is_not_two(monkeypatch):
    steps, real = [], many_way.run_em

    def count(sample, prior, parameters, iterations, tolerance):
        steps.append(iterations)
        return real(sample, prior, parameters, iterations, tolerance)

    monkeypatch.setattr(many_way, "run_em", count)
    x = np.random.default_rng(0).normal(size=(1000, 8))
    assert gain_of_two(x, (x[:, 0] > 0).astype(int))[0] < 0
    assert 0 < sum(steps) <= 10
