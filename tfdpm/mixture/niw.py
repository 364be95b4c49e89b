"""Normal-inverse-Wishart arithmetic on sufficient statistics: posterior, evidence, MAP, predictive.

Pure functions of float64 tensors. The TFP distribution that users see is in `distributions.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import covariance as structures
from tfdpm.mixture.statistics import SufficientStatistics

MAP_DENOMINATORS = ("joint_mode", "paper")


class NIWParameters(NamedTuple):
    """Parameters of `Sigma ~ IW(df, scale)`, `mu | Sigma ~ N(loc, Sigma / mean_precision)`.

    Attributes:
        loc: `[..., D]`, the paper's m.
        mean_precision: `[...]`, the paper's kappa, in pseudo-observations.
        df: `[...]`, the paper's nu, above D - 1.
        scale: `[..., D, D]`, inverse-Wishart scale matrix in squared feature units; the paper's
            nu * Psi, the released program's Psi.
    """

    loc: tf.Tensor
    mean_precision: tf.Tensor
    df: tf.Tensor
    scale: tf.Tensor


def niw_parameters(loc, mean_precision, df, scale) -> NIWParameters:
    """Checks one (unbatched) prior and returns it as float64 tensors.

    Raises:
        ValueError: if shapes differ, a number is not finite, `mean_precision <= 0`,
            `df <= D - 1`, or `scale` is not a symmetric positive definite matrix.
    """
    loc = tf.convert_to_tensor(loc, tf.float64)
    scale = tf.convert_to_tensor(scale, tf.float64)
    if loc.shape.rank != 1:
        checks.fail("loc", f"shape {tuple(loc.shape)}", "shape [D]")
    feature_dim = int(loc.shape[0])
    if tuple(scale.shape) != (feature_dim, feature_dim):
        checks.fail("scale", f"shape {tuple(scale.shape)}", f"shape [{feature_dim}, {feature_dim}]")
    for name, part in (("loc", loc), ("scale", scale)):
        if not bool(tf.reduce_all(tf.math.is_finite(part))):
            checks.fail(name, "numbers that are not finite", "finite numbers")
    mean_precision = checks.number(mean_precision, "mean_precision", above=0.0)
    df = checks.number(df, "df", above=feature_dim - 1.0)
    eigenvalues = tf.linalg.eigvalsh(scale)
    asymmetry = float(tf.reduce_max(tf.abs(scale - tf.linalg.matrix_transpose(scale))))
    largest = float(tf.reduce_max(tf.abs(scale)))
    if not float(eigenvalues[0]) > 0.0 or asymmetry > 1e-8 * largest:
        checks.fail(
            "scale",
            f"a matrix with smallest eigenvalue {float(eigenvalues[0]):.3g} "
            f"and asymmetry {asymmetry:.3g}",
            "a symmetric positive definite matrix",
        )
    return NIWParameters(
        loc, tf.constant(mean_precision, tf.float64), tf.constant(df, tf.float64), scale
    )


def posterior(
    prior: NIWParameters, statistics: SufficientStatistics, covariance: str = "full"
) -> NIWParameters:
    """NIW posterior given (soft or hard) statistics.

    [DeepDPM] supplement eq. 12-16 (hard) and 20-23 (weighted), with the inverse-Wishart scale in
    the library's convention: `scale* = scale + S + kappa N / kappa* (xbar - m)(xbar - m)^T` where
    S is the scatter about the mean `xbar`; this form keeps the result positive definite.

    Args:
        prior: parameters shared by all components (unbatched), or batched like the statistics.
        statistics: batch shape `[...]`.
        covariance: structure, see `covariance.restricted`.

    Returns:
        Parameters of batch shape `[...]`; the prior itself where the count is zero.
    """
    counts, sums, outer_products = statistics
    mean_precision = prior.mean_precision + counts
    safe_counts = tf.maximum(counts, tf.constant(1e-300, counts.dtype))
    means = tf.where(counts[..., tf.newaxis] > 0, sums / safe_counts[..., tf.newaxis], 0.0)
    scatter = outer_products - counts[..., tf.newaxis, tf.newaxis] * _outer(means)
    offset = means - prior.loc
    shrink = prior.mean_precision * counts / mean_precision
    scale = prior.scale + scatter + shrink[..., tf.newaxis, tf.newaxis] * _outer(offset)
    scale = tf.where(counts[..., tf.newaxis, tf.newaxis] > 0, scale, prior.scale)
    loc = prior.loc + (counts / mean_precision)[..., tf.newaxis] * offset
    after = NIWParameters(loc, mean_precision, prior.df + counts, _symmetric(scale))
    return structures.restricted(prior, after, counts, covariance)


def log_evidence(
    prior: NIWParameters, statistics: SufficientStatistics, covariance: str = "full"
) -> tf.Tensor:
    """Log marginal likelihood of the points behind the statistics, one value per component.

    [DeepDPM] supplement eq. 17 with the numerator `Gamma_D(nu* / 2)` (the printed `nu` is a typo):
    `-N D / 2 log pi + log Gamma_D(nu*/2) - log Gamma_D(nu/2) + nu/2 log|scale|
    - nu*/2 log|scale*| + D/2 log(kappa / kappa*)`.

    Args:
        prior: unbatched parameters.
        statistics: batch shape `[...]`.
        covariance: structure; see `covariance.log_evidence` for those that are not full.

    Returns:
        `[...]` float64, nats; 0 for a component without points.
    """
    after = posterior(prior, statistics, covariance)
    if covariance != "full":
        return structures.log_evidence(prior, after, statistics.counts, covariance)
    dim = statistics.feature_dim
    half_dim = 0.5 * dim
    return (
        -half_dim * math.log(math.pi) * statistics.counts
        + log_multigamma(0.5 * after.df, dim)
        - log_multigamma(0.5 * prior.df, dim)
        + 0.5 * prior.df * log_determinant(prior.scale)
        - 0.5 * after.df * log_determinant(after.scale)
        + half_dim * (tf.math.log(prior.mean_precision) - tf.math.log(after.mean_precision))
    )


def map_components(
    after: NIWParameters, denominator: str = "joint_mode", covariance: str = "full"
) -> tuple[tf.Tensor, tf.Tensor]:
    """MAP mean and covariance of each component.

    Args:
        after: posterior parameters, batch shape `[...]`.
        denominator: `"joint_mode"` divides the scale by `nu* + D + 2` (see
            `covariance.map_divisor` for other structures); `"paper"` by `nu* - D + 1`
            ([DeepDPM] supplement eq. 18).
        covariance: structure of `after`.

    Returns:
        Means `[..., D]` and covariances `[..., D, D]`.
    """
    checks.one_of(denominator, "denominator", MAP_DENOMINATORS)
    if denominator == "joint_mode":
        divisor = structures.map_divisor(after, covariance)
    else:
        divisor = after.df - int(after.loc.shape[-1]) + 1.0
    return after.loc, after.scale / divisor[..., tf.newaxis, tf.newaxis]


def predictive(after: NIWParameters) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Multivariate-t posterior predictive of one further point.

    `t(df = nu* - D + 1, loc = m*, shape = scale* (kappa* + 1) / (kappa* (nu* - D + 1)))`.

    Returns:
        `df [...]`, `loc [..., D]`, `scale_tril [..., D, D]` (Cholesky factor of the shape matrix).
    """
    dim = int(after.loc.shape[-1])
    df = after.df - dim + 1.0
    factor = (after.mean_precision + 1.0) / (after.mean_precision * df)
    return df, after.loc, cholesky(after.scale * factor[..., tf.newaxis, tf.newaxis])


