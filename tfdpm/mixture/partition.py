"""Scores and mixtures of whole partitions in NumPy, for searches that need thousands of them.

The same formulas as `niw.py` and `parameters.py` (tests hold one to the other), for a prior with
scale matrix `scale * I` or a given one. On stacks as small as a partition's, TensorFlow's cost per
operation would be ten times that of the arithmetic.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.special import gammaln, multigammaln

from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics


@dataclasses.dataclass(frozen=True)
class PartitionPrior:
    """NIW prior around the origin, and the Dirichlet process.

    Attributes:
        scale: `[D, D]` inverse-Wishart scale matrix, positive definite.
        df: nu, > D - 1.
        mean_precision: kappa, > 0.
        dp_concentration: alpha, > 0.
        weight_concentration: pseudo-points shared by all mixture weights.
    """

    scale: np.ndarray
    df: float
    mean_precision: float
    dp_concentration: float
    weight_concentration: float

    @property
    def dim(self) -> int:
        """D."""
        return self.scale.shape[0]

    def terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Each component's share of `log p(X, z)`, as `hastings.log_partition_terms`, `[K]`."""
        counts, dim = statistics.counts, self.dim
        precision, _, scale = self._posterior(statistics)
        half_df = 0.5 * (self.df + counts)
        log_gamma = 0.25 * dim * (dim - 1) * math.log(math.pi) + gammaln(
            half_df[:, np.newaxis] - 0.5 * np.arange(dim)
        ).sum(axis=1)
        evidence = (
            -0.5 * dim * math.log(math.pi) * counts
            + log_gamma
            - multigammaln(0.5 * self.df, dim)
            + 0.5 * self.df * np.linalg.slogdet(self.scale)[1]
            - half_df * np.linalg.slogdet(scale)[1]
            + 0.5 * dim * (math.log(self.mean_precision) - np.log(precision))
        )
        has_points = counts > 0
        process = math.log(self.dp_concentration) + gammaln(np.where(has_points, counts, 1.0))
        return np.where(has_points, process + evidence, 0.0)

    def map_mixture(self, statistics: SufficientStatistics) -> MixtureParameters:
        """MAP mixture, as `parameters.m_step` with the joint mode."""
        _, means, scale = self._posterior(statistics)
        divisor = self.df + statistics.counts + self.dim + 2.0
        weights = statistics.counts + self.weight_concentration / len(statistics.counts)
        return MixtureParameters(
            weights / weights.sum(), means, scale / divisor[:, np.newaxis, np.newaxis]
        )

    def spread(self, statistics: SufficientStatistics) -> np.ndarray:
        """Eigenvalues `[K, D]` of each posterior scale matrix less the prior's own `s * I`."""
        _, _, scale = self._posterior(statistics)
        return np.maximum(np.linalg.eigvalsh(scale) - self.scale[0, 0], 0.0)

    def _posterior(
        self, statistics: SufficientStatistics
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """kappa* `[K]`, m* `[K, D]` and scale* `[K, D, D]`."""
        counts, sums, products = statistics
        precision = self.mean_precision + counts
        means = sums / precision[:, np.newaxis]
        outer = means[:, :, np.newaxis] * means[:, np.newaxis, :]
        scale = products - precision[:, np.newaxis, np.newaxis] * outer
        scale = self.scale + 0.5 * (scale + np.swapaxes(scale, 1, 2))
        return precision, means, scale


def squared_distances(
    parameters: MixtureParameters, points: np.ndarray, moments: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Squared Mahalanobis distances `[n, K]` and log determinants `[K]`.

    Args:
        parameters: NumPy mixture of K components.
        points: `[n, D]`.
        moments: `moment_features(points)`, or `None` to whiten component by component.
    """
    _, means, covariances = parameters
    factors = np.linalg.cholesky(covariances)
    log_determinants = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    whiteners = np.linalg.inv(factors)
    if moments is not None:
        precisions = np.swapaxes(whiteners, 1, 2) @ whiteners
        linear = np.einsum("kab,kb->ka", precisions, means)
        intercepts = (linear * means).sum(axis=1, keepdims=True)
        quadratic = precisions.reshape(len(means), -1)
        kernel = np.concatenate([intercepts, -2.0 * linear, quadratic], axis=1)
        return moments @ kernel.T, log_determinants
    distances = np.empty((len(points), len(means)))
    for index in range(len(means)):
        whitened = (points - means[index]) @ whiteners[index].T
        distances[:, index] = np.einsum("nd,nd->n", whitened, whitened)
    return distances, log_determinants
