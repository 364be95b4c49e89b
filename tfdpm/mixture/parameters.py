"""Parameters of Gaussian and t mixtures, and the M-step that estimates those of Gaussians."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import evidence
from tfdpm.mixture.covariance import positive_definite, restrict_covariances
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.statistics import SufficientStatistics


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


_Mixture = TypeVar("_Mixture", MixtureParameters, TMixtureParameters)


def as_tensors(mixture: _Mixture) -> _Mixture:
    """A mixture of either kind with tensors for NumPy arrays."""
    return type(mixture)(*(tf.constant(part) for part in mixture))


def pooled_moments(parameters: MixtureParameters, groups: np.ndarray) -> MixtureParameters:
    """Weights, means and covariances of groups of components, each group taken as one.

    Args:
        parameters: the mixture of K components.
        groups: `[K]` group of each component, numbered by the first component of each.
    """
    num_groups = int(groups.max()) + 1
    if num_groups == parameters.num_components:
        return parameters
    weights, means, covariances = (np.asarray(part) for part in parameters)
    total = np.bincount(groups, weights, num_groups)
    shares = np.eye(num_groups)[groups] * (weights / total[groups])[:, np.newaxis]
    pooled = shares.T @ means
    # Total covariance: mean of the covariances, and covariance of the means.
    apart = means - pooled[groups]
    within = covariances + apart[:, :, np.newaxis] * apart[:, np.newaxis, :]
    return as_tensors(MixtureParameters(total, pooled, np.einsum("kg,kab->gab", shares, within)))


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
