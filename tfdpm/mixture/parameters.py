"""The Gaussian mixture itself: weights, means, covariances, log joint density, responsibilities.

How parameters follow from statistics is here too (the M-step); how K changes is not.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import evidence
from tfdpm.mixture.covariance import cholesky, positive_definite, restrict_covariances
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.statistics import SufficientStatistics, moment_features

# Up to this many features the log joint is one product with [1, x, x_i x_j]; above it the
# points are whitened, whose arrays stay K wide and which loses no digits to differences.
_MAX_QUADRATIC_DIM = 12
# Whitening matrices are triangular: so many of their rows at a time need only the columns so far.
_WHITENED_AT_ONCE = 16
_SLICE_ELEMENTS = 4_000_000


_Mixture = TypeVar("_Mixture")


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


class TMixtureParameters(NamedTuple):
    """Parameters of a mixture of multivariate t distributions, float64.

    Clusters have longer tails than Gaussians; a t has them of any length
    [Peel and McLachlan 2000].

    Attributes:
        mixture_weights: `[K]`, positive, summing to one.
        means: `[K, D]`.
        scales: `[K, D, D]`, symmetric positive definite.
        df: `[K]` degrees of freedom, > 0.
    """

    mixture_weights: tf.Tensor
    means: tf.Tensor
    scales: tf.Tensor
    df: tf.Tensor

    @property
    def num_components(self) -> int:
        """Number of components, K."""
        return int(self.means.shape[0])


def as_tensors(mixture: _Mixture) -> _Mixture:
    """A mixture of either kind with tensors for NumPy arrays; `None` stays."""
    return mixture and type(mixture)(*(tf.constant(part) for part in mixture))


class JointTensors(NamedTuple):
    """All that a `LogJoint` consists of, to hand to a compiled function; component last.

    Attributes:
        constants, log_determinants: `[K]`.
        coefficients: see `SquaredDistances`.
        tails: degrees of freedom nu and `(nu + D) / 2`, both `[K]`; nothing for Gaussians.
    """

    constants: tf.Tensor
    log_determinants: tf.Tensor
    coefficients: tuple[tf.Tensor, ...]
    tails: tuple[tf.Tensor, ...]


def map_mixture_weights(
    counts: tf.Tensor, concentration: float, *, rule: str = "dirichlet_map"
) -> np.ndarray:
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
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    if rule == "official":
        smoothed = counts / (total if total > 0 else 1.0) + 0.1
    else:
        smoothed = counts + concentration / len(counts)
    normaliser = smoothed.sum()
    # All counts zero and no pseudo-count: nothing is known, so proportions are equal.
    return smoothed / normaliser if normaliser > 0 else np.full(len(counts), 1.0 / len(counts))


def m_step(
    statistics: SufficientStatistics,
    prior: NIWParameters | None,
    *,
    concentration: float = 1.0,
    denominator: str = "joint_mode",
    weight_rule: str = "dirichlet_map",
    covariance: str = "full",
) -> MixtureParameters:
    """MAP mixture parameters from statistics ([DeepDPM] section 4.1, supplement eq. 18-23).

    Args:
        statistics: `[K]` components, weighted by responsibilities.
        prior: NIW prior, or `None` for maximum likelihood (the ablation "no prior in the M-step");
            rounding is then the only thing that keeps covariances positive definite, so a ridge of
            1e-6 of the total variance is added.
        concentration: pseudo-count of the mixture weights.
        denominator: see `evidence.map_components`.
        weight_rule: see `map_mixture_weights`.
        covariance: structure, one of `covariance.STRUCTURES`.

    Returns:
        Parameters with K components; finite and positive definite for any statistics.
    """
    weights = map_mixture_weights(statistics.counts, concentration, rule=weight_rule)
    if prior is None:
        means, covariances = _maximum_likelihood(statistics)
        covariances = restrict_covariances(covariances, covariance)
    else:
        after = evidence.posterior(prior, statistics, covariance)
        means, covariances = evidence.map_components(after, denominator, covariance)
    return MixtureParameters(
        tf.constant(weights), tf.constant(means), positive_definite(covariances)
    )


def _maximum_likelihood(statistics: SufficientStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Means `[K, D]` and covariances `[K, D, D]` with a ridge of 1e-6 of the total variance."""
    counts, sums, products = (np.asarray(part) for part in statistics)
    dim = statistics.feature_dim
    safe_counts = np.maximum(counts, 1e-9)[:, np.newaxis]
    means = sums / safe_counts
    covariances = products / safe_counts[..., np.newaxis]
    covariances = covariances - means[:, :, np.newaxis] * means[:, np.newaxis, :]
    total = max(counts.sum(), 1e-9)
    variance = np.trace(products.sum(axis=0)) / total - np.sum((sums.sum(axis=0) / total) ** 2)
    return means, covariances + 1e-6 * (variance / dim if variance > 0 else 1.0) * np.eye(dim)