def cholesky(matrices) -> tf.Tensor:
    """Cholesky factors of symmetric matrices that rounding may have left not positive definite.

    Matrices are scaled to unit diagonal, so that units cannot matter. Only where the plain
    factorisation fails are the eigenvalues found and the diagonal lifted by what is missing.

    Args:
        matrices: `[..., D, D]` floating, positive semi-definite up to rounding.

    Returns:
        `[..., D, D]` lower triangular, finite, with positive diagonal.
    """
    unit, deviations, floor = _unit_diagonal(tf.convert_to_tensor(matrices))
    factor = tf.linalg.cholesky(unit)
    is_finite = tf.reduce_all(tf.math.is_finite(factor))
    factor = tf.cond(
        is_finite, lambda: factor, lambda: tf.linalg.cholesky(_with_lifted_diagonal(unit, floor))
    )
    return factor * deviations[..., :, tf.newaxis]


def positive_definite(matrices) -> tf.Tensor:
    """The matrices themselves where they are safely positive definite, else lifted as `cholesky`.

    Safe means that the smallest eigenvalue, at unit diagonal, exceeds 1e-12 (float32: 1e-5).

    Args:
        matrices: `[..., D, D]` floating, positive semi-definite up to rounding.

    Returns:
        `[..., D, D]`, finite, symmetric positive definite.
    """
    matrices = tf.convert_to_tensor(matrices)
    unit, deviations, floor = _unit_diagonal(matrices)
    # That unit - floor * I can still be factorised bounds the smallest eigenvalue from below.
    margin = tf.linalg.cholesky(tf.linalg.set_diag(unit, tf.linalg.diag_part(unit) - floor))
    # A lifted variance differs by far more than the rounding of a square root squared.
    is_kept = deviations**2 <= 1.5 * tf.linalg.diag_part(matrices)
    is_safe = tf.reduce_all(tf.math.is_finite(margin), axis=[-2, -1]) & tf.reduce_all(is_kept, -1)

    def lifted():
        scale = deviations[..., :, tf.newaxis] * deviations[..., tf.newaxis, :]
        is_unchanged = is_safe[..., tf.newaxis, tf.newaxis]
        return tf.where(is_unchanged, matrices, _with_lifted_diagonal(unit, floor) * scale)

    return tf.cond(tf.reduce_all(is_safe), lambda: matrices, lifted)


