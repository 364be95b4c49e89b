"""Gaussian mixtures in loops: moments, M-steps, log joint densities."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from tests.reference import niw


def moments(points, weights):
    """Weighted counts `[K]`, sums `[K, D]` and outer products `[K, D, D]`."""
    num_components, dim = weights.shape[1], points.shape[1]
    counts = np.zeros(num_components)
    sums = np.zeros((num_components, dim))
    outer_products = np.zeros((num_components, dim, dim))
    for point, row in zip(points.astype(np.float64), weights.astype(np.float64), strict=True):
        for k, weight in enumerate(row):
            counts[k] += weight
            sums[k] += weight * point
            outer_products[k] += weight * np.outer(point, point)
    return counts, sums, outer_products


def map_components(prior, points, weights, denominator):
    """Weighted MAP means and covariances ([DeepDPM] supplement eq. 18-23), one at a time."""
    dim = points.shape[1]
    means, covariances = [], []
    for column in weights.T:
        loc, _, df, scale = niw.posterior(prior, points, column)
        means.append(loc)
        covariances.append(scale / {"joint_mode": df + dim + 2, "paper": df - dim + 1}[denominator])
    return np.stack(means), np.stack(covariances)


def log_joint(mixture_weights, means, covariances, points):
    """`log pi_k + log N(x_i; mu_k, Sigma_k)`, `[N, K]`."""
    columns = [
        np.log(weight) + np.atleast_1d(stats.multivariate_normal(mean, covariance).logpdf(points))
        for weight, mean, covariance in zip(mixture_weights, means, covariances, strict=True)
    ]
    return np.stack(columns, axis=1)


def t_log_joint(mixture_weights, means, scales, df, points):
    """`log pi_k + log t(x_i; mu_k, S_k, nu_k)`, `[N, K]`."""
    columns = [
        np.log(weight) + np.atleast_1d(stats.multivariate_t(mean, scale, nu).logpdf(points))
        for weight, mean, scale, nu in zip(mixture_weights, means, scales, df, strict=True)
    ]
    return np.stack(columns, axis=1)


def responsibilities(mixture_weights, means, covariances, points):
    """Posterior probabilities of the components ([DeepDPM] eq. 5), `[N, K]`."""
    joint = log_joint(mixture_weights, means, covariances, points)
    return np.exp(joint - special.logsumexp(joint, axis=1, keepdims=True))
