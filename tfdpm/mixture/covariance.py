"""Covariance matrices: structures that restrict them, and factors of nearly singular ones."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm import checks

STRUCTURES = ("full", "diagonal", "spherical")
_FLOOR = 1e-12  # smallest eigenvalue, at unit diagonal, that is safe in float64


def restrict_covariances(covariances: np.ndarray, structure: str) -> np.ndarray:
    """Maximum-likelihood covariances `[..., D, D]` of one of `STRUCTURES` from the full ones."""
    checks.one_of(structure, "covariance", STRUCTURES)
    if structure == "full":
        return covariances
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    if structure == "spherical":
        variances = variances.mean(axis=-1, keepdims=True)
    dim = covariances.shape[-1]
    return np.asarray(np.eye(dim) * variances[..., np.newaxis])


def cholesky(matrices: tf.Tensor) -> tf.Tensor:
    """Cholesky factors of symmetric matrices that rounding may have left not positive definite.

    Matrices are scaled to unit diagonal, so that units cannot matter. Only where the plain
    factorisation fails are the eigenvalues found and the diagonal lifted by what is missing.

    Of `[..., D, D]`, positive semi-definite up to rounding, factors are lower triangular and
    finite, with positive diagonal.
    """
    unit, deviations, floor = _unit_diagonal(tf.convert_to_tensor(matrices))
    factor = tf.linalg.cholesky(unit)
    is_finite = tf.reduce_all(tf.math.is_finite(factor))
    factor = tf.cond(
        is_finite, lambda: factor, lambda: tf.linalg.cholesky(_with_lifted_diagonal(unit, floor))
    )
    return factor * deviations[..., :, tf.newaxis]


def positive_definite(matrices: tf.Tensor) -> tf.Tensor:
    """The matrices themselves where they are safely positive definite, else lifted as `cholesky`.

    Safe means that the smallest eigenvalue, at unit diagonal, exceeds 1e-12 (float32: 1e-5). The
    matrices `[..., D, D]` may be semi-definite up to rounding; what is returned is finite.
    """
    if isinstance(matrices, np.ndarray) and _are_safe(matrices):
        return tf.constant(matrices)
    matrices = tf.convert_to_tensor(matrices)
    unit, deviations, floor = _unit_diagonal(matrices)
    # That unit - floor * I can still be factorised bounds the smallest eigenvalue from below.
    margin = tf.linalg.cholesky(tf.linalg.set_diag(unit, tf.linalg.diag_part(unit) - floor))
    # A lifted variance differs by far more than the rounding of a square root squared.
    is_kept = deviations**2 <= 1.5 * tf.linalg.diag_part(matrices)
    is_safe = tf.reduce_all(tf.math.is_finite(margin), axis=[-2, -1]) & tf.reduce_all(is_kept, -1)

    def lifted() -> tf.Tensor:
        scale = deviations[..., :, tf.newaxis] * deviations[..., tf.newaxis, :]
        is_unchanged = is_safe[..., tf.newaxis, tf.newaxis]
        return tf.where(is_unchanged, matrices, _with_lifted_diagonal(unit, floor) * scale)

    return tf.cond(tf.reduce_all(is_safe), lambda: matrices, lifted)


def _are_safe(matrices: np.ndarray) -> bool:
    """Whether arrays `[..., D, D]` float64 are safely positive definite; see above."""
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    least = _FLOOR * variances.max(axis=-1, initial=0.0, keepdims=True)
    if matrices.dtype != np.float64 or not np.all(variances > least):
        return False
    deviations = np.sqrt(variances)
    unit = matrices / (deviations[..., :, np.newaxis] * deviations[..., np.newaxis, :])
    try:
        margin = np.linalg.cholesky(unit - _FLOOR * np.eye(unit.shape[-1]))
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(margin).all())


def _unit_diagonal(matrices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, float]:
    """Matrices at unit diagonal, the deviations taken out, and the type's relative floor."""
    floor = _FLOOR if matrices.dtype == tf.float64 else 1e-5
    diagonal = tf.linalg.diag_part(matrices)
    # A zero (or rounded below zero) variance is lifted to a fraction of the largest one.
    largest = tf.reduce_max(diagonal, axis=-1, keepdims=True)
    largest = tf.where(largest > 0, largest, tf.ones_like(largest))
    deviations = tf.sqrt(tf.maximum(diagonal, floor * largest))
    unit = matrices / (deviations[..., :, tf.newaxis] * deviations[..., tf.newaxis, :])
    return tf.linalg.set_diag(unit, tf.ones_like(diagonal)), deviations, floor


def _with_lifted_diagonal(unit: tf.Tensor, floor: float) -> tf.Tensor:
    missing = tf.maximum(2.0 * floor - tf.reduce_min(tf.linalg.eigvalsh(unit), axis=-1), 0.0)
    diagonal = tf.linalg.diag_part(unit) + 2.0 * missing[..., tf.newaxis]
    return tf.linalg.set_diag(unit, diagonal)
