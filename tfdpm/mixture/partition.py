"""Scores and mixtures of whole partitions in NumPy, for searches that need thousands of them.

The same formulas as `niw.py` and `parameters.py` (tests hold one to the other), for a prior with
scale matrix `scale * I` or a given one. On stacks as small as a partition's, TensorFlow's cost per
operation would be ten times that of the arithmetic.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.linalg
from scipy.special import gammaln, multigammaln

from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.prior import fixed_point_scale
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
        covariance: structure, see `covariance.py`.
    """

    scale: np.ndarray
    df: float
    mean_precision: float
    dp_concentration: float
    weight_concentration: float
    covariance: str = "full"

    @property
    def dim(self) -> int:
        """D."""
        return self.scale.shape[0]

    def as_niw(self) -> niw.NIWParameters:
        """The normal-inverse-Wishart part."""
        return niw.niw_parameters(np.zeros(self.dim), self.mean_precision, self.df, self.scale)

    def with_axes(self, variances: np.ndarray) -> PartitionPrior:
        """The prior of points with further features.

        It expects of each a variance within clusters that is to its own as the present first
        feature's is to one.

        Args:
            variances: `[D']` of the further features, where those of the present ones are about 1.
        """
        further = self.scale[0, 0] * variances
        scale = scipy.linalg.block_diag(self.scale, np.diag(further))
        return dataclasses.replace(self, scale=scale, df=self.df + len(variances))

    def terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Each component's share of `log p(X, z)`, as `hastings.log_partition_terms`, `[K]`."""
        counts, dim = statistics.counts, self.dim
        precision, _, scale = self._posterior(statistics)
        if self.covariance == "full":
            evidence = self._full_evidence(counts, scale)
        else:
            evidence = self._restricted_evidence(counts, scale)
        evidence = (
            evidence
            - 0.5 * dim * math.log(math.pi) * counts
            + 0.5 * dim * (math.log(self.mean_precision) - np.log(precision))
        )
        has_points = counts > 0
        process = math.log(self.dp_concentration) + gammaln(np.where(has_points, counts, 1.0))
        return np.where(has_points, process + evidence, 0.0)

    def _full_evidence(self, counts: np.ndarray, scale: np.ndarray) -> np.ndarray:
        dim, half_df = self.dim, 0.5 * (self.df + counts)
        log_gamma = 0.25 * dim * (dim - 1) * math.log(math.pi) + gammaln(
            half_df[:, np.newaxis] - 0.5 * np.arange(dim)
        ).sum(axis=1)
        return (
            log_gamma
            - multigammaln(0.5 * self.df, dim)
            + 0.5 * self.df * np.linalg.slogdet(self.scale)[1]
            - half_df * np.linalg.slogdet(scale)[1]
        )

    def _restricted_evidence(self, counts: np.ndarray, scale: np.ndarray) -> np.ndarray:
        before, added, df = self._variances(counts, scale)
        df_before = self.df - self.dim + 1.0
        return (
            added.shape[1] * (gammaln(0.5 * df) - gammaln(0.5 * df_before))
            + 0.5 * df_before * np.log(before).sum()
            - 0.5 * df * np.log(before + added).sum(axis=1)
        )

    def _variances(
        self, counts: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Free variances: prior scales `[V]`, what points add `[K, V]`, degrees of freedom `[K]`.

        Args:
            counts: `[K]`.
            scale: full posterior scale matrices `[K, D, D]`.
        """
        df = self.df - self.dim + 1.0
        before = np.diagonal(self.scale)
        added = np.diagonal(scale, axis1=1, axis2=2) - before
        if self.covariance == "diagonal":
            return before, added, df + counts
        return before.mean(keepdims=True), added.sum(axis=1, keepdims=True), df + self.dim * counts

    def map_mixture(self, statistics: SufficientStatistics) -> MixtureParameters:
        """MAP mixture, as `parameters.m_step` with the joint mode."""
        _, means, scale = self._posterior(statistics)
        if self.covariance == "full":
            covariances = scale / (self.df + statistics.counts + self.dim + 2.0)[:, None, None]
        else:
            before, added, df = self._variances(statistics.counts, scale)
            num_means = 1 if self.covariance == "diagonal" else self.dim
            variances = (before + added) / (df + num_means + 2.0)[:, np.newaxis]
            covariances = variances[:, np.newaxis, :] * np.eye(self.dim)
        weights = statistics.counts + self.weight_concentration / len(statistics.counts)
        return MixtureParameters(weights / weights.sum(), means, covariances)

    def fitted_scale(self, statistics: SufficientStatistics, scale: float) -> float:
        """Multiple of I with the largest evidence given the partition; see `prior.fitted_scale`.

        Args:
            statistics: hard statistics of the partition.
            scale: to start from; the prior's own, which is a multiple of I.
        """
        counts = statistics.counts
        _, _, matrices = self._posterior(statistics)
        df, posterior_df = self.df, self.df + counts
        if self.covariance == "full":
            added = np.linalg.eigvalsh(matrices) - self.scale[0, 0]
        else:
            _, added, posterior_df = self._variances(counts, matrices)
            df -= self.dim - 1.0
        return fixed_point_scale(np.maximum(added, 0.0), posterior_df, df, scale)

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


def triangle_moments(points: np.ndarray) -> np.ndarray:
    """One, the point, and the products `x_a x_b` with `a <= b`: `[n, 1 + D + D (D + 1) / 2]`.

    Args:
        points: `[n, D]` float64.
    """
    num_points, dim = points.shape
    moments = np.empty((num_points, 1 + dim + dim * (dim + 1) // 2))
    moments[:, 0] = 1.0
    moments[:, 1 : 1 + dim] = points
    start = 1 + dim
    for feature in range(dim):
        stop = start + dim - feature
        np.multiply(points[:, feature : feature + 1], points[:, feature:], moments[:, start:stop])
        start = stop
    return moments


def log_joint_coefficients(parameters: MixtureParameters) -> np.ndarray:
    """What `triangle_moments` are multiplied by for `log pi_k + log N(x; mu_k, Sigma_k)`.

    The constant `D / 2 log(2 pi)` is left out.

    Args:
        parameters: NumPy mixture of K components.

    Returns:
        `[1 + D + D (D + 1) / 2, K]`.
    """
    weights, means, _ = parameters
    whiteners, log_determinants = whitening(parameters)
    precisions = np.swapaxes(whiteners, 1, 2) @ whiteners
    linear = np.einsum("kab,kb->ka", precisions, means)
    constants = np.log(weights) - 0.5 * (log_determinants + (linear * means).sum(axis=1))
    rows, columns = np.triu_indices(means.shape[1])
    # Products off the diagonal stand for both triangles.
    multiples = np.where(rows == columns, -0.5, -1.0)
    quadratic = precisions[:, rows, columns] * multiples
    return np.concatenate([constants[:, np.newaxis], linear, quadratic], axis=1).T


def whitening(parameters: MixtureParameters) -> tuple[np.ndarray, np.ndarray]:
    """Inverse Cholesky factors `[K, D, D]` and log determinants `[K]` of the covariances."""
    factors = np.linalg.cholesky(parameters.covariances)
    log_determinants = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    return np.linalg.inv(factors), log_determinants