class SquaredDistances:
    """Squared Mahalanobis distances to K Gaussians, prepared once for many points.

    Args:
        means: `[K, D]` float64.
        covariances: `[K, D, D]` float64, positive semi-definite up to rounding.
        precision: of the products with points of more than 12 features, float64 or float32. The
            relative error of a whitened coordinate is that precision's times the distance to the
            origin in standard deviations of the component.

    Attributes:
        log_determinants: `[K]`.
        coefficients: what points are multiplied by, component last: `[1 + D + D^2, K]`, or for
            many features blocks of rows of the whitening matrices, transposed, over their offset.
    """

    def __init__(self, means, covariances, precision: tf.DType = tf.float64):
        factors = cholesky(covariances)
        dim = int(means.shape[-1])
        identity = tf.eye(dim, batch_shape=tf.shape(factors)[:1], dtype=factors.dtype)
        whiteners = tf.linalg.triangular_solve(factors, identity)
        self.log_determinants = 2.0 * tf.reduce_sum(
            tf.math.log(tf.linalg.diag_part(factors)), axis=-1
        )
        if dim <= _MAX_QUADRATIC_DIM:
            self.coefficients = (_quadratic_form(means, whiteners),)
        else:
            blocks = _whitening_blocks(means, whiteners)
            self.coefficients = tuple(tf.cast(block, precision) for block in blocks)

    @classmethod
    def from_coefficients(cls, log_determinants, coefficients) -> SquaredDistances:
        """The distances behind the two attributes of another; all have the component last."""
        distances = cls.__new__(cls)
        distances.log_determinants, distances.coefficients = log_determinants, coefficients
        return distances

    def __call__(self, points, moments=None) -> tf.Tensor:
        """Distances of `points [N, D]`, `[N, K]` float64, non-negative.

        `moments` may hold `moment_features(points)` if they are at hand already.
        """
        first = self.coefficients[0]
        if first.shape.rank == 2:
            if moments is not None:
                return self._from_moments(moments)
            width = int(first.shape[0])
            return self._over_slices(
                points, lambda piece: self._from_moments(moment_features(piece)), width
            )
        # Small enough for a cache, where the products are squared and added up.
        width = 4 * int(first.shape[1]) * (first.shape[2] or 64)
        return self._over_slices(points, self._whitened, width)

    def _from_moments(self, moments) -> tf.Tensor:
        return tf.maximum(tf.linalg.matmul(moments, self.coefficients[0]), 0.0)

    def _whitened(self, points) -> tf.Tensor:
        points = tf.cast(points, self.coefficients[0].dtype)
        total = tf.zeros([], points.dtype)
        for block in self.coefficients:
            depth, width, _ = block.shape
            ones = tf.ones_like(points[:, :1])
            known = tf.concat([ones, points[:, : depth - 1]], axis=1)
            whitened = tf.linalg.matmul(known, tf.reshape(block, [depth, -1]))
            shape = [-1, width, tf.shape(block)[2]]
            total += tf.reduce_sum(tf.square(tf.reshape(whitened, shape)), axis=1)
        return tf.cast(total, tf.float64)

    def _over_slices(self, points, function, width: int) -> tf.Tensor:
        slice_size = max(256, _SLICE_ELEMENTS // width)
        if points.shape[0] is not None and points.shape[0] <= slice_size:
            return function(points)
        num_components = self.log_determinants.shape[0]
        num_points = tf.shape(points)[0]
        # Of no points, one empty slice: it knows the number of components.
        num_slices = tf.maximum((num_points + slice_size - 1) // slice_size, 1)
        pieces = tf.TensorArray(
            tf.float64, num_slices, infer_shape=False, element_shape=[None, num_components]
        )

        def body(index, pieces):
            piece = function(points[index * slice_size : (index + 1) * slice_size])
            return index + 1, pieces.write(index, piece)

        _, pieces = tf.while_loop(
            lambda index, _: index < num_slices, body, (0, pieces), parallel_iterations=1
        )
        return pieces.concat()


class LogJoint:
    """`log pi_k + log p(x | k)` for fixed parameters, prepared once for many points.

    Args:
        parameters: the mixture, of Gaussians or of t distributions.
        precision: see `SquaredDistances`.

    Attributes:
        distances: of points to the components.
        tails: see `JointTensors`.
    """

    def __init__(
        self,
        parameters: MixtureParameters | TMixtureParameters,
        precision: tf.DType = tf.float64,
    ):
        weights, means, shapes = parameters[:3]
        self.distances = SquaredDistances(means, shapes, precision)
        self._constants = tf.math.log(weights) - 0.5 * self.distances.log_determinants
        self.tails: tuple[tf.Tensor, ...] = ()
        dim = int(means.shape[-1])
        if not isinstance(parameters, TMixtureParameters):
            self._constants -= 0.5 * dim * math.log(2.0 * math.pi)
            return
        df = tf.convert_to_tensor(parameters.df)
        half_power = 0.5 * (df + dim)
        self.tails = df, half_power
        self._constants += (
            tf.math.lgamma(half_power)
            - tf.math.lgamma(0.5 * df)
            - 0.5 * dim * tf.math.log(df * math.pi)
        )

    @property
    def tensors(self) -> JointTensors:
        """All that the density consists of."""
        distances = self.distances
        return JointTensors(
            self._constants, distances.log_determinants, distances.coefficients, self.tails
        )

    @classmethod
    def of_first(cls, num_components, tensors: JointTensors) -> LogJoint:
        """The density of the first components among those whose `tensors` are given.

        Args:
            num_components: scalar integer tensor.
            tensors: of a density with at least as many components.
        """
        density = cls.__new__(cls)
        first = tf.nest.map_structure(lambda tensor: tensor[..., :num_components], tensors)
        density._constants, log_determinants, coefficients, density.tails = first
        density.distances = SquaredDistances.from_coefficients(log_determinants, coefficients)
        return density

    @property
    def num_components(self) -> int:
        """K."""
        return int(self._constants.shape[0])

    def __call__(self, points, moments=None) -> tf.Tensor:
        """Log joint densities of `points [N, D]`, `[N, K]` float64, nats."""
        return self.at_distances(self.distances(points, moments))

    def at_distances(self, distances) -> tf.Tensor:
        """Log joint densities at squared Mahalanobis distances, both `[N, K]`."""
        if not self.tails:
            return self._constants - 0.5 * distances
        df, half_power = self.tails
        return self._constants - half_power * tf.math.log1p(distances / df)


class LogPredictive:
    """Log posterior predictive density of a mixture: a weighted sum of multivariate t densities.

    Args:
        mixture_weights: `[K]`.
        after: NIW posteriors of the components, batch shape `[K]`.
    """

    def __init__(self, mixture_weights, after: NIWParameters):
        df, loc, scale_tril = evidence.predictive(after)
        shape = tf.linalg.matmul(scale_tril, scale_tril, transpose_b=True)
        self._joint = LogJoint(TMixtureParameters(mixture_weights, loc, shape, df))

    def components(self, points) -> tf.Tensor:
        """`log pi_k + log t_k(x)`, `[N, K]` float64, nats."""
        return self._joint(points)

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


def _whitening_blocks(means, whiteners) -> list[tf.Tensor]:
    """Coefficients of `[1, x]` in whitened coordinates, a few coordinates at a time.

    Returns:
        Blocks `[1 + d, w, K]` for the `w` coordinates up to the `d`-th, which no later feature
        has a share in. Components are last, so that squares are added up along all of them.
    """
    dim = int(means.shape[-1])
    offsets = -tf.linalg.matvec(whiteners, means)
    blocks = []
    for start in range(0, dim, _WHITENED_AT_ONCE):
        stop = min(start + _WHITENED_AT_ONCE, dim)
        rows = tf.concat(
            [offsets[:, start:stop, tf.newaxis], whiteners[:, start:stop, :stop]], axis=2
        )
        blocks.append(tf.transpose(rows, [2, 1, 0]))
    return blocks


def log_joint(parameters: MixtureParameters, points) -> tf.Tensor:
    """`log pi_k + log N(x_i; mu_k, Sigma_k)` ([DeepDPM] eq. 1), `[N, K]` float64, nats."""
    return LogJoint(parameters)(points)


def responsibilities(parameters: MixtureParameters, points) -> tf.Tensor:
    """E-step probabilities ([DeepDPM] eq. 5), `[N, K]` float64, rows sum to one."""
    return tf.nn.softmax(log_joint(parameters, points), axis=-1)
