"""Calibrated p-values of points under a mixture's posterior predictive."""

from __future__ import annotations

import numpy as np
import scipy.special
import tensorflow as tf

from tfdpm.mixture import evidence
from tfdpm.mixture.categories import Categories, density_of
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters

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

    Beside categories, components are as `predictive_components` says, and shares include the rows
    that are as likely as the point.

    Args:
        mixture_weights: `[K]`.
        after: NIW posteriors of the components, batch shape `[K]`.
        categories: which of the first features are flags of categories; `None` for none.

    Attributes:
        components: `log pi_k + log p(x | k)` of points `[N, D]`, `[N, K]` float64, nats.
    """

    def __init__(
        self,
        mixture_weights: tf.Tensor,
        after: NIWParameters,
        categories: Categories | None = None,
    ):
        self.components = LogJoint(predictive_components(mixture_weights, after, categories))
        loc = np.asarray(after.loc)
        self._table = None if categories is None else categories.shares_beyond(loc)

    def __call__(self, points: tf.Tensor) -> tf.Tensor:
        """Log density of `points [N, D]`, `[N]` float64, nats."""
        return tf.reduce_logsumexp(self.components(points), axis=-1)

    def tails(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log density, nats, and p-value of `points [N, D]`, both `[N]` float64."""
        distances = self.components.distances(points)
        logits = self.components.at_distances(distances)
        if self._table is not None:
            return tf.reduce_logsumexp(logits, axis=-1), tf.constant(
                self._mean_share(logits.numpy(), distances.numpy())
            )
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
        return self._mean_share(*self.components.of_few(points))

    def shares(self, distances: np.ndarray) -> np.ndarray:
        """Share of each component that lies farther out than squared distances, both `[N, K]`."""
        if self._table is not None:
            pairs = zip(distances.T, self._table[1], strict=True)
            return np.stack([np.interp(own, self._table[0], row) for own, row in pairs], axis=1)
        df, half_power = self.components.arrays.tails
        return np.asarray(
            scipy.special.betainc(0.5 * df, half_power - 0.5 * df, df / (df + distances))
        )

    def _mean_share(self, logits: np.ndarray, distances: np.ndarray) -> np.ndarray:
        weights = np.exp(logits - _log_sum(logits)[:, np.newaxis])
        return np.asarray(np.einsum("nk,nk->n", weights, self.shares(distances)))


def predictive_components(
    mixture_weights: tf.Tensor, after: NIWParameters, categories: Categories | None = None
) -> MixtureParameters | TMixtureParameters:
    """Posterior predictive of one further point, of each component, `[K]`.

    Of numbers they are t distributions. Beside categories they are Gaussians of the same locations
    and shapes, made such that flags have the probabilities of `Categories.as_gaussians`.
    """
    df, loc, scale_tril = evidence.predictive(after)
    shape = tf.linalg.matmul(scale_tril, scale_tril, transpose_b=True)
    if categories is None:
        return TMixtureParameters(mixture_weights, loc, shape, df)
    return density_of(MixtureParameters(mixture_weights, loc, shape), categories)


def _log_sum(logits: np.ndarray) -> np.ndarray:
    """Logarithms `[N]` of the sums of `exp(logits) [N, K]`."""
    largest = logits.max(axis=1)
    return np.asarray(largest + np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=1)))
