"""Memoised variational inference for a Dirichlet-process Gaussian mixture, with births and merges.

It is [moVB], with which the tables of [DeepDPM] compare.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, digamma, entr, softmax
from sklearn.cluster import KMeans

from tfdpm.benchmarks.peers.dirichlet_process import log_gaussians, weak_prior
from tfdpm.mixture import evidence
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics, accumulate

# Settings of the authors' program, bnpy.
_CONCENTRATION = 1.0
_NUM_BATCHES = 10
_FRESH = 10  # components that a birth tries in place of one
_REFINEMENTS = 5  # passes over the points of a birth before it is judged
_MIN_SHARE = 0.1  # of a point: what a component must own of it for a birth to learn from it
_BIRTH_POINTS = 10_000
_MIN_WEIGHT = 1.0  # of a component, in points
_PARTNERS = 5  # other components that a component may merge with in a lap
_MAX_COMPONENTS = 100
_MAX_LAPS = 100
_TOLERANCE = 1e-6  # nats per point that a lap without a move must gain for another to follow


class Summary(NamedTuple):
    """What a batch leaves behind.

    Attributes:
        statistics: weighted moments, batch shape `[K]`, NumPy arrays.
        entropies: `[K]`, sums of `- r log r` over the batch's points.
    """

    statistics: SufficientStatistics
    entropies: np.ndarray

    def plus(self, other: Summary) -> Summary:
        """Summary of both sets of points together."""
        return Summary(self.statistics.plus(other.statistics), self.entropies + other.entropies)

    def minus(self, other: Summary) -> Summary:
        """Summary of the points that are left without those of the other."""
        statistics = self.statistics.map(np.subtract, other.statistics)
        return Summary(statistics, self.entropies - other.entropies)


class Lap(NamedTuple):
    """The state after a pass over all batches and the moves that follow it.

    Attributes:
        responsibilities: `[N, K]`, rows sum to 1.
        bound: lower bound of the log evidence, nats.
    """

    responsibilities: np.ndarray
    bound: float


def memoized(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs moVB from one component, with alpha 1, 10 batches and births of 10 components.

    Those are the settings of the authors' program. Unlike in the paper, a birth is kept only where
    it raises the bound, so that the bound never falls.
    """
    del num_clusters
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=0)
    *_, last = run_laps(x, weak_prior(x, _CONCENTRATION), seed)
    return last.responsibilities.argmax(axis=1)


def run_laps(x: np.ndarray, prior: PartitionPrior, seed: int) -> Iterator[Lap]:
    """Fits the mixture to points `[N, D]` float64 and yields the state after each lap."""
    rng = np.random.default_rng([seed, 17])
    batches = np.array_split(rng.permutation(len(x)), min(_NUM_BATCHES, len(x)))
    shares = np.ones([len(x), 1])
    failed: set[int] = set()
    before = -np.inf
    for _ in range(_MAX_LAPS):
        shares = _visit_batches(x, shares, batches, prior, rng)
        born = _try_birth(x, shares, prior, rng, failed)
        merged = _merge(x, shares if born is None else born, prior)
        moved = born is not None or merged.shape[1] < shares.shape[1]
        total = summarize(x, merged)
        # The stick-breaking prior favours components in the order of their sizes.
        shares = merged[:, np.argsort(-total.statistics.counts, kind="stable")]
        bound = lower_bound(prior, summarize(x, shares))
        yield Lap(shares, bound)
        if moved:
            failed = set()
        elif len(failed) == shares.shape[1] and bound - before < _TOLERANCE * len(x):
            return
        before = bound


def summarize(x: np.ndarray, shares: np.ndarray) -> Summary:
    """Returns the summary of points `[N, D]` with responsibilities `[N, K]`."""
    return Summary(accumulate(x, shares).map(np.asarray), entr(shares).sum(axis=0))


def lower_bound(prior: PartitionPrior, summary: Summary) -> float:
    """Returns the bound of the log evidence for the best factors of weights and Gaussians.

    With those, the sum over components is of the evidence of the weighted points, of
    `log B(1 + N_k, alpha + N_>k) - log B(1, alpha)`, and of the entropy of the responsibilities.
    """
    counts, alpha = summary.statistics.counts, prior.dp_concentration
    rest = counts[::-1].cumsum()[::-1] - counts
    sticks = betaln(1.0 + counts, alpha + rest) - betaln(1.0, alpha)
    gaussians = evidence.log_evidence(prior.niw_arrays, summary.statistics)
    return float((gaussians + sticks + summary.entropies).sum())


def log_weights(counts: np.ndarray, alpha: float) -> np.ndarray:
    """Returns the expected log weight of each component, `[K]`, under its Beta factors.

    `E log v_k + sum_(j < k) E log(1 - v_j)` with `v_k ~ Beta(1 + N_k, alpha + N_>k)`.
    """
    rest = counts[::-1].cumsum()[::-1] - counts
    whole = digamma(1.0 + alpha + counts + rest)
    left = digamma(alpha + rest) - whole
    return digamma(1.0 + counts) - whole + np.concatenate([[0.0], left[:-1].cumsum()])


