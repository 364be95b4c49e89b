"""Parameters of the Normal-inverse-Wishart distribution over a component's mean and covariance."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfdpm import checks


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


def niw_parameters(loc: Any, mean_precision: Any, df: Any, scale: Any) -> NIWParameters:
    """Checks the parameters of one prior and returns them as float64 tensors.

    Args:
        loc: `[D]` finite numbers.
        mean_precision: number above 0.
        df: number above D - 1.
        scale: `[D, D]` symmetric positive definite matrix, squared feature units.

    Raises:
        ValueError: if a shape is wrong or a number is out of its range.
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
