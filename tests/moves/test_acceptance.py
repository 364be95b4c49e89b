from __future__ import annotations

import numpy as np
import pytest

from tfdpm.moves.acceptance import accept, choose_disjoint


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9])
def test_a_proposal_is_accepted_with_probability_of_its_ratio(ratio):
    uniforms = np.random.default_rng(0).uniform(size=40_000)
    frequency = accept(np.full(40_000, np.log(ratio)), uniforms).mean()
    assert abs(frequency - ratio) < 4 * np.sqrt(ratio * (1 - ratio) / 40_000)


def test_each_proposal_meets_its_own_uniform():
    log_ratios = np.log([0.3, 0.3, 0.6, 0.6])
    accepted = accept(log_ratios, np.array([0.29, 0.31, 0.59, 0.61]))
    np.testing.assert_array_equal(accepted, [True, False, True, False])


def test_ratios_above_one_always_win():
    uniforms = np.random.default_rng(0).uniform(size=100)
    assert accept(np.full(100, 1e-9), uniforms).all()
    assert accept(np.full(100, np.inf), uniforms).all()


def test_uniforms_of_one_accept_only_what_is_better():
    log_ratios = np.array([-np.inf, -1.0, 0.0, 1e-9, np.inf])
    np.testing.assert_array_equal(accept(log_ratios, np.ones(5)), [False, False, False, True, True])


def test_uniforms_of_zero_accept_everything_possible():
    log_ratios = np.array([-np.inf, -1e6, 0.0])
    np.testing.assert_array_equal(accept(log_ratios, np.zeros(3)), [False, True, True])


def test_undefined_ratios_are_refused():
    assert not accept([np.nan], [0.5]).any()


def test_nothing_proposed_is_nothing_accepted():
    assert accept([], []).shape == (0,)


@pytest.mark.parametrize(
    "log_ratios, uniforms, wanted",
    [
        ([0.0, 0.0], [0.5], r"got shape \(1,\), wanted shape \(2,\)"),
        ([0.0], [-0.1], "wanted numbers from 0 to 1"),
        ([0.0], [1.1], "wanted numbers from 0 to 1"),
        ([0.0], [np.nan], "wanted numbers from 0 to 1"),
    ],
)
def test_bad_uniforms_are_named(log_ratios, uniforms, wanted):
    with pytest.raises(ValueError, match="`uniforms`: .*" + wanted):
        accept(log_ratios, uniforms)


def test_disjoint_pairs_are_taken_best_first():
    pairs = np.array([[0, 1], [1, 2], [3, 4], [2, 3]])
    gains = np.array([1.0, 5.0, 2.0, -1.0])
    np.testing.assert_array_equal(choose_disjoint(pairs, gains, gains > 0), [[1, 2], [3, 4]])
    assert choose_disjoint(pairs, gains, np.zeros(len(pairs), bool)).shape == (0, 2)
