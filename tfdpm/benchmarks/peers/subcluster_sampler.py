"""The sub-cluster sampler of Dirichlet-process Gaussian mixtures.

It is that of [Chang and Fisher 2013]. The tables of [DeepDPM] call it DPM sampler, and compare with
the implementation of [Dinari et al. 2019].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import gammaln, softmax

from tfdpm.benchmarks.peers.dirichlet_process import log_gaussians, weak_prior
from tfdpm.mixture import evidence
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics

# Settings of [Dinari et al. 2019].
_CONCENTRATION = 10.0
_SWEEPS = 100
_BURN_OUT = 15  # sweeps that subclusters of a cluster have run before they may become clusters
_BLOCKS = 32  # of points whose labels are drawn at once
# Random moves in a sweep: a number that depended on K would favour some partitions.
_RANDOM_MOVES = 20


def sample_best(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs 100 sweeps from one cluster, with alpha 10 and 15 sweeps before a cluster may split.

    Those are the settings of [Dinari et al. 2019]. The partition with the highest joint density of
    all sweeps is returned.
    """
    del num_clusters
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=0)
    prior = weak_prior(x, _CONCENTRATION)
    partitions = sample_partitions(x, prior, seed, sweeps=_SWEEPS)
    return max((labels.copy() for labels in partitions), key=lambda z: log_joint(x, z, prior))


def log_joint(x: np.ndarray, labels: np.ndarray, prior: PartitionPrior) -> float:
    """Returns `log p(X, z)` up to a constant that depends on the number of points alone."""
    return float(prior.terms(_count(x, labels, labels.max() + 1)).sum())


def sample_partitions(
    x: np.ndarray,
    prior: PartitionPrior,
    seed: int,
    *,
    sweeps: int,
    subclusters: bool = True,
    burn_out: int = _BURN_OUT,
) -> Iterator[np.ndarray]:
    """Yields the partition after each sweep of a Markov chain that starts from one cluster.

    Args:
        x: `[N, D]` float64 points.
        prior: prior about the origin.
        seed: random seed; the same seed gives the same chain.
        sweeps: number of sweeps.
        subclusters: whether subclusters are proposed as clusters. As in the paper, the reverse of
            such a split is not proposed, so that the chain is close to the posterior. Without
            them it leaves the posterior over partitions exactly as it is.
        burn_out: number of sweeps before the subclusters of a cluster are proposed.
    Yields:
        Labels `[N]` from 0 to K - 1, an array that the next sweep changes.
    """
    rng = np.random.default_rng([seed, 19])
    labels = np.zeros(len(x), np.int64)
    sides = rng.integers(2, size=len(x))  # the subcluster of each point within its cluster
    ages = np.zeros(1, np.int64)
    for _ in range(sweeps):
        _draw_labels(x, labels, sides, len(ages), prior, rng)
        ages += 1
        if subclusters:
            ages = _split_subclusters(x, labels, sides, ages, prior, rng, burn_out)
        for _ in range(_RANDOM_MOVES):
            ages = _propose_at_random(x, labels, sides, ages, prior, rng)
        yield labels


def _count(x: np.ndarray, labels: np.ndarray, count: int) -> SufficientStatistics:
    own = [x[labels == cluster] for cluster in range(count)]
    parts = [(len(rows), rows.sum(axis=0), rows.T @ rows) for rows in own]
    return SufficientStatistics(*(np.array(part, np.float64) for part in zip(*parts, strict=True)))


def _draw_labels(x, labels, sides, count: int, prior: PartitionPrior, rng) -> None:
    """Draws weights and Gaussians of clusters and subclusters, then both labels of each point."""
    halves = _count(x, 2 * labels + sides, 2 * count)
    clusters = halves.map(lambda part: part.reshape(count, 2, *part.shape[1:]).sum(axis=1))
    weights = rng.standard_gamma(np.maximum(clusters.counts, 1e-300))
    log_odds = log_gaussians(x, *draw_gaussians(prior, clusters, rng)) + np.log(weights)
    drawn = _draw_categories(log_odds, rng)
    sizes = np.bincount(labels, minlength=count)
    # A cluster that lost its last point could not come back by this step, whose reverse would then
    # be missing: such a block of points keeps its labels.
    for rows in np.array_split(rng.permutation(len(x)), min(_BLOCKS, len(x))):
        after = sizes + np.bincount(drawn[rows], minlength=count)
        after -= np.bincount(labels[rows], minlength=count)
        if after.min() > 0:
            labels[rows], sizes = drawn[rows], after
    weights = rng.standard_gamma(halves.counts + 0.5 * prior.dp_concentration)
    log_odds = log_gaussians(x, *draw_gaussians(prior, halves, rng)) + np.log(weights)
    own = log_odds.reshape(len(x), count, 2)[np.arange(len(x)), labels]
    sides[:] = _draw_categories(own, rng)


