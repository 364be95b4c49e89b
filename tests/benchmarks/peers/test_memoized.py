"""Memoised variational inference against closed forms, and the bound that never falls."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, multivariate_normal

from tfdpm.benchmarks.peers.dirichlet_process import log_gaussians, weak_prior
from tfdpm.benchmarks.peers.memoized import log_weights, lower_bound, run_laps, summarize
from tfdpm.data import gaussian_mixture
from tfdpm.mixture import evidence
from tfdpm.mixture.partition import PartitionPrior


def test_log_gaussians_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x, means = rng.normal(size=[5, 3]), rng.normal(size=[2, 3])
    factors = rng.normal(size=[2, 3, 3])
    covariances = factors @ factors.swapaxes(1, 2) + np.eye(3)
    truth = [multivariate_normal(*each).logpdf(x) for each in zip(means, covariances, strict=True)]
    np.testing.assert_allclose(log_gaussians(x, means, covariances), np.transpose(truth))


def test_expected_log_weights_are_integrals_over_sticks() -> None:
    counts, alpha = np.array([4.0, 2.5, 0.5]), 1.5

    def mean(function, k):
        stick = beta(1.0 + counts[k], alpha + counts[k + 1 :].sum())
        return quad(lambda v: stick.pdf(v) * function(v), 0.0, 1.0)[0]

    truth = [
        mean(np.log, k) + sum(mean(lambda v: np.log1p(-v), j) for j in range(k)) for k in range(3)
    ]
    np.testing.assert_allclose(log_weights(counts, alpha), truth, rtol=1e-6)


def test_bound_of_one_component_is_the_evidence_and_the_share_of_the_first_stick() -> None:
    x = np.random.default_rng(1).normal(size=[30, 2])
    prior = weak_prior(x, 2.0)
    summary = summarize(x, np.ones([30, 1]))
    # With v ~ Beta(1, alpha), the probability that all points take the first stick is E v^N.
    stick = quad(lambda v: v**30 * beta(1.0, 2.0).pdf(v), 0.0, 1.0)[0]
    gaussian = evidence.log_evidence(prior.niw_arrays, summary.statistics)[0]
    assert lower_bound(prior, summary) == pytest.approx(gaussian + np.log(stick))


def test_bound_is_a_little_below_the_evidence_that_enumeration_gives() -> None:
    x = np.array([[-2.0], [-1.5], [1.6], [2.1]])
    prior = PartitionPrior(np.eye(1), 3.0, 0.1, 1.0, 1.0)
    # Each partition once: a label is at most one above the largest before it.
    growths = [z for z in itertools.product(*(range(k + 1) for k in range(4)))]
    every = [z for z in growths if all(z[i] <= max(z[:i]) + 1 for i in range(1, 4))]
    terms = [prior.terms(summarize(x, np.eye(max(z) + 1)[list(z)]).statistics).sum() for z in every]
    truth = np.logaddexp.reduce(terms) - math.lgamma(1.0 + 4.0) + math.lgamma(1.0)
    *_, last = run_laps(x, prior, 0)
    assert len(every) == 15
    assert truth - 2.5 < last.bound < truth


def test_bound_rises_while_components_are_born_and_merged() -> None:
    x, y = gaussian_mixture(6, 3, 600, separation=6.0, seed=2)
    x = np.asarray(x, np.float64) - x.mean(axis=0)
    laps = list(run_laps(x, weak_prior(x, 1.0), 0))
    bounds = [lap.bound for lap in laps]
    assert min(np.diff(bounds)) > -1e-6 * abs(bounds[-1])
    shares = laps[-1].responsibilities
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-9)
    assert shares.shape[1] == 6
    known = np.eye(6)[y]
    known = known[:, np.argsort(-known.sum(axis=0))]
    truth = lower_bound(weak_prior(x, 1.0), summarize(x, known))
    assert bounds[-1] > truth - 1e-6
