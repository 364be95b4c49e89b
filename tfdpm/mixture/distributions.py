"""TFP distributions of the mixture's prior and predictive, for users and as an oracle in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfdpm import checks
from tfdpm.mixture import evidence
from tfdpm.mixture.covariance import cholesky
from tfdpm.mixture.niw import NIWParameters, check_values
from tfdpm.mixture.statistics import SufficientStatistics, accumulate

MultivariateStudentT = tfd.MultivariateStudentTLinearOperator


class MeanAndCovariance(NamedTuple):
    """A Gaussian's parameters: what a Normal-inverse-Wishart is a distribution over.

    The covariance comes first because TFP draws fields in this order.
    """

    covariance: Any
    mean: Any


class NormalInverseWishart(tfd.JointDistributionNamed):  # type: ignore[misc]  # TFP is not typed
    """Joint distribution of the mean and covariance of a Gaussian.

    `covariance ~ InverseWishart(df, scale)`, `mean | covariance ~ N(loc, covariance /
    mean_precision)`: [DeepDPM] supplement eq. 8-11 with `scale = nu * Psi`.

    Samples, and the argument of `log_prob`, are `MeanAndCovariance` tuples: covariances
    `[..., D, D]` and means `[..., D]`.

    Examples:
        >>> prior = NormalInverseWishart([0.0, 0.0], 1e-4, 4.0, [[1.0, 0.0], [0.0, 1.0]])
        >>> statistics = prior.statistics([[0.1, 0.2], [0.3, 0.1]])
        >>> prior.log_evidence(statistics).shape
        TensorShape([1])

    Args:
        loc: `[..., D]` floating; prior mean m.
        mean_precision: `[...]` floating, > 0; kappa, in pseudo-observations.
        df: `[...]` floating, > D - 1; nu.
        scale: `[..., D, D]` symmetric positive definite, squared feature units.
        validate_args: whether densities check their arguments when evaluated.
        name: name of the distribution.

    Attributes:
        loc: `[..., D]`, prior mean m.
        mean_precision: `[...]`, pseudo-observations behind the mean, kappa.
        df: `[...]`, degrees of freedom, nu.
        scale: `[..., D, D]`, inverse-Wishart scale matrix, squared feature units.

    Raises:
        ValueError: if ranks or sizes disagree, or a parameter is out of its range.
    """

    def __init__(
        self,
        loc: Any,
        mean_precision: Any,
        df: Any,
        scale: Any,
        *,
        validate_args: bool = False,
        name: str = "NormalInverseWishart",
    ):
        given = loc, mean_precision, df, scale
        # float64 unless every floating tensor or array is float32.
        dtypes = {tf.as_dtype(part.dtype) for part in given if hasattr(part, "dtype")}
        dtype = tf.float32 if dtypes == {tf.float32} else tf.float64
        niw = _broadcast(NIWParameters(*(tf.convert_to_tensor(part, dtype) for part in given)))
        self.loc, self.mean_precision, self.df, self.scale = niw
        self._dim = int(self.loc.shape[-1])
        scale_tril = cholesky(self.scale)
        identity = tf.eye(self._dim, batch_shape=self.df.shape, dtype=dtype)
        precision_tril = cholesky(tf.linalg.cholesky_solve(scale_tril, identity))
        covariance = tfd.TransformedDistribution(
            tfd.WishartTriL(self.df, scale_tril=precision_tril, validate_args=validate_args),
            # Precision -> its Cholesky factor -> that of the covariance -> the covariance.
            tfb.Chain(
                [
                    tfb.CholeskyOuterProduct(),
                    tfb.CholeskyToInvCholesky(),
                    tfb.Invert(tfb.CholeskyOuterProduct()),
                ]
            ),
            name="InverseWishart",
        )

        def mean(covariance: tf.Tensor) -> tfd.Distribution:
            precision = self.mean_precision[..., tf.newaxis, tf.newaxis]
            return tfd.MultivariateNormalTriL(
                self.loc,
                scale_tril=cholesky(covariance / precision),
                validate_args=validate_args,
            )

        super().__init__(
            MeanAndCovariance(covariance=covariance, mean=mean),
            batch_ndims=self.df.shape.rank,
            use_vectorized_map=False,
            validate_args=validate_args,
            name=name,
        )
        # What `copy` and `parameters` are about: this class's arguments, not its base class's.
        self._parameters = self._no_dependency(
            dict(niw._asdict(), validate_args=validate_args, name=name)
        )

    def __getitem__(self, slices: Any) -> NormalInverseWishart:
        """The distributions at an index of the batch, as of any of TFP, such as `prior[0]`."""
        slices = slices if isinstance(slices, tuple) else (slices,)
        if not any(each is Ellipsis for each in slices):
            slices = (*slices, Ellipsis)
        parts = {
            name: getattr(self, name)[(*slices, *[slice(None)] * rank)]
            for name, rank in (("loc", 1), ("mean_precision", 0), ("df", 0), ("scale", 2))
        }
        return NormalInverseWishart(**parts, validate_args=self.validate_args, name=self.name)

    def mean(self) -> MeanAndCovariance:
        """Means of both parts: `loc` and `scale / (df - D - 1)`, NaN where `df <= D + 1`."""
        divisor = self.df - self._dim - 1.0
        return self._structure(tf.where(divisor > 0, divisor, float("nan")))

    def mode(self) -> MeanAndCovariance:
        """Joint mode: `loc` and `scale / (df + D + 2)`."""
        return self._structure(self.df + self._dim + 2.0)

    def statistics(self, points: Any, weights: Any = None) -> SufficientStatistics:
        """Statistics of `points [N, D]` for the methods below, float64.

        Args:
            points: `[N, D]`.
            weights: `[N, K]` non-negative, or `None` for one component with weight one.
        """
        points = tf.convert_to_tensor(points, self.loc.dtype)
        if points.shape.rank != 2 or points.shape[-1] != self._dim:
            checks.fail("points", f"shape {tuple(points.shape)}", f"shape [N, {self._dim}]")
        weights = tf.ones_like(points[:, :1]) if weights is None else weights
        return accumulate(points, tf.convert_to_tensor(weights, points.dtype))

    def posterior(self, statistics: SufficientStatistics) -> NormalInverseWishart:
        """The posterior, one per component of the statistics (see `evidence.posterior`)."""
        after = self._evaluate(evidence.posterior, statistics, 1, 0, 0, 2)
        return NormalInverseWishart(*(tf.cast(part, self.loc.dtype) for part in after))

    def log_evidence(self, statistics: SufficientStatistics) -> tf.Tensor:
        """Closed-form log marginal likelihood of each component's points, nats, float64."""
        return self._evaluate(evidence.log_evidence, statistics, 0)[0]

    def posterior_predictive(
        self, statistics: SufficientStatistics | None = None
    ) -> tfd.MultivariateStudentTLinearOperator:
        """Multivariate t of the next point given the statistics (the prior's if `None`)."""
        if statistics is None:
            nothing = (0.0 * part for part in (self.df, self.loc, self.scale))
            statistics = SufficientStatistics(*(tf.cast(part, tf.float64) for part in nothing))
        parts = self._evaluate(
            lambda *given: evidence.predictive(evidence.posterior(*given)), statistics, 0, 1, 2
        )
        df, loc, scale_tril = (tf.cast(part, self.loc.dtype) for part in parts)
        return MultivariateStudentT(
            df, loc, tf.linalg.LinearOperatorLowerTriangular(scale_tril, is_non_singular=True)
        )

    def _evaluate(
        self,
        function: Callable[[NIWParameters, SufficientStatistics], Any],
        statistics: SufficientStatistics,
        *ranks: int,
    ) -> list[tf.Tensor]:
        """Arrays that a function of the prior returns, of so many axes each, also in a graph."""
        parameters = self.loc, self.mean_precision, self.df, self.scale
        prior = [tf.cast(part, tf.float64) for part in parameters]
        arrays = tf.numpy_function(
            lambda *parts: function(NIWParameters(*parts[:4]), SufficientStatistics(*parts[4:])),
            [*prior, *statistics],
            [tf.float64] * len(ranks),
        )
        batch = tf.broadcast_static_shape(self.df.shape, statistics.counts.shape)
        # One array alone is not given as a list.
        pairs = zip(tf.nest.flatten(arrays), ranks, strict=True)
        return [tf.ensure_shape(array, [*batch, *[self._dim] * rank]) for array, rank in pairs]

    def _structure(self, divisor: tf.Tensor) -> MeanAndCovariance:
        """The mean, and the scale matrix over a divisor."""
        covariance = self.scale / divisor[..., tf.newaxis, tf.newaxis]
        return MeanAndCovariance(covariance, tf.broadcast_to(self.loc, tf.shape(covariance)[:-1]))