def _responsibilities(
    x: np.ndarray, prior: PartitionPrior, statistics: SufficientStatistics
) -> np.ndarray:
    """Returns the best responsibilities `[N, K]` given what all points say of the components."""
    after = evidence.posterior(prior.niw_arrays, statistics)
    loc, kappa, df, scale = (np.asarray(part) for part in after)
    dim = x.shape[1]
    # E log N(x; mu, Sigma) = log N(x; m, scale / nu) - D / (2 kappa)
    #     + (sum_i psi((nu + 1 - i) / 2) - D log(nu / 2)) / 2.
    spread = digamma(0.5 * (df[:, np.newaxis] - np.arange(dim))).sum(axis=1)
    shift = 0.5 * (spread - dim * np.log(0.5 * df)) - 0.5 * dim / kappa
    shift += log_weights(statistics.counts, prior.dp_concentration)
    covariances = scale / df[:, np.newaxis, np.newaxis]
    return softmax(log_gaussians(x, loc, covariances) + shift, axis=1)


def _visit_batches(x, shares, batches, prior: PartitionPrior, rng) -> np.ndarray:
    """Returns the responsibilities after a lap, whose total follows every batch at once."""
    memory = [summarize(x[rows], shares[rows]) for rows in batches]
    total = memory[0]
    for summary in memory[1:]:
        total = total.plus(summary)
    shares = shares.copy()
    for index in rng.permutation(len(batches)):
        rows = batches[index]
        shares[rows] = _responsibilities(x[rows], prior, total.statistics)
        total = total.minus(memory[index])
        memory[index] = summarize(x[rows], shares[rows])
        total = total.plus(memory[index])
    return shares


def _try_birth(x, shares, prior: PartitionPrior, rng, failed: set[int]) -> np.ndarray | None:
    """Tries fresh components in place of one, and returns the responsibilities if they are better.

    `failed` has the components that were tried without success since the last accepted move; a
    failure adds one.
    """
    counts = shares.sum(axis=0)
    failed.update(np.flatnonzero(counts < 2.0 * _MIN_WEIGHT))
    untried = [k for k in range(len(counts)) if k not in failed]
    if not untried or shares.shape[1] >= _MAX_COMPONENTS:
        return None
    target = rng.choice(untried, p=counts[untried] / counts[untried].sum())
    failed.add(target)
    rows = rng.permutation(np.flatnonzero(shares[:, target] > _MIN_SHARE))[:_BIRTH_POINTS]
    fresh = min(_FRESH, len(rows))
    if fresh < 2:
        return None
    start = KMeans(fresh, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(x[rows])
    weights = shares[rows, target][:, np.newaxis]
    inner = np.eye(fresh)[start] * weights
    for _ in range(_REFINEMENTS):
        statistics = summarize(x[rows], inner).statistics
        inner = _responsibilities(x[rows], prior, statistics) * weights
    statistics = summarize(x[rows], inner).statistics
    own = shares[:, [target]] * _responsibilities(x, prior, statistics)
    own = own[:, own.sum(axis=0) > _MIN_WEIGHT]
    if own.shape[1] < 2:
        return None
    own *= shares[:, [target]] / np.maximum(own.sum(axis=1, keepdims=True), 1e-300)
    rest = np.delete(shares, target, axis=1)
    born = np.concatenate([rest, own], axis=1)
    born = _merge(x, born, prior, first=rest.shape[1])
    is_better = lower_bound(prior, summarize(x, born)) > lower_bound(prior, summarize(x, shares))
    return born if is_better and born.shape[1] > shares.shape[1] else None


def _merge(x, shares, prior: PartitionPrior, first: int = 0) -> np.ndarray:
    """Merges pairs of the components from `first` on, the best first, as long as the bound rises.

    The pairs whose joint evidence is highest are tried, five of each component at most.
    """
    while shares.shape[1] - first > 1:
        summary = summarize(x, shares)
        bound = lower_bound(prior, summary)
        pairs = np.array(list(itertools.combinations(range(first, shares.shape[1]), 2)))
        one, other = (summary.statistics.at(side) for side in pairs.T)
        each = evidence.log_evidence(prior.niw_arrays, summary.statistics)
        gains = evidence.log_evidence(prior.niw_arrays, one.plus(other)) - each[pairs].sum(axis=1)
        tried = np.zeros(shares.shape[1], int)
        best, best_bound = None, bound
        for pair in pairs[np.argsort(-gains)]:
            if tried[pair].max() >= _PARTNERS:
                continue
            tried[pair] += 1
            joined = _join(summary, shares, pair)
            if (new := lower_bound(prior, joined)) > best_bound:
                best, best_bound = pair, new
        if best is None:
            return shares
        shares = shares.copy()
        shares[:, best[0]] += shares[:, best[1]]
        shares = np.delete(shares, best[1], axis=1)
    return shares


def _join(summary: Summary, shares: np.ndarray, pair: np.ndarray) -> Summary:
    """Returns the summary after two components became one, in the place of the first."""
    one, other = pair
    statistics = summary.statistics.map(np.copy)
    for part in statistics:
        part[one] += part[other]
    entropies = summary.entropies.copy()
    entropies[one] = entr(shares[:, one] + shares[:, other]).sum()
    keep = np.arange(len(entropies)) != other
    return Summary(statistics.at(keep), entropies[keep])
