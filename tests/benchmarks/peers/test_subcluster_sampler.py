"""The chain of the sub-cluster sampler against the posterior that enumeration gives."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest

from tests.reference import niw as reference
from tfdpm.benchmarks.peers.subcluster_sampler import (
    _split_subclusters,
    draw_gaussians,
    log_joint,
    sample_partitions,
)
from tfdpm.data import gaussian_mixture
from tfdpm.metrics import ari
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics

FOUR = np.array([[-1.1], [-0.8], [0.7], [1.2]])
PRIOR = PartitionPrior(0.5 * np.eye(1), 4.0, 0.3, 1.0, 1.0)


def in_order(labels) -> tuple[int, ...]:
    """Labels renamed in the order in which they appear."""
    names: dict[int, int] = {}
    return tuple(names.setdefault(int(label), len(names)) for label in labels)


def test_without_subclusters_the_chain_has_the_posterior_over_partitions() -> None:
    every = sorted({in_order(z) for z in itertools.product(range(4), repeat=4)})
    logs = np.array([log_joint(FOUR, np.array(z), PRIOR) for z in every])
    truth = np.exp(logs - np.logaddexp.reduce(logs))
    sweeps = 600
    chain = sample_partitions(FOUR, PRIOR, 0, sweeps=sweeps, subclusters=False)
    visits = Counter(in_order(labels) for labels in chain)
    shares = np.array([visits[z] for z in every]) / sweeps
    assert len(every) == 15 and truth.max() < 0.5
    # Independent draws are 0.04 away on average.
    assert 0.5 * np.abs(shares - truth).sum() < 0.09


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_subclusters_become_clusters_at_the_printed_ratio(alpha: float) -> None:
    # [DeepDPM] eq. 2: H = alpha Gamma(N_l) f(l) Gamma(N_r) f(r) / (Gamma(N) f(l, r)).
    own = (np.zeros(1), PRIOR.mean_precision, PRIOR.df, PRIOR.scale)
    prior = dataclasses.replace(PRIOR, dp_concentration=alpha)
    x, sides = np.array([[-0.5], [-0.2], [-0.4], [0.2], [0.3]]), np.array([0, 0, 0, 1, 1])
    left, right, whole = (reference.log_evidence(own, part) for part in (x[:3], x[3:], x))
    ratio = alpha * np.exp(left + right - whole) * math.gamma(3) * math.gamma(2) / math.gamma(5)
    rng, tries = np.random.default_rng(0), 1500
    splits = 0
    for _ in range(tries):
        labels = np.zeros(5, np.int64)
        ages = _split_subclusters(x, labels, sides.copy(), np.array([20]), prior, rng, 15)
        splits += len(ages) == 2
        assert len(ages) == len(np.unique(labels))
    assert 0.02 < ratio < 0.98
    deviation = np.sqrt(ratio * (1.0 - ratio) / tries)
    assert abs(splits / tries - ratio) < 4.0 * deviation
    young = _split_subclusters(x, labels * 0, sides.copy(), np.array([14]), prior, rng, 15)
    assert len(young) == 1


def test_drawn_gaussians_have_the_means_of_their_posterior() -> None:
    x = np.random.default_rng(2).normal(size=[6, 2])
    prior = PartitionPrior(np.array([[2.0, 0.5], [0.5, 1.0]]), 6.0, 0.5, 1.0, 1.0)
    repeated = SufficientStatistics(
        np.full(20_000, 6.0), np.tile(x.sum(axis=0), [20_000, 1]), np.tile(x.T @ x, [20_000, 1, 1])
    )
    means, covariances = draw_gaussians(prior, repeated, np.random.default_rng(0))
    centre = x.sum(axis=0) / 6.5
    scale = prior.scale + x.T @ x - 6.5 * np.outer(centre, centre)
    np.testing.assert_allclose(means.mean(axis=0), centre, atol=0.02)
    np.testing.assert_allclose(covariances.mean(axis=0), scale / (12.0 - 2.0 - 1.0), atol=0.03)
    np.testing.assert_allclose(np.cov(means.T), scale / 9.0 / 6.5, atol=0.01)


def test_subclusters_find_far_clusters_from_one() -> None:
    x, y = gaussian_mixture(4, 2, 200, separation=8.0, seed=3)
    x = np.asarray(x, np.float64) - x.mean(axis=0)
    prior = PartitionPrior(0.1 * np.eye(2), 4.0, 1e-4, 10.0, 1.0)
    chain = [labels.copy() for labels in sample_partitions(x, prior, 0, sweeps=60, burn_out=5)]
    labels = max(chain, key=lambda z: log_joint(x, z, prior))
    assert labels.max() + 1 == len(np.unique(labels)) == 4
    assert ari(y, labels) > 0.99


def test_the_joint_density_of_one_cluster_each_is_the_product_of_single_evidences() -> None:
    # A single point's evidence is a Student t density; alpha^K and Gamma(1) are the rest.
    from scipy.stats import t

    scale = np.sqrt(0.5 * (0.3 + 1.0) / (0.3 * 4.0))
    truth = t(df=4.0, scale=scale).logpdf(FOUR[:, 0]).sum()
    assert log_joint(FOUR, np.arange(4), PRIOR) == pytest.approx(truth)
