"""TFP distributions of the mixture's prior and predictive, for users and as an oracle in tests."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfdpm import checks
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
        loc, mean_precision, df, scale: the arguments as tensors, or the variables that were given.

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
        given = NIWParameters(loc, mean_precision, df, scale)
        # float64 unless every floating tensor or array is float32.
        dtypes = {tf.as_dtype(part.dtype) for part in given if hasattr(part, "dtype")}
        dtype = tf.float32 if dtypes == {tf.float32} else tf.float64
        niw = NIWParameters(
            *(_convert(name, part, dtype) for name, part in given._asdict().items())
        )
        self._dim = _check(niw)
        batch = _static_batch(niw)
        # As given where a graph does not know the shapes: it traces what it is given by identity.
        if batch.is_fully_defined():
            niw = NIWParameters(
                *(
                    part if _is_variable(part) else whole
                    for part, whole in zip(niw, _broadcast(niw, self._dim), strict=True)
                )
            )
        self.loc, self.mean_precision, self.df, self.scale = niw

        # Parts are made from the parameters at each call, so that a variable's changes are seen.
        def covariance() -> tfd.Distribution:
            whole = self._whole()
            identity = tf.eye(self._dim, batch_shape=tf.shape(whole.df), dtype=dtype)
            precision = tf.linalg.cholesky_solve(cholesky(whole.scale), identity)
            return _InverseWishart(
                tfd.WishartTriL(
                    whole.df, scale_tril=cholesky(precision), validate_args=validate_args
                ),
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
            whole = self._whole()
            precision = whole.mean_precision[..., tf.newaxis, tf.newaxis]
            return tfd.MultivariateNormalTriL(
                whole.loc,
                scale_tril=cholesky(covariance / precision),
                validate_args=validate_args,
            )

        super().__init__(
            MeanAndCovariance(covariance=covariance, mean=mean),
            batch_ndims=tf.rank(self._whole().df) if batch.rank is None else batch.rank,
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

    # Entropy and divergence have closed forms here, though the parts are dependent.
    _cross_entropy = tfd.Distribution._cross_entropy

    def _parameter_control_dependencies(self, is_init: bool) -> list[tf.Operation]:
        # Numbers that are known are checked when they are given, those of variables at each call.
        if not self.validate_args or (is_init and tf.executing_eagerly()):
            return []
        niw = NIWParameters(self.loc, self.mean_precision, self.df, self.scale)
        return [
            assertion
            for name, part in niw._asdict().items()
            if is_init != _is_variable(part)
            for assertion in self._assertions(name, tf.convert_to_tensor(part))
        ]

    def _assertions(self, name: str, part: tf.Tensor) -> list[tf.Operation]:
        """Fails, also in a graph, unless a parameter is in its range."""
        if name == "scale":
            return _matrix_assertions(name, part)
        if name == "loc":
            return [tf.debugging.assert_all_finite(part, "`loc`: wanted finite numbers")]
        least = tf.cast(self._dim - 1 if name == "df" else 0, part.dtype)
        wanted = "numbers above D - 1" if name == "df" else "positive numbers"
        return [tf.debugging.assert_greater(part, least, f"`{name}`: wanted {wanted}")]

    def _mean(self) -> MeanAndCovariance:
        """Means of both parts: `loc` and `scale / (df - D - 1)`, NaN where `df <= D + 1`."""
        whole = self._whole()
        divisor = _nan_unless_positive(whole.df - self._dim - 1.0)
        return MeanAndCovariance(_divide(whole.scale, divisor), whole.loc)

    def _mode(self) -> MeanAndCovariance:
        """Joint mode: `loc` and `scale / (df + D + 2)`."""
        whole = self._whole()
        return MeanAndCovariance(_divide(whole.scale, whole.df + self._dim + 2.0), whole.loc)

    def _variance(self) -> MeanAndCovariance:
        """Variances of all entries, NaN where they are infinite."""
        whole = self._whole()
        # With r = nu - D, Var Sigma_ij = ((r + 1) s_ij^2 + (r - 1) s_ii s_jj) / (r (r - 1)^2
        # (r - 3)), and Var mu_i = s_ii / ((r - 1) kappa).
        rest = whole.df - self._dim
        diagonal = tf.linalg.diag_part(whole.scale)
        matrices = rest[..., tf.newaxis, tf.newaxis]
        squares = (matrices + 1.0) * whole.scale**2 + (matrices - 1.0) * _outer(diagonal, diagonal)
        divisor = _nan_unless_positive(rest - 3.0) * rest * (rest - 1.0) ** 2
        of_mean = _nan_unless_positive(rest - 1.0) * whole.mean_precision
        return MeanAndCovariance(_divide(squares, divisor), diagonal / of_mean[..., tf.newaxis])

    def _stddev(self) -> MeanAndCovariance:
        return MeanAndCovariance(*map(tf.sqrt, self._variance()))

    def _entropy(self) -> tf.Tensor:
        # H = log Z + (nu + D + 2)/2 E log|Sigma| + (nu + 1) D/2, and E log|Sigma| = log|scale|
        # - D log 2 - psi_D(nu/2).
        whole, dim = self._whole(), self._dim
        log_volume = (
            _log_determinant(whole.scale)
            - dim * math.log(2.0)
            - _sum_halves(tf.math.digamma, whole.df, dim)
        )
        by_volume = 0.5 * (whole.df + dim + 2.0) * log_volume
        return _log_normalizer(whole) + by_volume + 0.5 * dim * (whole.df + 1.0)

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
        after = _update(self._doubles(), statistics)
        return NormalInverseWishart(*(tf.cast(part, self.loc.dtype) for part in after))

    def log_evidence(self, statistics: SufficientStatistics) -> tf.Tensor:
        """Closed-form log marginal likelihood of each component's points, nats, float64."""
        prior = self._doubles()
        constants = 0.5 * self._dim * math.log(2.0 * math.pi) * statistics.counts
        return _log_normalizer(_update(prior, statistics)) - _log_normalizer(prior) - constants

    def posterior_predictive(
        self, statistics: SufficientStatistics | None = None
    ) -> tfd.MultivariateStudentTLinearOperator:
        """Multivariate t of the next point given the statistics (the prior's if `None`)."""
        prior = self._doubles()
        loc, precision, df, scale = prior if statistics is None else _update(prior, statistics)
        # t(nu - D + 1, m, scale (kappa + 1) / (kappa (nu - D + 1)))
        df = df - self._dim + 1.0
        scale_tril = cholesky(_divide(scale, precision * df / (precision + 1.0)))
        df, loc, scale_tril = (tf.cast(part, self.loc.dtype) for part in (df, loc, scale_tril))
        return MultivariateStudentT(
            df, loc, tf.linalg.LinearOperatorLowerTriangular(scale_tril, is_non_singular=True)
        )

    def _whole(self) -> NIWParameters:
        """The parameters as they are now, broadcast to one batch shape."""
        parameters = NIWParameters(self.loc, self.mean_precision, self.df, self.scale)
        return _broadcast(parameters, self._dim)

    def _doubles(self) -> NIWParameters:
        with self._name_and_control_scope("parameters"):
            return NIWParameters(*(tf.cast(part, tf.float64) for part in self._whole()))


