"""TFP distributions of the mixture's prior and predictive, for users and as an oracle in tests."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
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


class _InverseWishart(tfd.TransformedDistribution):  # type: ignore[misc]  # TFP is not typed
    """A transformed Wishart that checks the covariances whose density is asked for."""

    def _sample_control_dependencies(self, value: tf.Tensor) -> list[tf.Operation]:
        return _matrix_assertions("covariance", value) if self.validate_args else []

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return _to_positive_definite(self.dtype)


@tfp.experimental.auto_composite_tensor(omit_kwargs=(), non_identifying_kwargs=("name",))
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
        validate_args: whether densities check their arguments, and graphs the parameters too;
            eagerly these are always checked.
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
        niw = NIWParameters(*(tf.convert_to_tensor(part, dtype) for part in given))
        self._dim = _check(niw)
        whole = _broadcast(niw, self._dim)
        # As given where a graph does not know the shapes: it traces what it is given by identity.
        if whole.scale.shape.is_fully_defined():
            niw = whole
        self.loc, self.mean_precision, self.df, self.scale = niw
        self._whole = whole
        scale_tril = cholesky(whole.scale)
        identity = tf.eye(self._dim, batch_shape=tf.shape(whole.df), dtype=dtype)
        precision_tril = cholesky(tf.linalg.cholesky_solve(scale_tril, identity))
        covariance = _InverseWishart(
            tfd.WishartTriL(whole.df, scale_tril=precision_tril, validate_args=validate_args),
            # Precision -> its Cholesky factor -> that of the covariance -> the covariance.
            tfb.Chain(
                [
                    tfb.CholeskyOuterProduct(),
                    tfb.CholeskyToInvCholesky(),
                    tfb.Invert(tfb.CholeskyOuterProduct()),
                ]
            ),
            validate_args=validate_args,
            name="InverseWishart",
        )

        def mean(covariance: tf.Tensor) -> tfd.Distribution:
            precision = whole.mean_precision[..., tf.newaxis, tf.newaxis]
            return tfd.MultivariateNormalTriL(
                whole.loc,
                scale_tril=cholesky(covariance / precision),
                validate_args=validate_args,
            )

        super().__init__(
            MeanAndCovariance(covariance=covariance, mean=mean),
            batch_ndims=tf.rank(whole.df) if whole.df.shape.rank is None else whole.df.shape.rank,
            use_vectorized_map=False,
            validate_args=validate_args,
            name=name,
        )
        # What `copy` and `parameters` are about: this class's arguments, not its base class's.
        self._parameters = self._no_dependency(
            dict(niw._asdict(), validate_args=validate_args, name=name)
        )

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, Any]:
        # Shapes follow from those of a sample, a `MeanAndCovariance`.
        def above_dim(*_: Any) -> Any:
            raise NotImplementedError("`df`: its least value depends on the number of features")

        describe = tfp.util.ParameterProperties
        return {
            "loc": describe(event_ndims=1, shape_fn=lambda shape: shape.mean),
            "mean_precision": describe(
                shape_fn=lambda shape: shape.mean[:-1],
                default_constraining_bijector_fn=lambda: tfb.Softplus(low=_tiny(dtype)),
            ),
            "df": describe(
                shape_fn=lambda shape: shape.mean[:-1],
                default_constraining_bijector_fn=above_dim,
            ),
            "scale": describe(
                event_ndims=2,
                shape_fn=lambda shape: shape.covariance,
                default_constraining_bijector_fn=lambda: _to_positive_definite(dtype),
            ),
        }

    # The joint distribution's slices the distributions that it was made of, not parameters.
    __getitem__ = tfd.Distribution.__getitem__

    def _parameter_control_dependencies(self, is_init: bool) -> list[tf.Operation]:
        if not (self.validate_args and is_init) or tf.executing_eagerly():
            return []
        least = tf.cast(self._dim - 1, self.df.dtype)
        return [
            tf.debugging.assert_all_finite(self.loc, "`loc`: wanted finite numbers"),
            tf.debugging.assert_positive(
                self.mean_precision, "`mean_precision`: wanted positive numbers"
            ),
            tf.debugging.assert_greater(self.df, least, "`df`: wanted numbers above D - 1"),
            *_matrix_assertions("scale", self.scale),
        ]

    def mean(self) -> MeanAndCovariance:
        """Means of both parts: `loc` and `scale / (df - D - 1)`, NaN where `df <= D + 1`."""
        divisor = self._whole.df - self._dim - 1.0
        return self._structure(tf.where(divisor > 0, divisor, float("nan")))

    def mode(self) -> MeanAndCovariance:
        """Joint mode: `loc` and `scale / (df + D + 2)`."""
        return self._structure(self._whole.df + self._dim + 2.0)

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
            nothing = (0.0 * part for part in (self._whole.df, self._whole.loc, self._whole.scale))
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
        prior = [tf.cast(part, tf.float64) for part in self._whole]
        arrays = tf.numpy_function(
            lambda *parts: function(NIWParameters(*parts[:4]), SufficientStatistics(*parts[4:])),
            [*prior, *statistics],
            [tf.float64] * len(ranks),
        )
        batch = tf.broadcast_static_shape(self._whole.df.shape, statistics.counts.shape)
        dims = ([self._dim] * rank for rank in ranks)
        # One array alone is not given as a list.
        pairs = zip(tf.nest.flatten(arrays), dims, strict=True)
        return [tf.ensure_shape(array, batch.concatenate(shape)) for array, shape in pairs]

    def _structure(self, divisor: tf.Tensor) -> MeanAndCovariance:
        """The mean, and the scale matrix over a divisor."""
        covariance = self._whole.scale / divisor[..., tf.newaxis, tf.newaxis]
        return MeanAndCovariance(covariance, self._whole.loc)


def _tiny(dtype: tf.DType) -> Any:
    """What keeps a number of this type away from zero."""
    return np.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps


def _to_positive_definite(dtype: tf.DType) -> tfb.Bijector:
    """From vectors of any numbers to positive definite matrices, in this type also inside."""
    return tfb.Chain([tfb.CholeskyOuterProduct(), tfb.FillScaleTriL(diag_shift=_tiny(dtype))])


def _matrix_assertions(name: str, matrices: tf.Tensor) -> list[tf.Operation]:
    """Fails, also in a graph, unless matrices `[..., D, D]` are symmetric and positive definite."""
    largest = tf.reduce_max(tf.abs(matrices), axis=[-2, -1], keepdims=True)
    asymmetry = tf.abs(matrices - tf.linalg.matrix_transpose(matrices))
    symmetric = tf.debugging.assert_less_equal(
        asymmetry, _tiny(matrices.dtype) ** 0.5 * largest, f"`{name}`: wanted symmetric matrices"
    )
    positive = tf.debugging.assert_positive(
        tf.linalg.eigvalsh(matrices), f"`{name}`: wanted positive definite matrices"
    )
    return [symmetric, positive]


def _check(parameters: NIWParameters) -> int:
    """Checks shapes, and eagerly numbers; returns the number of features."""
    loc, mean_precision, df, scale = parameters
    if loc.shape.rank == 0:
        checks.fail("loc", f"shape {tuple(loc.shape)}", "shape [..., D]")
    sizes = [shape[-1] for shape in (loc.shape, scale.shape) if shape.rank]
    dim = next((size for size in sizes if size is not None), None)
    if dim is None:
        checks.fail("loc", f"shape {loc.shape}", "shape [..., D] with a D that is known")
    if not scale.shape[-2:].is_compatible_with([dim, dim]):
        checks.fail("scale", f"shape {tuple(scale.shape)}", f"shape [..., {dim}, {dim}]")
    if tf.executing_eagerly():  # the numbers of a graph are not known yet
        check_values(parameters)
    return int(dim)


def _broadcast(parameters: NIWParameters, dim: int) -> NIWParameters:
    """Broadcasts parameters to one batch shape, which a graph may not know."""
    loc, mean_precision, df, scale = parameters
    known = [loc.shape[:-1], mean_precision.shape, df.shape, scale.shape[:-2]]
    try:
        batch = functools.reduce(tf.broadcast_static_shape, known)
    except ValueError:
        shapes = ", ".join(str(tuple(shape)) for shape in known)
        checks.fail("loc, mean_precision, df, scale", f"batch shapes {shapes}", "one batch shape")
    sizes = [tf.shape(loc)[:-1], tf.shape(mean_precision), tf.shape(df), tf.shape(scale)[:-2]]
    size = functools.reduce(tf.broadcast_dynamic_shape, sizes)

    def broadcast(part: tf.Tensor, *event: int) -> tf.Tensor:
        shape = batch.concatenate(event)
        if shape.is_fully_defined() and part.shape == shape:
            return part
        whole = tf.broadcast_to(part, tf.concat([size, tf.constant(event, tf.int32)], 0))
        return tf.ensure_shape(whole, shape)

    return NIWParameters(
        broadcast(loc, dim), broadcast(mean_precision), broadcast(df), broadcast(scale, dim, dim)
    )