def _broadcast(parameters: NIWParameters) -> NIWParameters:
    """Checks parameters and broadcasts them to one batch shape."""
    loc, mean_precision, df, scale = parameters
    if loc.shape.rank < 1:
        checks.fail("loc", f"shape {tuple(loc.shape)}", "shape [..., D]")
    dim = int(loc.shape[-1])
    if scale.shape.rank < 2 or tuple(scale.shape[-2:]) != (dim, dim):
        checks.fail("scale", f"shape {tuple(scale.shape)}", f"shape [..., {dim}, {dim}]")
    if tf.executing_eagerly():  # the numbers of a graph are not known yet
        check_values(parameters)
    batches = [loc.shape[:-1], mean_precision.shape, df.shape, scale.shape[:-2]]
    try:
        batch = list(np.broadcast_shapes(*(tuple(shape) for shape in batches)))
    except ValueError:
        shapes = ", ".join(str(tuple(shape)) for shape in batches)
        checks.fail("loc, mean_precision, df, scale", f"batch shapes {shapes}", "one batch shape")
    return NIWParameters(
        tf.broadcast_to(loc, [*batch, dim]),
        tf.broadcast_to(mean_precision, batch),
        tf.broadcast_to(df, batch),
        tf.broadcast_to(scale, [*batch, dim, dim]),
    )
