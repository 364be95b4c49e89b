"""Covariance structures: what restricting matrices to diagonal or spherical ones changes.

A restricted component is described by the full one's numbers, so that everything downstream stays
as it is: scale matrices stay `[D, D]` and are diagonal, and degrees of freedom are those of the
inverse Wishart whose marginal for one variance is the restricted prior.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tensorflow as tf

from tfdpm import checks

if TYPE_CHECKING:
    from tfdpm.mixture.niw import NIWParameters

STRUCTURES = ("full", "diagonal", "spherical")


def restricted(
    prior: NIWParameters, after: NIWParameters, counts: tf.Tensor, structure: str
) -> NIWParameters:
    """Posterior under a covariance structure, from the full one.

    With `nu_1 = nu - D + 1`, the degrees of freedom of a single variance under `IW(nu, scale)`:

    * diagonal: D independent Normal-inverse-Gammas, `sigma_d^2 ~ IG(nu_1 / 2, scale_dd / 2)`;
    * spherical: one variance, `sigma^2 ~ IG(nu_1 / 2, tr(scale) / (2 D))`, which N points inform
      N D times.

    The predictive of one point, `niw.predictive` of the result, is exact for the spherical
    structure; for the diagonal one its marginals are, while the coordinates share one tail.

    Args:
        prior: unbatched.
        after: full posterior, batch shape `[...]`.
        counts: `[...]`.
        structure: one of `STRUCTURES`.
    """
    checks.one_of(structure, "covariance", STRUCTURES)
    if structure == "full":
        return after
    variances = tf.linalg.diag_part(after.scale)
    if structure == "diagonal":
        return after._replace(scale=tf.linalg.diag(variances))
    dim = int(after.loc.shape[-1])
    average = tf.linalg.trace(prior.scale) / dim
    scatter = tf.reduce_sum(variances - tf.linalg.diag_part(prior.scale), axis=-1)
    shared = (average + scatter)[..., tf.newaxis] * tf.ones_like(variances)
    return after._replace(df=prior.df + dim * counts, scale=tf.linalg.diag(shared))


def log_evidence(
    prior: NIWParameters, after: NIWParameters, counts: tf.Tensor, structure: str
) -> tf.Tensor:
    """Log marginal likelihood under the diagonal or the spherical structure, `[...]` nats.

    Per free variance with `m` observations (m = N, or N D where one is shared):
    `log Gamma((nu_1 + m) / 2) - log Gamma(nu_1 / 2) + nu_1 / 2 log s - (nu_1 + m) / 2 log s*`, and
    for all of them together `-N D / 2 log pi + D / 2 log(kappa / kappa*)`.

    Args:
        prior: unbatched.
        after: posterior of that structure.
        counts: `[...]`.
        structure: `"diagonal"` or `"spherical"`.
    """
    dim = int(after.loc.shape[-1])
    df_before, df_after = prior.df - dim + 1.0, after.df - dim + 1.0
    before, posterior = tf.linalg.diag_part(prior.scale), tf.linalg.diag_part(after.scale)
    if structure == "spherical":
        before = tf.reduce_mean(before, axis=-1, keepdims=True)
        posterior = posterior[..., :1]
    num_variances = float(posterior.shape[-1])
    return (
        -0.5 * dim * math.log(math.pi) * counts
        + num_variances * (tf.math.lgamma(0.5 * df_after) - tf.math.lgamma(0.5 * df_before))
        + 0.5 * df_before * tf.reduce_sum(tf.math.log(before), axis=-1)
        - 0.5 * df_after * tf.reduce_sum(tf.math.log(posterior), axis=-1)
        + 0.5 * dim * (tf.math.log(prior.mean_precision) - tf.math.log(after.mean_precision))
    )


def map_divisor(after: NIWParameters, structure: str) -> tf.Tensor:
    """What a posterior scale is divided by at the joint mode of mean and covariance, `[...]`.

    `nu* + D + 2` for full matrices; with one variance and its coordinate's mean `nu_1* + 3`; with
    one variance and D means `nu_1* + D + 2`.
    """
    dim = int(after.loc.shape[-1])
    return after.df + {"full": dim + 2.0, "diagonal": 4.0 - dim, "spherical": 3.0}[structure]


def restricted_matrices(matrices: tf.Tensor, structure: str) -> tf.Tensor:
    """Maximum-likelihood covariances `[..., D, D]` of a structure from the full ones."""
    checks.one_of(structure, "covariance", STRUCTURES)
    if structure == "full":
        return matrices
    variances = tf.linalg.diag_part(matrices)
    if structure == "spherical":
        variances = tf.reduce_mean(variances, axis=-1, keepdims=True) * tf.ones_like(variances)
    return tf.linalg.diag(variances)
