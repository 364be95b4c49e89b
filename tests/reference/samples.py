"""Random inputs of tests: points, weights, positive definite matrices, priors. Always seeded."""

from __future__ import annotations

import numpy as np


def points(num_points, feature_dim, seed=0, loc=0.0, scale=1.0):
    """Correlated Gaussian points `[N, D]`."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(feature_dim, feature_dim)) / np.sqrt(feature_dim)
    return loc + scale * rng.normal(size=(num_points, feature_dim)) @ mixing


def weights(num_points, num_components, seed=0):
    """Responsibilities `[N, K]`, rows sum to one."""
    return np.random.default_rng(seed).dirichlet(np.ones(num_components), size=num_points)


def positive_definite(feature_dim, seed=0):
    """A well-conditioned, correlated covariance `[D, D]`."""
    root = np.random.default_rng(seed).normal(size=(feature_dim, 2 * feature_dim + 2))
    return root @ root.T / root.shape[1]


def prior(feature_dim, seed=0):
    """`(loc, mean_precision, df, scale)` of a prior strong enough that each of them matters."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(size=feature_dim)
    return loc, 0.7, feature_dim + 2.5, positive_definite(feature_dim, seed + 100)
