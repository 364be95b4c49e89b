"""Normal-inverse-Wishart arithmetic on sufficient statistics, in NumPy and float64.

A search evaluates thousands of partitions with few components each. There TensorFlow's cost per
operation would be ten times that of the arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from tfdpm import checks
from tfdpm.mixture.covariance import STRUCTURES, cholesky, positive_definite
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.statistics import SufficientStatistics

MAP_DENOMINATORS = ("joint_mode", "paper")


def posterior(
    prior: NIWParameters, statistics: SufficientStatistics, covariance: str = "full"
) -> NIWParameters:
    """The NIW posterior given soft or hard statistics.

    Scale matrices stay `[D, D]` and are diagonal under a restricted structure. Degrees of freedom
    are then those of the inverse Wishart whose marginal for one variance is the restricted prior.
    `predictive` of the result is exact for the spherical structure. For the diagonal one its
    marginals are exact, while the coordinates share one tail.

    Args:
        prior: parameters shared by all components, or batched like the statistics.
        statistics: batch shape `[...]`.
        covariance: structure of the covariances, one of `covariance.STRUCTURES`.

    Returns:
        Arrays of batch shape `[...]`; the prior itself where the count is zero.
    """
    checks.one_of(covariance, "covariance", STRUCTURES)
    counts, dim = np.asarray(statistics.counts), statistics.feature_dim
    mean_precision, loc, scale = _update(prior, statistics)
    df = np.asarray(prior.df) + counts
    if covariance != "full":
        before, added, single_df = free_variances(prior, counts, scale, covariance)
        scale = (before + added)[..., np.newaxis] * np.eye(dim)
        df = single_df + (dim - 1.0)
    return NIWParameters(loc, mean_precision, df, scale)


def log_evidence(
    prior: NIWParameters, statistics: SufficientStatistics, covariance: str = "full"
) -> np.ndarray:
    """Log marginal likelihood of the points behind the statistics, one value per component.

    Arguments are those of `posterior`, with a prior that all components share. Values `[...]` are
    float64, nats; 0 for a component without points.
    """
    counts, dim = np.asarray(statistics.counts), statistics.feature_dim
    mean_precision, _, scale = _update(prior, statistics)
    if covariance == "full":
        # [DeepDPM] supplement eq. 17, whose numerator is Gamma_D(nu* / 2) (the printed nu is a
        # typo): log Gamma_D(nu*/2) - log Gamma_D(nu/2) + nu/2 log|scale| - nu*/2 log|scale*|.
        df, df_after = np.asarray(prior.df), np.asarray(prior.df) + counts
        by_covariance = (
            log_multigamma(0.5 * df_after, dim)
            - log_multigamma(0.5 * df, dim)
            + 0.5 * df * log_determinant(prior.scale)
            - 0.5 * df_after * log_determinant(scale)
        )
    else:
        # Each of the V free variances has an inverse gamma prior, so that in place of the above:
        # V (log Gamma(nu_1*/2) - log Gamma(nu_1/2)) + sum_v nu_1/2 log s_v - nu_1*/2 log s_v*.
        checks.one_of(covariance, "covariance", STRUCTURES)
        before, added, df_after = free_variances(prior, counts, scale, covariance)
        df = np.asarray(prior.df) - dim + 1.0
        by_covariance = (
            added.shape[-1] * (gammaln(0.5 * df_after) - gammaln(0.5 * df))
            + 0.5 * df * np.log(before).sum(axis=-1)
            - 0.5 * df_after * np.log(before + added).sum(axis=-1)
        )
    # Common to all structures: - N D/2 log pi + D/2 log(kappa / kappa*).
    log_evidence: np.ndarray = (
        by_covariance
        - 0.5 * dim * math.log(math.pi) * counts
        + 0.5 * dim * (np.log(prior.mean_precision) - np.log(mean_precision))
    )
    return log_evidence


def log_partition_terms(
    prior: NIWParameters,
    statistics: SufficientStatistics,
    dp_concentration: float,
    covariance: str = "full",
) -> np.ndarray:
    """Each component's share of the log joint of data and partition under the DP mixture.

    The shares sum to `log p(X, z)` up to a constant that depends on N alone. Differences between
    partitions are therefore log Hastings ratios. Values are as those of `log_evidence`, from hard
    statistics; a component without points is no component at all.
    """
    checks.number(dp_concentration, "dp_concentration", above=0.0)
    # log alpha + log Gamma(N_k) + log f(X_k)
    counts = np.asarray(statistics.counts)
    has_points = counts > 0
    process = math.log(dp_concentration) + gammaln(np.where(has_points, counts, 1.0))
    return np.where(has_points, process + log_evidence(prior, statistics, covariance), 0.0)


def map_components(
    after: NIWParameters, denominator: str = "joint_mode", covariance: str = "full"
) -> tuple[np.ndarray, np.ndarray]:
    """MAP mean and covariance of each component.

    Args:
        after: posterior parameters, batch shape `[...]`.
        denominator: `"joint_mode"` divides the scale matrix by what the mode of mean and
            covariance together asks for; `"paper"` by `nu* - D + 1` ([DeepDPM] supplement eq. 18).
        covariance: structure of `after`.

    Returns:
        Means `[..., D]` and covariances `[..., D, D]`.
    """
    checks.one_of(denominator, "denominator", MAP_DENOMINATORS)
    loc, df, scale = np.asarray(after.loc), np.asarray(after.df), np.asarray(after.scale)
    dim = loc.shape[-1]
    if denominator == "paper":
        divisor = df - dim + 1.0
    elif covariance == "full":
        divisor = df + dim + 2.0
    else:
        # nu_1* + 3 for one variance and its coordinate's mean; nu_1* + D + 2 for one variance and
        # D means. Either way nu_1* = nu* - D + 1.
        divisor = df + (4.0 - dim if covariance == "diagonal" else 3.0)
    return loc, scale / divisor[..., np.newaxis, np.newaxis]


def predictive(after: NIWParameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multivariate-t posterior predictive of one further point.

    `t(df = nu* - D + 1, loc = m*, shape = scale* (kappa* + 1) / (kappa* (nu* - D + 1)))`.

    Returns:
        `df [...]`, `loc [..., D]`, `scale_tril [..., D, D]` (Cholesky factor of the shape matrix).
    """
    loc, mean_precision, df, scale = (np.asarray(part) for part in after)
    df = df - loc.shape[-1] + 1.0
    factor = (mean_precision + 1.0) / (mean_precision * df)
    shape = scale * factor[..., np.newaxis, np.newaxis]
    try:
        return df, loc, np.linalg.cholesky(shape)
    except np.linalg.LinAlgError:
        return df, loc, cholesky(shape).numpy()