def draw_gaussians(
    prior: PartitionPrior, statistics: SufficientStatistics, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws means `[K, D]` and covariances `[K, D, D]` from their posterior."""
    after = evidence.posterior(prior.niw_arrays, statistics)
    loc, kappa, df, scale = (np.asarray(part) for part in after)
    count, dim = loc.shape
    # Bartlett: with scale = U U^T and a lower triangular A of normals below chi variables of
    # nu, nu - 1, ... degrees of freedom, U A^-T A^-1 U^T is inverse Wishart.
    lower = np.tril(rng.standard_normal([count, dim, dim]), -1)
    squares = rng.chisquare(df[:, np.newaxis] - np.arange(dim))
    lower[:, np.arange(dim), np.arange(dim)] = np.sqrt(squares)
    factors = np.linalg.cholesky(scale) @ np.linalg.inv(lower).swapaxes(1, 2)
    noise = np.einsum("kab,kb->ka", factors, rng.standard_normal([count, dim]))
    return loc + noise / np.sqrt(kappa)[:, np.newaxis], factors @ factors.swapaxes(1, 2)


def _draw_categories(log_odds: np.ndarray, rng) -> np.ndarray:
    bounds = softmax(log_odds, axis=1).cumsum(axis=1)
    drawn = (bounds < bounds[:, -1:] * rng.random([len(bounds), 1])).sum(axis=1)
    return np.minimum(drawn, log_odds.shape[1] - 1)


def _split_subclusters(
    x, labels, sides, ages, prior: PartitionPrior, rng, burn_out: int
) -> np.ndarray:
    """Makes clusters of subclusters with the ratio of the joint densities; returns new ages."""
    count = len(ages)
    halves = _count(x, 2 * labels + sides, 2 * count)
    pairs = prior.terms(halves).reshape(count, 2).sum(axis=1)
    whole = prior.terms(_count(x, labels, count))
    is_split = np.log(rng.random(count)) < pairs - whole
    is_split &= (halves.counts.reshape(count, 2) > 0).all(axis=1) & (ages >= burn_out)
    for cluster in np.flatnonzero(is_split):
        labels[(labels == cluster) & (sides == 1)] = len(ages)
        ages[cluster] = 0
        ages = np.append(ages, 0)
    is_new = (ages == 0)[labels]
    sides[is_new] = rng.integers(2, size=is_new.sum())
    return ages


def _propose_at_random(x, labels, sides, ages, prior: PartitionPrior, rng) -> np.ndarray:
    """Proposes a merge of two random clusters, or its reverse, a random split of one.

    The split draws a share from Beta(alpha / 2, alpha / 2) and each point's half by it. Returns
    the new ages.
    """
    count, alpha = len(ages), prior.dp_concentration
    if rng.random() < 0.5:
        one = rng.integers(count)
        rows = np.flatnonzero(labels == one)
        halves = (rng.random(len(rows)) < rng.beta(0.5 * alpha, 0.5 * alpha)).astype(np.int64)
        if halves.min() == halves.max():
            return ages
        direction = 1.0
    else:
        if count < 2:
            return ages
        one, other = rng.choice(count, 2, replace=False)
        rows = np.flatnonzero((labels == one) | (labels == other))
        halves = (labels[rows] == other).astype(np.int64)
        count, direction = count - 1, -1.0
    # With K clusters before the split, it is proposed with probability 2 / K times the share that
    # the Beta-binomial gives to this halving, and its reverse with 2 / ((K + 1) K).
    pair, whole = _count(x[rows], halves, 2), _count(x[rows], np.zeros_like(halves), 1)
    sizes = pair.counts + 0.5 * alpha
    halving = gammaln(sizes).sum() - gammaln(sizes.sum()) + gammaln(alpha)
    halving -= 2.0 * gammaln(0.5 * alpha)
    ratio = prior.terms(pair).sum() - prior.terms(whole).sum() - halving - np.log(count + 1.0)
    if np.log(rng.random()) >= direction * ratio:
        return ages
    if direction > 0:
        labels[rows[halves == 1]] = len(ages)
        sides[rows] = rng.integers(2, size=len(rows))
        ages[one] = 0
        return np.append(ages, 0)
    labels[rows], sides[rows] = one, halves
    labels[labels > other] -= 1
    ages[one] = 0
    return np.delete(ages, other)
