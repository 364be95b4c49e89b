"""Calibrated p-values of points under a mixture's posterior predictive."""

from __future__ import annotations

import numpy as np
import scipy.special
import tensorflow as tf

from tfdpm.mixture import evidence
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.parameters import TMixtureParameters

_FEW_POINTS = 16  # that NumPy evaluates: TensorFlow takes a millisecond before it begins


class PredictiveTails:
    """Log density and p-value of points under a mixture of multivariate t distributions.

    Of D-dimensional points of a multivariate t with `df` degrees of freedom, the squared
    Mahalanobis distance d2 over D follows Fisher's F with `(D, df)` degrees of freedom. The share
    of a component that lies farther out, where its density is lower, is thus the regularised
    incomplete beta function `I(df / 2, D / 2; df / (df + d2))`. A point's p-value is the mean of
    its components' shares, weighted by their posterior probabilities.

    Shares count within components. A share of the whole mixture's density would call every point
    of a small, wide cluster an outlier, however typical it is of that cluster.

    The p-value is the mean, given the point, of the share of the component that it was drawn from,
    and that share is uniform. So for points of the mixture it is uniform where components do not
    overlap; where they do, at most `2 p` of the points have a value below `p` (Meng 1994,
    "Posterior predictive p-values", section 5).

    Args:
        mixture_weights: `[K]`.
        after: NIW posteriors of the components, batch shape `[K]`.

    Attributes:
        components: `log pi_k + log t_k(x)` of points `[N, D]`, `[N, K]` float64, nats.
    """

    def __init__(self, mixture_weights: tf.Tensor, after: NIWParameters):
        df, loc, scale_tril = evidence.predictive(after)
        shape = tf.linalg.matmul(scale_tril, scale_tril, transpose_b=True)
        self.components = LogJoint(TMixtureParameters(mixture_weights, loc, shape, df))

    def __call__(self, points: tf.Tensor) -> tf.Tensor:
        """Log density of `points [N, D]`, `[N]` float64, nats."""
        return tf.reduce_logsumexp(self.components(points), axis=-1)

    def tails(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log density, nats, and p-value of `points [N, D]`, both `[N]` float64."""
        distances = self.components.distances(points)
        logits = self.components.at_distances(distances)
        df, half_power = self.components.tensors.tails
        # The operation does not broadcast.
        ones = tf.ones_like(distances)
        shares = tf.math.betainc(
            0.5 * df * ones, (half_power - 0.5 * df) * ones, df / (df + distances)
        )
        p_values = tf.reduce_sum(tf.nn.softmax(logits) * shares, axis=-1)
        return tf.reduce_logsumexp(logits, axis=-1), p_values

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Log density of an array of `points [N, D]`, few or many, `[N]` float64, nats."""
        if len(points) > _FEW_POINTS:
            return np.asarray(self(points))
        return _log_sum(self.components.of_few(points)[0])

    def p_values(self, points: np.ndarray) -> np.ndarray:
        """P-values of an array of `points [N, D]`, few or many, `[N]` float64."""
        if len(points) > _FEW_POINTS:
            return np.asarray(self.tails(points)[1])
        logits, distances = self.components.of_few(points)
        df, half_power = self.components.arrays.tails
        shares = scipy.special.betainc(0.5 * df, half_power - 0.5 * df, df / (df + distances))
        weights = np.exp(logits - _log_sum(logits)[:, np.newaxis])
        return np.asarray(np.einsum("nk,nk->n", weights, shares))


def _log_sum(logits: np.ndarray) -> np.ndarray:
    """Logarithms `[N]` of the sums of `exp(logits) [N, K]`."""
    largest = logits.max(axis=1)
    return np.asarray(largest + np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=1)))
