"""The prior over partitions of a sample and their mixtures, and log joint densities in NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.linalg

from tfdpm.mixture import evidence
from tfdpm.mixture.categories import Categories
from tfdpm.mixture.niw import NIWParameters, niw_parameters
from tfdpm.mixture.parameters import MixtureParameters, map_mixture_weights
from tfdpm.mixture.statistics import SufficientStatistics, triangle


@dataclasses.dataclass(frozen=True)
class PartitionPrior:
    """NIW prior about the origin and the Dirichlet process.

    Attributes:
        scale: `[D, D]` inverse-Wishart scale matrix, positive definite.
        df: nu, > D - 1.
        mean_precision: kappa, > 0.
        dp_concentration: alpha of the Dirichlet process, > 0.
        weight_concentration: pseudo-points shared by all mixture weights.
        covariance: structure of the covariances, one of `covariance.STRUCTURES`.
        categories: which of the first features are flags of categories; `None` for none.
    """

    scale: np.ndarray
    df: float
    mean_precision: float
    dp_concentration: float
    weight_concentration: float
    covariance: str = "full"
    categories: Categories | None = None

    @property
    def dim(self) -> int:
        """Number of features D."""
        return len(self.scale)

    def as_niw(self) -> NIWParameters:
        """The Normal-inverse-Wishart part as checked tensors."""
        return niw_parameters(np.zeros(self.dim), self.mean_precision, self.df, self.scale)

    def with_axes(self, variances: np.ndarray) -> PartitionPrior:
        """Returns the prior of points with further features of `variances [D']`.

        Within clusters it expects the same share of each further feature's variance as of the
        present last feature's, which is about 1.
        """
        scale = scipy.linalg.block_diag(self.scale, np.diag(self.scale[-1, -1] * variances))
        return dataclasses.replace(self, scale=scale, df=self.df + len(variances))

    def terms(self, statistics: SufficientStatistics) -> np.ndarray:
        """Each component's share of `log p(X, z)`, `[K]`; see `evidence.log_partition_terms`."""
        terms = evidence.log_partition_terms(
            self.niw_arrays, statistics, self.dp_concentration, self.covariance
        )
        if self.categories is not None:
            terms += self.categories.log_evidence(self.niw_arrays, statistics, self.covariance)
        return terms

    def map_mixture(self, statistics: SufficientStatistics) -> MixtureParameters:
        """The MAP mixture as NumPy arrays: mean and covariance at their joint mode."""
        after = evidence.posterior(self.niw_arrays, statistics, self.covariance)
        means, covariances = evidence.map_components(after, covariance=self.covariance)
        weights = map_mixture_weights(statistics.counts, self.weight_concentration)
        return MixtureParameters(weights, means, covariances)

    def fit_scale(self, statistics: SufficientStatistics, scale: float) -> float:
        """Fits the scale `s` of a prior `s * I` to the evidence of a partition's hard statistics.

        It begins with `scale`, that of this prior, whose matrix is a multiple of I, or that of the
        numbers where the first features are flags.
        """
        prior, counts = self.niw_arrays, statistics.counts
        matrices = evidence.posterior(prior, statistics).scale
        df, posterior_df = self.df, self.df + counts
        if self.categories is not None:
            if self.categories.num_flags == self.dim:
                return scale  # of which nothing depends
            matrices = self.categories.given_flags(matrices)
        if self.covariance == "full":
            added = np.linalg.eigvalsh(matrices) - self.scale[-1, -1]
        else:
            _, added, posterior_df = evidence.free_variances(
                prior, counts, matrices, self.covariance
            )
            df -= self.dim - 1.0
        spread = np.maximum(added, 0.0)
        # Type-II maximum likelihood by its fixed point: s <- nu D K / sum_kd nu*_k / (s + e_kd)
        # with the eigenvalues e of posterior scale matrices less the prior's, which s leaves alone.
        for _ in range(20):
            before, share = scale, np.sum(posterior_df[:, np.newaxis] / (scale + spread))
            scale = df * spread.size / float(share)
            if abs(np.log(scale / before)) < 0.01:
                break
        return scale

    @property
    def niw_arrays(self) -> NIWParameters:
        """The Normal-inverse-Wishart part as NumPy arrays."""
        return NIWParameters(np.zeros(self.dim), self.mean_precision, self.df, self.scale)


def triangle_moments(points: np.ndarray) -> np.ndarray:
    """One, the point, and the products `x_a x_b` with `a <= b`: `[n, 1 + D + D (D + 1) / 2]`.

    Each of them is contiguous over the points: of 20,000 x 10, in a ninth of the time that long
    products of each point take.
    """
    num_points, dim = points.shape
    moments = np.empty((1 + dim + dim * (dim + 1) // 2, num_points))
    moments[0] = 1.0
    moments[1 : 1 + dim] = points.T
    start = 1 + dim
    for feature in range(dim):
        stop = start + dim - feature
        np.multiply(moments[1 + feature], moments[1 + feature : 1 + dim], moments[start:stop])
        start = stop
    return moments.T


def log_joint_coefficients(parameters: MixtureParameters) -> np.ndarray:
    """Coefficients of `triangle_moments` in `log pi_k + log N(x; mu_k, Sigma_k)`.

    They are `[1 + D + D (D + 1) / 2, K]`; the constant `D / 2 log(2 pi)` is left out.
    """
    # With the precision P: log pi - (log|Sigma| + mu^T P mu) / 2 + (P mu)^T x - x^T P x / 2.
    weights, means, _ = parameters
    whiteners, log_determinants = whitening(parameters)
    precisions = np.swapaxes(whiteners, 1, 2) @ whiteners
    linear = np.einsum("kab,kb->ka", precisions, means)
    constants = np.log(weights) - 0.5 * (log_determinants + (linear * means).sum(axis=1))
    rows, columns, _ = triangle(means.shape[1])
    # Products off the diagonal stand for both triangles.
    multiples = np.where(rows == columns, -0.5, -1.0)
    quadratic = precisions[:, rows, columns] * multiples
    return np.concatenate([constants[:, np.newaxis], linear, quadratic], axis=1).T


def whitening(parameters: MixtureParameters) -> tuple[np.ndarray, np.ndarray]:
    """Inverse Cholesky factors `[K, D, D]` and log determinants `[K]` of the covariances."""
    factors = np.linalg.cholesky(parameters.covariances)
    log_determinants = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    return np.linalg.inv(factors), log_determinants