def _unit_diagonal(matrices) -> tuple[tf.Tensor, tf.Tensor, float]:
    """Matrices at unit diagonal, the deviations taken out, and the type's relative floor."""
    floor = 1e-12 if matrices.dtype == tf.float64 else 1e-5
    diagonal = tf.linalg.diag_part(matrices)
    # A zero (or rounded below zero) variance is lifted to a fraction of the largest one.
    largest = tf.reduce_max(diagonal, axis=-1, keepdims=True)
    largest = tf.where(largest > 0, largest, tf.ones_like(largest))
    deviations = tf.sqrt(tf.maximum(diagonal, floor * largest))
    unit = matrices / (deviations[..., :, tf.newaxis] * deviations[..., tf.newaxis, :])
    return tf.linalg.set_diag(unit, tf.ones_like(diagonal)), deviations, floor


def _with_lifted_diagonal(unit, floor: float) -> tf.Tensor:
    missing = tf.maximum(2.0 * floor - tf.reduce_min(tf.linalg.eigvalsh(unit), axis=-1), 0.0)
    diagonal = tf.linalg.diag_part(unit) + 2.0 * missing[..., tf.newaxis]
    return tf.linalg.set_diag(unit, diagonal)


def log_determinant(matrices) -> tf.Tensor:
    """Log determinants of symmetric positive (semi-)definite matrices, `[...]`."""
    factor = cholesky(matrices)
    return 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), axis=-1)


def log_multigamma(a, dim: int) -> tf.Tensor:
    """Log multivariate gamma function `log Gamma_dim(a)` for `a > (dim - 1) / 2`."""
    a = tf.convert_to_tensor(a)
    halves = 0.5 * tf.range(dim, dtype=a.dtype)
    return 0.25 * dim * (dim - 1) * math.log(math.pi) + tf.reduce_sum(
        tf.math.lgamma(a[..., tf.newaxis] - halves), axis=-1
    )


def _outer(vectors) -> tf.Tensor:
    return vectors[..., :, tf.newaxis] * vectors[..., tf.newaxis, :]


def _symmetric(matrices) -> tf.Tensor:
    return 0.5 * (matrices + tf.linalg.matrix_transpose(matrices))
