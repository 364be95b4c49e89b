from __future__ import annotations

import numpy as np
import pytest

import tfdpm
from tfdpm.interpret.stability import Chain, co_assignment, k_posterior


@pytest.fixture(scope="module")
def separated():
    x, _ = tfdpm.data.gaussian_mixture(4, 2, 600, seed=0)
    return x, tfdpm.fit(x, verbose=0)


@pytest.mark.parametrize("seed", range(3))
def test_co_assignment_is_the_jaccard_index_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    labels, others = rng.integers(4, size=40), rng.integers(6, size=40)
    expected = []
    for index in range(40):
        mine = {i for i in range(40) if labels[i] == labels[index]}
        theirs = {i for i in range(40) if others[i] == others[index]}
        expected.append(len(mine & theirs) / len(mine | theirs))
    np.testing.assert_allclose(co_assignment(labels, others), expected)


def test_relabelling_changes_no_co_assignment():
    labels = np.array([0, 0, 1, 1, 2])
    np.testing.assert_array_equal(co_assignment(labels, 2 - labels), np.ones(5))


def test_chains_that_agree_leave_no_doubt_about_k(separated):
    x, model = separated
    result = model.stability(x, num_chains=2)
    assert result.k_posterior == {4: 1.0}
    assert result.scores.shape == (600,)
    assert result.scores.min() > 0.95


def test_points_between_two_clusters_are_less_stable():
    rng = np.random.default_rng(0)
    left, right = rng.normal(-1.6, 1.0, [400, 1]), rng.normal(1.6, 1.0, [400, 1])
    x = np.concatenate([left, right])
    model = tfdpm.fit(x, verbose=0, epochs=2, config=tfdpm.DeepDPMConfig(prior_scale=0.1))
    assert model.n_clusters == 2
    scores = model.stability(x, num_chains=4, seed=1).scores
    between, inside = np.abs(x[:, 0]) < 0.3, np.abs(x[:, 0]) > 2.0
    assert scores[between].mean() < scores[inside].mean() - 0.01


def test_shares_of_k_sum_to_one_in_order():
    clusters = [np.array([0, 1, 2, 0]), np.arange(2), np.arange(3), np.array([0, 1, 2])]
    shares = k_posterior([Chain(None, each) for each in clusters])
    assert list(shares.items()) == [(2, 0.25), (3, 0.75)]


def test_the_posterior_of_k_needs_the_points_of_the_fit(separated, tmp_path):
    import keras

    _, model = separated
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(AttributeError, match="stability"):
        _ = loaded.k_posterior_


def test_the_number_of_chains_is_checked(separated):
    x, model = separated
    with pytest.raises(ValueError, match="`num_chains`"):
        model.stability(x, num_chains=0)
