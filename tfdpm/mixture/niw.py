"""Parameters of the Normal-inverse-Wishart distribution over a component's mean and covariance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm import checks


class NIWParameters(NamedTuple):
    """Parameters of `Sigma ~ IW(df, scale)`, `mu | Sigma ~ N(loc, Sigma / mean_precision)`.

    Attributes:
        loc: `[..., D]`, the paper's m.
        mean_precision: `[...]`, the paper's kappa, in pseudo-observations, above 0.
        df: `[...]`, the paper's nu, above D - 1.
        scale: `[..., D, D]`, inverse-Wishart scale matrix in squared feature units; the paper's
            nu * Psi, the released program's Psi.
    """

    loc: tf.Tensor
    mean_precision: tf.Tensor
    df: tf.Tensor
    scale: tf.Tensor


def niw_parameters(loc: Any, mean_precision: Any, df: Any, scale: Any) -> NIWParameters:
    """Checks the parameters of one prior, without a batch, and returns them as float64 tensors.

    Raises:
        ValueError: if a shape is wrong or a number is out of its range.
    """
    parameters = NIWParameters(
        *(tf.constant(np.asarray(part), tf.float64) for part in (loc, mean_precision, df, scale))
    )
    loc, scale = parameters.loc, parameters.scale
    if loc.shape.rank != 1:
        checks.fail("loc", f"shape {tuple(loc.shape)}", "shape [D]")
    dim = int(loc.shape[0])
    if tuple(scale.shape) != (dim, dim):
        checks.fail("scale", f"shape {tuple(scale.shape)}", f"shape [{dim}, {dim}]")
    check_values(parameters)
    return parameters


def check_values(parameters: NIWParameters) -> None:
    """Raises ValueError unless all numbers are in their ranges."""
    _, mean_precision, df, scale = parameters
    dim = int(scale.shape[-1])
    for name, part in parameters._asdict().items():
        if not bool(tf.reduce_all(tf.math.is_finite(part))):
            checks.fail(name, "numbers that are not finite", "finite numbers")
    if not bool(tf.reduce_all(mean_precision > 0)):
        checks.fail("mean_precision", mean_precision.numpy(), "positive numbers")
    if not bool(tf.reduce_all(df > dim - 1)):
        checks.fail("df", df.numpy(), f"numbers above D - 1 = {dim - 1}")
    # Half precision of the type is what rounding may take; anything more is another matrix.
    rounding = np.sqrt(np.finfo(scale.dtype.as_numpy_dtype).eps)
    asymmetry = float(tf.reduce_max(tf.abs(scale - tf.linalg.matrix_transpose(scale))))
    if asymmetry > rounding * float(tf.reduce_max(tf.abs(scale))):
        checks.fail("scale", f"asymmetry {asymmetry:.3g}", "symmetric matrices")
    smallest = float(tf.reduce_min(tf.linalg.eigvalsh(scale)))
    if not smallest > 0.0:
        got = f"a matrix with eigenvalue {smallest:.3g}"
        checks.fail("scale", got, "positive definite matrices")
