from __future__ import annotations

import numpy as np

from tests.search.test_mixture_search import make_search
from tfdpm.data import gaussian_mixture
from tfdpm.interpret import stability
from tfdpm.interpret.stability import chain


def test_chains_find_back_to_clusters_that_stand_apart():
    x, _ = gaussian_mixture(4, 2, 800, seed=1)
    search = make_search(x)
    labels, _ = search.run(1)
    mixtures = [chain(search, labels, seed) for seed in range(3)]
    assert [mixture.num_components for mixture in mixtures] == [4, 4, 4]
    shares = np.sort(np.bincount(labels) / len(labels))
    for mixture in mixtures:
        np.testing.assert_allclose(np.sort(mixture.mixture_weights), shares, atol=0.02)


def test_a_chain_leaves_its_search_as_it_was():
    x, _ = gaussian_mixture(4, 2, 800, seed=1)
    search = make_search(x)
    labels, _ = search.run(1)
    before = search.prior.scale, search.moves, len(search.trace)
    chain(search, labels, 0)
    assert (search.prior.scale, search.moves, len(search.trace)) == before


def test_disturbing_cuts_some_clusters_through_their_means_and_leaves_the_others():
    x, y = gaussian_mixture(6, 2, 1200, seed=2)
    sample = make_search(x).sample
    disturbed = stability._disturbed(sample, y, np.random.default_rng(0))
    assert (disturbed[disturbed < 6] == y[disturbed < 6]).all()
    is_cut = np.unique(y[disturbed >= 6])
    assert 0 < len(is_cut) < 6
    for k in is_cut:
        share = np.mean(disturbed[y == k] >= 6)
        assert 0.3 < share < 0.7
        assert (disturbed[(y == k) & (disturbed >= 6)] == 6 + k).all()