@tfd.RegisterKL(NormalInverseWishart, NormalInverseWishart)  # type: ignore[untyped-decorator]
def _divergence(
    one: NormalInverseWishart, other: NormalInverseWishart, name: str | None = None
) -> tf.Tensor:
    """KL(one, other), nats: that of the inverse Wisharts and the mean one of the Gaussians."""
    del name
    if one._dim != other._dim:
        checks.fail("other", f"{other._dim} features", f"{one._dim}, as the first has")
    (m, kappa, nu, scale), (m2, kappa2, nu2, scale2), dim = one._whole(), other._whole(), one._dim
    # log Gamma_D(nu2/2) - log Gamma_D(nu/2) + (nu - nu2)/2 psi_D(nu/2)
    #   + nu2/2 (log|scale| - log|scale2|) + nu/2 (tr(scale^-1 scale2) - D)
    #   + D/2 (kappa2/kappa - 1 - log kappa2/kappa) + nu kappa2/2 (m - m2)' scale^-1 (m - m2).
    offset = m - m2
    added = kappa2[..., tf.newaxis, tf.newaxis] * _outer(offset, offset)
    factor = cholesky(scale)
    batch = tf.broadcast_dynamic_shape(tf.shape(scale)[:-2], tf.shape(added)[:-2])
    whole = tf.concat([batch, [dim, dim]], 0)
    solved = tf.linalg.cholesky_solve(
        tf.broadcast_to(factor, whole), tf.broadcast_to(scale2 + added, whole)
    )
    ratio = kappa2 / kappa
    return (
        _sum_halves(tf.math.lgamma, nu2, dim)
        - _sum_halves(tf.math.lgamma, nu, dim)
        + 0.5 * (nu - nu2) * _sum_halves(tf.math.digamma, nu, dim)
        + 0.5 * nu2 * (_log_determinant(scale) - _log_determinant(scale2))
        + 0.5 * nu * (tf.linalg.trace(solved) - dim)
        + 0.5 * dim * (ratio - 1.0 - tf.math.log(ratio))
    )