def free_variances(
    prior: NIWParameters, counts: np.ndarray, scale: np.ndarray, covariance: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the prior and the points say about each variance of a restricted structure.

    With `nu_1 = nu - D + 1`, the degrees of freedom of a single variance under `IW(nu, scale)`:

    * diagonal: D independent Normal-inverse-Gammas, `sigma_d^2 ~ IG(nu_1 / 2, scale_dd / 2)`;
    * spherical: one variance, `sigma^2 ~ IG(nu_1 / 2, tr(scale) / (2 D))`, which N points inform
      N D times.

    Args:
        prior: parameters shared by all components.
        counts: `[...]`.
        scale: `[..., D, D]` posterior scale matrices of the full structure.
        covariance: `"diagonal"` or `"spherical"`.

    Returns:
        Prior scales `[V]`, what points add `[..., V]` and posterior degrees of freedom `[...]`.
    """
    dim = scale.shape[-1]
    df = np.asarray(prior.df) - dim + 1.0
    before = np.diagonal(np.asarray(prior.scale), axis1=-2, axis2=-1)
    added = np.diagonal(scale, axis1=-2, axis2=-1) - before
    if covariance == "diagonal":
        return before, added, df + counts
    return (
        before.mean(axis=-1, keepdims=True),
        added.sum(axis=-1, keepdims=True),
        df + dim * counts,
    )


def log_determinant(matrices: np.ndarray) -> np.ndarray:
    """Log determinants `[...]` of symmetric matrices that are positive definite up to rounding."""
    sign, value = np.linalg.slogdet(np.asarray(matrices))
    if not np.all(sign > 0):
        value = np.linalg.slogdet(positive_definite(matrices).numpy())[1]
    return np.asarray(value)


def log_multigamma(a: np.ndarray, dim: int) -> np.ndarray:
    """Log multivariate gamma function `log Gamma_dim(a)` for `a > (dim - 1) / 2`."""
    terms = gammaln(np.asarray(a)[..., np.newaxis] - 0.5 * np.arange(dim))
    return np.asarray(0.25 * dim * (dim - 1) * math.log(math.pi) + terms.sum(axis=-1))


def _update(
    prior: NIWParameters, statistics: SufficientStatistics
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior mean precision `[...]`, mean `[..., D]` and full scale matrix `[..., D, D]`."""
    # [DeepDPM] supplement eq. 12-16 (hard) and 20-23 (weighted). With s and P the sums of x - m
    # and of (x - m) (x - m)^T: kappa* = kappa + N, m* = m + s / kappa* and
    # scale* = scale + P - s s^T / kappa*.
    loc, prior_scale = np.asarray(prior.loc), np.asarray(prior.scale)
    counts, sums, products = (np.asarray(part) for part in statistics)
    if loc.any():
        offsets = sums - counts[..., np.newaxis] * loc
        cross = loc[..., :, np.newaxis] * sums[..., np.newaxis, :]
        # sum (x - m) (x - m)^T = sum x x^T - m s_0^T - s m^T with s_0 the sum of x.
        products = products - cross - offsets[..., :, np.newaxis] * loc[..., np.newaxis, :]
        products = 0.5 * (products + np.swapaxes(products, -1, -2))
        sums = offsets
    mean_precision = np.asarray(prior.mean_precision) + counts
    # Many matrices take longer to write than to work out.
    roots = sums / np.sqrt(mean_precision)[..., np.newaxis]
    scale = roots[..., :, np.newaxis] * roots[..., np.newaxis, :]
    np.subtract(products, scale, out=scale)
    scale += prior_scale
    return mean_precision, loc + sums / mean_precision[..., np.newaxis], scale
