"""The Normal-inverse-Wishart, one point and one component at a time.

A prior is `(loc, mean_precision, df, scale)`: `Sigma ~ IW(df, scale)`,
`mu | Sigma ~ N(loc, Sigma / mean_precision)`.
"""

from __future__ import annotations

import numpy as np
from scipy import integrate, special, stats


def posterior(prior, points, weights=None):
    """[DeepDPM] supplement eq. 12-16, and 20-23 with weights, as printed (nu Psi is `scale`)."""
    loc, mean_precision, df, scale = prior
    weights = np.ones(len(points)) if weights is None else weights
    count, total, products = 0.0, np.zeros_like(loc), np.zeros_like(scale)
    for weight, point in zip(weights, points, strict=True):
        count += weight
        total = total + weight * point
        products = products + weight * np.outer(point, point)
    new_precision = mean_precision + count
    new_loc = (mean_precision * loc + total) / new_precision
    new_scale = (
        scale
        + mean_precision * np.outer(loc, loc)
        + products
        - new_precision * np.outer(new_loc, new_loc)
    )
    return new_loc, new_precision, df + count, new_scale


def log_prob(prior, mean, covariance):
    """Log density of one mean and covariance."""
    loc, mean_precision, df, scale = prior
    return stats.invwishart(df, scale).logpdf(covariance) + stats.multivariate_normal(
        loc, covariance / mean_precision
    ).logpdf(mean)


def predictive(prior):
    """Multivariate t of the next point (Murphy 2007, eq. 232)."""
    loc, mean_precision, df, scale = prior
    t_df = df - len(loc) + 1
    shape = scale * (mean_precision + 1) / (mean_precision * t_df)
    return stats.multivariate_t(loc, shape, df=t_df)


def log_evidence(prior, points):
    """Log marginal likelihood as the chain of one-step predictives: no closed form is used."""
    total = 0.0
    for i, point in enumerate(points):
        total += predictive(posterior(prior, points[:i])).logpdf(point)
    return total


def log_evidence_closed_form(prior, points):
    """[DeepDPM] supplement eq. 17, with nu* where the numerator prints nu."""
    _, mean_precision, df, scale = prior
    _, new_precision, new_df, new_scale = posterior(prior, points)
    num_points, dim = points.shape
    return (
        -0.5 * num_points * dim * np.log(np.pi)
        + special.multigammaln(new_df / 2, dim)
        - special.multigammaln(df / 2, dim)
        + 0.5 * df * np.linalg.slogdet(scale)[1]
        - 0.5 * new_df * np.linalg.slogdet(new_scale)[1]
        + 0.5 * dim * np.log(mean_precision / new_precision)
    )


def log_evidence_by_integration(prior, points):
    """One-dimensional marginal likelihood by Simpson's rule over mean and log variance."""
    loc, mean_precision, df, scale = prior
    loc, scale, values = loc.item(), scale.item(), points[:, 0]
    log_variances = np.linspace(-8.0, 16.0, 601)
    slices = []
    for log_variance in log_variances:
        variance = np.exp(log_variance)
        deviation = np.sqrt(variance)
        lowest, highest = min(loc, values.min()), max(loc, values.max())
        means = np.linspace(lowest - 12 * deviation, highest + 12 * deviation, 4001)
        log_density = stats.norm.logpdf(means, loc, deviation / np.sqrt(mean_precision))
        for value in values:
            log_density += stats.norm.logpdf(value, means, deviation)
        # An inverse-Wishart variable in one dimension is inverse gamma; d(variance) = variance dt.
        log_density += stats.invgamma.logpdf(variance, df / 2, scale=scale / 2) + log_variance
        slices.append(integrate.simpson(np.exp(log_density), x=means))
    return np.log(integrate.simpson(slices, x=log_variances))