def _update(prior: NIWParameters, statistics: SufficientStatistics) -> NIWParameters:
    """Parameters of the posterior, batched like the statistics ([DeepDPM] supplement eq. 12-16)."""
    loc, mean_precision, df, scale = prior
    counts, sums, products = statistics
    # With s and P the sums of x - m and of (x - m) (x - m)^T: kappa* = kappa + N,
    # m* = m + s / kappa* and scale* = scale + P - s s^T / kappa*.
    offsets = sums - counts[..., tf.newaxis] * loc
    products = products - _outer(loc, sums) - _outer(offsets, loc)
    products = 0.5 * (products + tf.linalg.matrix_transpose(products))
    precision = mean_precision + counts
    spread = products - _divide(_outer(offsets, offsets), precision)
    return NIWParameters(
        loc + offsets / precision[..., tf.newaxis], precision, df + counts, scale + spread
    )


def _log_normalizer(niw: NIWParameters) -> tf.Tensor:
    """The log of the density's constant, `log Z [...]`."""
    _, mean_precision, df, scale = niw
    dim = int(scale.shape[-1])
    # log Gamma_D(nu/2) - nu/2 log|scale| + nu D/2 log 2 + D/2 log(2 pi / kappa)
    return (
        _sum_halves(tf.math.lgamma, df, dim)
        + 0.25 * dim * (dim - 1) * math.log(math.pi)
        - 0.5 * df * (_log_determinant(scale) - dim * math.log(2.0))
        + 0.5 * dim * (math.log(2.0 * math.pi) - tf.math.log(mean_precision))
    )


def _sum_halves(function: Callable[[tf.Tensor], tf.Tensor], df: tf.Tensor, dim: int) -> tf.Tensor:
    """Sum over d < D of a function of `(df - d) / 2`, as in multivariate gamma functions."""
    halves = 0.5 * (df[..., tf.newaxis] - tf.range(dim, dtype=df.dtype))
    return tf.reduce_sum(function(halves), axis=-1)


def _log_determinant(matrices: tf.Tensor) -> tf.Tensor:
    return 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(cholesky(matrices))), axis=-1)


def _outer(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return one[..., :, tf.newaxis] * other[..., tf.newaxis, :]


def _divide(matrices: tf.Tensor, divisors: tf.Tensor) -> tf.Tensor:
    return matrices / divisors[..., tf.newaxis, tf.newaxis]


def _nan_unless_positive(numbers: tf.Tensor) -> tf.Tensor:
    return tf.where(numbers > 0, numbers, float("nan"))


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


def _is_variable(part: Any) -> bool:
    return isinstance(part, (tf.Variable, tfp.util.DeferredTensor))


def _convert(name: str, part: Any, dtype: tf.DType) -> Any:
    """Returns a parameter as a tensor of the type, but a variable as it is."""
    if not _is_variable(part):
        return tf.convert_to_tensor(part, dtype)
    if part.dtype != dtype:
        wanted = f"{dtype.name}, the type of the parameters together"
        checks.fail(name, f"a variable of type {part.dtype.name}", wanted)
    return part


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
        check_values(NIWParameters(*map(tf.convert_to_tensor, parameters)))
    return int(dim)


def _static_batch(parameters: NIWParameters) -> tf.TensorShape:
    """Returns the batch shape, as far as it is known."""
    loc, mean_precision, df, scale = parameters
    known = [loc.shape[:-1], mean_precision.shape, df.shape, scale.shape[:-2]]
    try:
        return functools.reduce(tf.broadcast_static_shape, known)
    except ValueError:
        shapes = ", ".join(str(tuple(shape)) for shape in known)
        checks.fail("loc, mean_precision, df, scale", f"batch shapes {shapes}", "one batch shape")


def _broadcast(parameters: NIWParameters, dim: int) -> NIWParameters:
    """Broadcasts parameters to one batch shape, which a graph may not know."""
    batch = _static_batch(parameters)
    loc, mean_precision, df, scale = map(tf.convert_to_tensor, parameters)
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
