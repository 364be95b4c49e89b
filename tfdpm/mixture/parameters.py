"""The Gaussian mixture itself: weights, means, covariances, log joint density, responsibilities.

How parameters follow from statistics is here too (the M-step); how K changes is not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import niw
from tfdpm.mixture.statistics import SufficientStatistics, moment_features

# Up to this many features the log joint is one product with [1, x, x_i x_j]; above it the
# points are whitened, whose arithmetic is twice as much but whose arrays stay K D wide.
_MAX_QUADRATIC_DIM = 32
_SLICE_ELEMENTS = 4_000_000


class MixtureParameters(NamedTuple):
    """Parameters of a Gaussian mixture, float64.

    Attributes:
        mixture_weights: `[K]`, positive, summing to one.
        means: `[K, D]`.
        covariances: `[K, D, D]`, symmetric positive definite.
    """

    mixture_weights: tf.Tensor
    means: tf.Tensor
    covariances: tf.Tensor

    @property
    def num_components(self) -> int:
        """Number of components, K."""
        return int(self.means.shape[0])


def map_mixture_weights(counts, concentration: float, *, rule: str = "dirichlet_map") -> tf.Tensor:
    """Mixture proportions from soft counts.

    Args:
        counts: `[K]` float64, non-negative.
        concentration: total pseudo-count shared evenly by the K components, >= 0. The Dirichlet
            prior has parameter `1 + concentration / K`, so that its mode adds `concentration / K`
            to each count and no component can reach weight zero unless `concentration` is zero.
        rule: `"dirichlet_map"`, or `"official"`, which adds 0.1 to every *fraction*.

    Returns:
        `[K]` float64, summing to one.
    """
    checks.one_of(rule, "rule", ("dirichlet_map", "official"))
    counts = tf.convert_to_tensor(counts, tf.float64)
    num_components = tf.cast(tf.shape(counts)[0], tf.float64)
    total = tf.reduce_sum(counts)
    if rule == "official":
        smoothed = tf.math.divide_no_nan(counts, total) + 0.1
    else:
        smoothed = counts + concentration / num_components
    # All counts zero and no pseudo-count: nothing is known, so proportions are equal.
    normaliser = tf.reduce_sum(smoothed)
    return tf.where(normaliser > 0, smoothed / normaliser, 1.0 / num_components)


def m_step(
    statistics: SufficientStatistics,
    prior: niw.NIWParameters | None,
    *,
    concentration: float = 1.0,
    denominator: str = "joint_mode",
    weight_rule: str = "dirichlet_map",
) -> MixtureParameters:
    """MAP mixture parameters from statistics ([DeepDPM] section 4.1, supplement eq. 18-23).

    Args:
        statistics: `[K]` components, weighted by responsibilities.
        prior: NIW prior, or `None` for maximum likelihood (the ablation "no prior in the M-step");
            rounding is then the only thing that keeps covariances positive definite, so a ridge of
            1e-6 of the total variance is added.
        concentration: pseudo-count of the mixture weights.
        denominator: see `niw.map_components`.
        weight_rule: see `map_mixture_weights`.

    Returns:
        Parameters with K components; finite and positive definite for any statistics.
    """
    weights = map_mixture_weights(statistics.counts, concentration, rule=weight_rule)
    if prior is None:
        means, covariances = _maximum_likelihood(statistics)
    else:
        means, covariances = niw.map_components(niw.posterior(prior, statistics), denominator)
    return MixtureParameters(weights, means, niw.positive_definite(covariances))


def _maximum_likelihood(statistics: SufficientStatistics) -> tuple[tf.Tensor, tf.Tensor]:
    counts = tf.maximum(statistics.counts, 1e-9)[:, tf.newaxis]
    means = statistics.sums / counts
    second = statistics.outer_products / counts[..., tf.newaxis]
    covariances = second - means[:, :, tf.newaxis] * means[:, tf.newaxis, :]
    whole = statistics.total()
    whole_mean = whole.sums / tf.maximum(whole.counts, 1e-9)
    variance = tf.linalg.trace(whole.outer_products) / tf.maximum(whole.counts, 1e-9)
    variance = (variance - tf.reduce_sum(whole_mean**2)) / statistics.feature_dim
    ridge = 1e-6 * tf.where(variance > 0, variance, 1.0)
    return means, covariances + ridge * tf.eye(statistics.feature_dim, dtype=tf.float64)


class SquaredDistances:
    """Squared Mahalanobis distances to K Gaussians, prepared once for many points.

    Args:
        means: `[K, D]` float64.
        covariances: `[K, D, D]` float64, positive semi-definite up to rounding.
    """

    def __init__(self, means, covariances):
        self._dim = int(means.shape[-1])
        self._num_components = means.shape[0]
        factors = niw.cholesky(covariances)
        identity = tf.eye(self._dim, batch_shape=tf.shape(factors)[:1], dtype=factors.dtype)
        whiteners = tf.linalg.triangular_solve(factors, identity)
        self.log_determinants = 2.0 * tf.reduce_sum(
            tf.math.log(tf.linalg.diag_part(factors)), axis=-1
        )
        if self._dim <= _MAX_QUADRATIC_DIM:
            self._kernel = _quadratic_form(means, whiteners)
        else:
            self._whiteners = whiteners
            self._offsets = tf.linalg.matvec(whiteners, means)

    def __call__(self, points, moments=None) -> tf.Tensor:
        """Distances of `points [N, D]`, `[N, K]` float64, non-negative.

        `moments` may hold `moment_features(points)` if they are at hand already.
        """
        if self._dim <= _MAX_QUADRATIC_DIM:
            if moments is not None:
                return self._from_moments(moments)
            width = int(self._kernel.shape[0])
            return self._over_slices(
                points, lambda piece: self._from_moments(moment_features(piece)), width
            )
        return self._over_slices(points, self._whitened, self._dim * (self._num_components or 64))

    def _from_moments(self, moments) -> tf.Tensor:
        return tf.maximum(tf.linalg.matmul(moments, self._kernel), 0.0)

    def _whitened(self, points) -> tf.Tensor:
        num_components = tf.shape(self._whiteners)[0]
        flat = tf.reshape(self._whiteners, [-1, self._dim])
        whitened = tf.linalg.matmul(tf.cast(points, tf.float64), flat, transpose_b=True)
        whitened = tf.reshape(whitened, [-1, num_components, self._dim]) - self._offsets
        return tf.reduce_sum(whitened**2, axis=-1)

    def _over_slices(self, points, function, width: int) -> tf.Tensor:
        slice_size = max(256, _SLICE_ELEMENTS // width)
        if points.shape[0] is not None and points.shape[0] <= slice_size:
            return function(points)
        num_points = tf.shape(points)[0]
        num_slices = (num_points + slice_size - 1) // slice_size
        pieces = tf.TensorArray(
            tf.float64, num_slices, infer_shape=False, element_shape=[None, self._num_components]
        )

        def body(index, pieces):
            piece = function(points[index * slice_size : (index + 1) * slice_size])
            return index + 1, pieces.write(index, piece)

        _, pieces = tf.while_loop(
            lambda index, _: index < num_slices, body, (0, pieces), parallel_iterations=1
        )
        return pieces.concat()


class LogJoint:
    """`log pi_k + log N(x; mu_k, Sigma_k)` for fixed parameters, prepared once for many points."""

    def __init__(self, parameters: MixtureParameters):
        self._distances = SquaredDistances(parameters.means, parameters.covariances)
        dim = int(parameters.means.shape[-1])
        self._constants = (
            tf.math.log(parameters.mixture_weights)
            - 0.5 * self._distances.log_determinants
            - 0.5 * dim * math.log(2.0 * math.pi)
        )

    def __call__(self, points, moments=None) -> tf.Tensor:
        """Log joint densities of `points [N, D]`, `[N, K]` float64, nats."""
        return self._constants - 0.5 * self._distances(points, moments)


class LogPredictive:
    """Log posterior predictive density of a mixture: a weighted sum of multivariate t densities.

    Args:
        mixture_weights: `[K]`.
        after: NIW posteriors of the components, batch shape `[K]`.
    """

    def __init__(self, mixture_weights, after: niw.NIWParameters):
        df, loc, scale_tril = niw.predictive(after)
        shape = tf.linalg.matmul(scale_tril, scale_tril, transpose_b=True)
        self._distances = SquaredDistances(loc, shape)
        self._df = df
        dim = int(loc.shape[-1])
        self._half_power = 0.5 * (df + dim)
        self._constants = (
            tf.math.log(mixture_weights)
            + tf.math.lgamma(self._half_power)
            - tf.math.lgamma(0.5 * df)
            - 0.5 * dim * tf.math.log(df * math.pi)
            - 0.5 * self._distances.log_determinants
        )

    def components(self, points) -> tf.Tensor:
        """`log pi_k + log t_k(x)`, `[N, K]` float64, nats."""
        distances = self._distances(points)
        return self._constants - self._half_power * tf.math.log1p(distances / self._df)

    def __call__(self, points) -> tf.Tensor:
        """Log density of `points [N, D]`, `[N]` float64, nats."""
        return tf.reduce_logsumexp(self.components(points), axis=-1)


def _quadratic_form(means, whiteners) -> tf.Tensor:
    """Coefficients `[1 + D + D^2, K]` of `[1, x, x x^T]` in the squared distance."""
    precisions = tf.linalg.matmul(whiteners, whiteners, transpose_a=True)
    linear = tf.linalg.matvec(precisions, means)
    intercepts = tf.reduce_sum(linear * means, axis=-1)
    quadratic = tf.reshape(precisions, [-1, int(means.shape[-1]) ** 2])
    return tf.transpose(tf.concat([intercepts[:, tf.newaxis], -2.0 * linear, quadratic], axis=1))


def log_joint(parameters: MixtureParameters, points) -> tf.Tensor:
    """`log pi_k + log N(x_i; mu_k, Sigma_k)` ([DeepDPM] eq. 1), `[N, K]` float64, nats."""
    return LogJoint(parameters)(points)


def responsibilities(parameters: MixtureParameters, points) -> tf.Tensor:
    """E-step probabilities ([DeepDPM] eq. 5), `[N, K]` float64, rows sum to one."""
    return tf.nn.softmax(log_joint(parameters, points), axis=-1)
