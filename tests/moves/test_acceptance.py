from __future__ import annotations

import numpy as np
import pytest

from tests.moves.test_proposals import GivenNumbers
from tfdpm.moves.proposals import accept, choose_disjoint


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9])
def test_a_proposal_is_accepted_with_probability_of_its_ratio(ratio):
    frequency = accept(np.full(40_000, np.log(ratio)), np.random.default_rng(0)).mean()
    assert abs(frequency - ratio) < 4 * np.sqrt(ratio * (1 - ratio) / 40_000)


def test_each_proposal_meets_its_own_uniform():
    log_ratios = np.log([0.3, 0.3, 0.6, 0.6])
    accepted = accept(log_ratios, GivenNumbers([0.29, 0.31, 0.59, 0.61]))
    np.testing.assert_array_equal(accepted, [True, False, True, False])


def test_ratios_above_one_always_win():
    generator = np.random.default_rng(0)
    assert accept(np.full(100, 1e-9), generator).all()
    assert accept(np.full(100, np.inf), generator).all()


@pytest.mark.parametrize("generator", [None, GivenNumbers(np.ones(5))])
def test_without_chance_only_what_is_better_is_accepted(generator):
    log_ratios = np.array([-np.inf, -1.0, 0.0, 1e-9, np.inf])
    np.testing.assert_array_equal(accept(log_ratios, generator), [False, False, False, True, True])


def test_uniforms_of_zero_accept_everything_possible():
    log_ratios = np.array([-np.inf, -1e6, 0.0])
    np.testing.assert_array_equal(
        accept(log_ratios, GivenNumbers(np.zeros(3))), [False, True, True]
    )


def test_undefined_ratios_are_refused():
    assert not accept([np.nan], GivenNumbers([0.5])).any()
    assert not accept([np.nan]).any()


def test_nothing_proposed_is_nothing_accepted():
    assert accept([], GivenNumbers([])).shape == accept([]).shape == (0,)


def test_disjoint_pairs_are_taken_best_first():
    pairs = np.array([[0, 1], [1, 2], [3, 4], [2, 3]])
    gains = np.array([1.0, 5.0, 2.0, -1.0])
    np.testing.assert_array_equal(choose_disjoint(pairs, gains, gains > 0), [[1, 2], [3, 4]])
    assert choose_disjoint(pairs, gains, np.zeros(len(pairs), bool)).shape == (0, 2)
