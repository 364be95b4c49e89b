"""What a mixture says of one batch, in NumPy: TensorFlow would take longer to start than this."""

from __future__ import annotations

import numpy as np
import scipy.special

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture import evidence
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.networks.losses import LEAST_LOGS
from tfdpm.search.state import MixtureState

# Of whitened points, n K D. Half of it takes as long; five times of it leaves the cache, and takes
# more than twice as long.
_SLICE_ELEMENTS = 200_000


def is_unexplained(state: MixtureState, features: np.ndarray, share: float) -> np.ndarray:
    """Whether each point of `features [n, D]` lies farther out than all but a share, `[n]`.

    Farther out of every component, that is, than this share of the component's own points would
    under its posterior predictive. See `PredictiveTails` for their distances.
    """
    after = state.posterior()
    if state.categories is not None:
        tails = PredictiveTails(state.parameters.mixture_weights, after, state.categories)
        shares = tails.shares(tails.components.of_few(features)[1])
        return np.asarray((shares < share).all(axis=1))
    df, loc, scale_tril = evidence.predictive(after)
    dim = loc.shape[1]
    farthest = dim * scipy.special.fdtri(dim, df, 1.0 - share)[:, np.newaxis]
    is_outside = [
        (distances > farthest).all(axis=0) for distances in _distances(features, loc, scale_tril)
    ]
    return np.concatenate(is_outside) if is_outside else np.zeros(0, bool)


def divergence(
    parameters: MixtureParameters,
    features: np.ndarray,
    responsibilities: np.ndarray,
    config: DeepDPMConfig,
) -> float:
    """The mean loss of networks that give `features [n, D]` these responsibilities `[n, K]`.

    As `kl_cluster_loss` has it, nats per point.
    """
    weights, means, covariances = (np.asarray(part) for part in parameters)
    factors = np.linalg.cholesky(covariances)
    constants = np.log(weights) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    distances = np.concatenate(list(_distances(features, means, factors)), axis=1)
    log_joint = constants[:, np.newaxis] - 0.5 * distances
    log_joint -= log_joint.max(axis=0)
    targets = log_joint - np.log(np.exp(log_joint).sum(axis=0))
    found = np.ascontiguousarray(responsibilities.T, np.float64)
    first, second = np.log(np.maximum(found, np.finfo(np.float64).tiny)), targets
    if config.kl_direction == "target_to_network":
        first, second, found = second, first, np.exp(targets)
    least = LEAST_LOGS[config.kl_direction]
    differences = np.maximum(first, least) - np.maximum(second, least)
    return float(np.sum(found * differences)) / len(features)


def _distances(features: np.ndarray, means: np.ndarray, factors: np.ndarray):
    """Squared Mahalanobis distances `[K, n]`, some points at a time.

    Of means `[K, D]` and Cholesky factors `[K, D, D]` of the covariances.
    """
    count, dim = means.shape
    whiteners = np.linalg.inv(factors)
    offsets = np.einsum("kab,kb->ka", whiteners, means)
    # Of points with a one after them.
    affine = np.concatenate([whiteners, -offsets[:, :, np.newaxis]], axis=2).reshape(-1, dim + 1)
    rows = max(1, _SLICE_ELEMENTS // (count * dim))
    for start in range(0, len(features), rows):
        piece = features[start : start + rows].T
        whitened = (affine @ np.vstack([piece, np.ones(piece.shape[1])])).reshape(count, dim, -1)
        yield np.einsum("kdn,kdn->kn", whitened, whitened)
