"""The map from raw features to those of the mixture, which removes units, shifts and skewness."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.utils.extmath import svd_flip

from tfdpm import checks
from tfdpm.config import PREPROCESSING
from tfdpm.features.resolution import column_steps, has_atom, repeats_by_chance
from tfdpm.features.skewness import compress, expand, log_slopes

# Largest over median variance above which columns have mixed units and get unit variance each.
_MIXED_UNITS = 1000.0
_LEADING_VARIANCE = 0.99
_KEPT_VARIANCE = 0.999
_AXES_PER_ROOT = 0.4  # principal axes for the square root of N: what covariances can be learned of
_SLICE_ROWS = 16_384  # in float64 at a time
_LEAST_SPREAD = 1e-140  # of a column that varies; squares of less lose digits in float64
# Size of features beyond which points are as far away as it matters; the squares of whitened ones
# are finite in float32.
_FARTHEST = 1e12
_STANDARDISED = "standardised columns"


class Table(NamedTuple):
    """What is known of the columns of raw points."""

    takes_logs: bool = False  # whether skewed columns may be replaced by their logarithms
    # Categorical variable `[D_in]` of each column, numbered from 1, and 0 of numbers; none without.
    variables: tuple[int, ...] = ()


class FeatureMoments(NamedTuple):
    """Moments of raw features in float64.

    Of M points that are fewer than their D columns, the covariance is kept as a factor.
    """

    num_points: float  # or the sum of their weights
    mean: np.ndarray  # [D]
    covariance: np.ndarray  # [D, D]; or its factor F [M, D] of M < D rows, of which it is F^T F
    variables: tuple[int, ...] = ()  # see `Table`

    @property
    def is_factored(self) -> bool:
        """Whether a factor stands for the covariance."""
        return len(self.covariance) < len(self.mean)

    @property
    def full_covariance(self) -> np.ndarray:
        """Covariance `[D, D]`."""
        return self.covariance.T @ self.covariance if self.is_factored else self.covariance

    @property
    def variances(self) -> np.ndarray:
        """Variances `[D]` of the columns."""
        if self.is_factored:
            return np.sum(self.covariance**2, axis=0)
        return np.diag(self.covariance)

    def projected(self, projection: np.ndarray) -> np.ndarray:
        """Variances `[P]` of the points times `projection [D, P]`."""
        if self.is_factored:
            return np.sum((self.covariance @ projection) ** 2, axis=0)
        return np.diag(projection.T @ self.covariance @ projection)

    def axes(self, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances, falling, and directions `[D, ...]` of the principal axes of scaled columns."""
        if self.is_factored:
            _, singular_values, vectors = np.linalg.svd(
                self.covariance * scales, full_matrices=False
            )
            return singular_values**2, vectors.T
        eigenvalues, vectors = np.linalg.eigh(self.covariance * np.outer(scales, scales))
        return np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]

    @property
    def is_flag(self) -> np.ndarray:
        """Which columns `[D]` are flags, whose mean m says that their variance is m (1 - m)."""
        variances = self.variances
        is_expected = np.isclose(variances, self.mean * (1.0 - self.mean), rtol=1e-9, atol=0.0)
        return is_expected & (variances > 0.0) & bool(self.variables)

    def flag_columns(self) -> list[np.ndarray]:
        """Columns of the flags of each categorical variable; zeros and ones are one, too."""
        of_each: dict[int, list[int]] = {}
        for column in np.flatnonzero(self.is_flag):
            of_each.setdefault(self.variables[column] or -column - 1, []).append(int(column))
        return [np.array(columns) for columns in of_each.values()]

    def of_columns(self, columns: np.ndarray) -> FeatureMoments:
        """The moments of some of the columns."""
        covariance = self.covariance[:, columns]
        if not self.is_factored:
            covariance = covariance[columns]
        elif len(covariance) >= len(columns):
            covariance = covariance.T @ covariance
        return self._replace(mean=self.mean[columns], covariance=covariance, variables=())

    def plus(self, other: FeatureMoments) -> FeatureMoments:
        """Returns the moments of both sets of points together."""
        # C = (1 - s) C1 + s C2 + s (1 - s) (m2 - m1)(m2 - m1)', with s the share of the second.
        total = self.num_points + other.num_points
        share = other.num_points / total
        shift = other.mean - self.mean
        shares = (1 - share, share, share * (1 - share))
        parts = (self.covariance, other.covariance, shift[np.newaxis])
        if sum(map(len, parts)) < len(shift):
            scaled = [np.sqrt(part) * rows for part, rows in zip(shares, parts, strict=True)]
            covariance = np.concatenate(scaled)
        else:
            covariance = shares[0] * self.full_covariance + shares[1] * other.full_covariance
            covariance = covariance + shares[2] * np.outer(shift, shift)
        return self._replace(
            num_points=total, mean=self.mean + share * shift, covariance=covariance
        )


def feature_moments(features: np.ndarray, weights: np.ndarray | None = None) -> FeatureMoments:
    """Computes moments of `features [N, D]` in float64, in slices without a copy of the whole.

    Raises:
        ValueError: if a column varies by so little that its variance is no float64.
    """
    num_points, feature_dim = features.shape
    count = float(num_points if weights is None else np.sum(weights, dtype=np.float64))
    total = max(count, 1e-300)
    # Shifting by a point first keeps digits of values that are large beside their spread.
    origin = features[0].astype(np.float64)
    if num_points < feature_dim:
        rows = features.astype(np.float64) - origin
        shares = (
            np.full(num_points, 1.0 / total) if weights is None else np.asarray(weights) / total
        )
        mean = shares @ rows
        rows = np.sqrt(shares)[:, np.newaxis] * (rows - mean)
        moments = FeatureMoments(count, origin + mean, rows)
    else:
        first = np.zeros(feature_dim)
        second = np.zeros((feature_dim, feature_dim))
        for start in range(0, num_points, _SLICE_ROWS):
            rows = features[start : start + _SLICE_ROWS].astype(np.float64) - origin
            weighted = rows
            if weights is not None:
                weighted = rows * np.asarray(weights[start : start + _SLICE_ROWS, None], np.float64)
            first += weighted.sum(axis=0)
            second += rows.T @ weighted
        mean = first / total
        moments = FeatureMoments(count, origin + mean, second / total - np.outer(mean, mean))
    spreads = np.ptp(features[:, moments.variances < _LEAST_SPREAD**2], axis=0)
    spreads = spreads[(spreads > 0) & (spreads < _LEAST_SPREAD)]
    if len(spreads):
        got = f"a column whose values all lie within {spreads.min():.3g} of each other"
        checks.fail("x", got, f"{_LEAST_SPREAD:g} at least, or 0: multiply the column")
    return moments


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Map `(x - mean) @ projection` of raw inputs.

    Before, rows may be normalised, and skewed columns may be replaced by logarithms.
    """

    mean: np.ndarray  # of the inputs of the affine map, [D_in] float64
    projection: np.ndarray  # [D_in, D] float64
    # Units [D_in] float64 in which raw inputs that lost features are nearest to the mean.
    units: np.ndarray | None = dataclasses.field(default=None, kw_only=True)  # None for one each
    normalizes_rows: bool = False  # whether rows are first scaled to unit Euclidean length
    description: str = ""  # of the map in words
    num_leading: int | None = None  # leading features in which K is sought; None for all
    # Widths of the intervals that values stand for, [D_in] float64, of a raw input or of its
    # logarithm; see `resolution.column_steps`. None if no values are shared.
    steps: np.ndarray | None = None
    counts_copies: bool = False  # whether equal rows count each; see `repeats_by_chance`
    # Scales [D_in] float64 of logarithms, see `skewness.compress`, infinite for columns without.
    log_scales: np.ndarray | None = None  # None where no column has one
    log_origins: np.ndarray | None = None  # where they are zero, [D_in] float64; None for 0
    # Flags of each categorical variable, which are the first features; see `Categories.sizes`.
    category_sizes: tuple[int, ...] = ()

    @property
    def input_dim(self) -> int:
        """Number of raw features."""
        return self.projection.shape[0]

    @property
    def feature_dim(self) -> int:
        """Number of features of the mixture, D."""
        return self.projection.shape[1]

    @property
    def farthest_input(self) -> float:
        """Size of a centred raw feature, in float32, beyond which features only grow too large."""
        gain = float(np.abs(self.projection).sum(axis=0).max())
        most = float(np.finfo(np.float32).max)
        return _FARTHEST / gain if _FARTHEST < most * gain else most

    @property
    def has_own_units(self) -> bool:
        """Whether each column was brought to unit variance."""
        return self.description.startswith(_STANDARDISED)

    def leading(self) -> Preprocessing:
        """Returns the map to the leading features alone."""
        if self.num_leading is None:
            return self
        return dataclasses.replace(
            self, projection=self.projection[:, : self.num_leading], num_leading=None
        )

    def with_resolution(self, raw: np.ndarray) -> Preprocessing:
        """Returns the map of values that come in the steps of a sample `raw [n, D_in]`."""
        if self.normalizes_rows:
            return self
        is_number = ~self.is_flag
        steps = np.where(is_number, column_steps(raw), 0.0)
        # Rows of categories alone repeat.
        counts_copies = (
            not self.projection[is_number].any()
            or repeats_by_chance(raw[:, is_number], steps[is_number])
            or has_atom(raw)
        )
        if not steps.any() and not counts_copies:
            return self
        return dataclasses.replace(self, steps=steps, counts_copies=counts_copies)

    @property
    def flag_places(self) -> tuple[np.ndarray, np.ndarray]:
        """Raw columns `[F]` of the flags that are the first F features, and their units `[F]`."""
        first = self.projection[:, : sum(self.category_sizes)]
        return first.argmax(axis=0), first.max(axis=0, initial=0.0)

    @property
    def is_flag(self) -> np.ndarray:
        """Which raw columns `[D_in]` are flags of categories."""
        return np.isin(np.arange(self.input_dim), self.flag_places[0])

    @property
    def rounding(self) -> np.ndarray | None:
        """Covariance `[D, D]` of a point within its steps, in features; `None` for none."""
        if self.steps is None:
            return None
        scaled = self.projection * (self.steps / np.sqrt(12.0))[:, np.newaxis]
        return np.asarray(scaled.T @ scaled)

    def after_logs(
        self, log_scales: np.ndarray, log_origins: np.ndarray, units: np.ndarray
    ) -> Preprocessing:
        """Returns this map after logarithms, divided by `units`; all are `[D_in]`."""
        count = int(np.isfinite(log_scales).sum())
        return dataclasses.replace(
            self,
            mean=self.mean * units,
            projection=self.projection / units[:, np.newaxis],
            units=units if self.units is None else self.units * units,
            description=f"logarithms of {count} column{'s' * (count != 1)}, {self.description}",
            steps=None if self.steps is None else self.steps * units,
            log_scales=log_scales,
            log_origins=log_origins if log_origins.any() else None,
        )

    @property
    def is_invertible(self) -> bool:
        """Whether features determine the raw inputs."""
        return not self.normalizes_rows and self.input_dim == self.feature_dim

    @functools.cached_property
    def log_determinant(self) -> float:
        """`log |det projection|` where the map can be inverted, else 0; flags have no volume."""
        if not self.is_invertible:
            return 0.0
        return float(np.linalg.slogdet(self.projection)[1] - np.log(self.flag_places[1]).sum())

    def log_volume_change(self, features: np.ndarray) -> np.ndarray:
        """Log determinants `[N]` of the map's derivative at the points with `features [N, D]`.

        Log densities of features plus these are log densities of raw inputs. They are 0 where the
        map cannot be inverted.
        """
        change = np.full(len(features), self.log_determinant)
        if self.log_scales is not None and self.is_invertible:
            change += log_slopes(self.nearest_affine_inputs(features), self.log_scales).sum(axis=1)
        return change

    def __call__(self, raw) -> tf.Tensor:
        """Maps raw inputs `[B, D_in]` to features `[B, D]` float32, with arithmetic in float64."""
        raw = tf.cast(raw, tf.float64)
        if self.normalizes_rows:
            raw = tf.math.l2_normalize(raw, axis=-1)
        if self.log_origins is not None:
            raw -= self.log_origins
        if self.log_scales is not None:
            has_log = np.isfinite(self.log_scales)
            scales = np.where(has_log, self.log_scales, 1.0)
            logs = tf.sign(raw) * scales * tf.math.log1p(tf.abs(raw) / scales)
            raw = tf.where(has_log, logs, raw)
        features = tf.linalg.matmul(raw - self.mean, self.projection)
        # What is no number lies beyond all numbers.
        features = tf.where(features <= _FARTHEST, features, _FARTHEST)
        return tf.cast(tf.maximum(features, -_FARTHEST), tf.float32)

    def transform(self, raw: np.ndarray) -> np.ndarray:
        """Maps an array of any length slice by slice."""
        features = np.empty((len(raw), self.feature_dim), np.float32)
        for start in range(0, len(raw), _SLICE_ROWS):
            rows = raw[start : start + _SLICE_ROWS].astype(np.float64)
            # What is no number, as an encoder may give, lies beyond all numbers.
            with np.errstate(invalid="ignore"):
                rows = self.affine_inputs(rows) - self.mean
                found = np.fmin(rows @ self.projection, _FARTHEST)
            features[start : start + _SLICE_ROWS] = np.maximum(found, -_FARTHEST)
        return features

    def affine_inputs(self, rows: np.ndarray) -> np.ndarray:
        """Raw `rows [N, D_in]` float64 as the affine map takes them: normalised, or logarithms."""
        if self.normalizes_rows:
            rows = normalize_rows(rows)
        if self.log_origins is not None:
            rows = rows - self.log_origins
        return rows if self.log_scales is None else compress(rows, self.log_scales)

    def nearest_affine_inputs(self, features: np.ndarray) -> np.ndarray:
        """The inputs `[..., D_in]` of the affine map that are nearest to its mean."""
        return features @ self._back + self.mean

    @functools.cached_property
    def _back(self) -> np.ndarray:
        """The map `[D, D_in]` from features to the centred inputs that are smallest in units."""
        if self.units is None:
            return np.linalg.pinv(self.projection)
        return np.linalg.pinv(self.projection * self.units[:, np.newaxis]) * self.units

    def inverse(self, features: np.ndarray) -> np.ndarray:
        """Returns the raw inputs nearest to the mean that have `features [..., D]`."""
        rows = self.nearest_affine_inputs(features)
        if self.log_scales is not None:
            rows = expand(rows, self.log_scales)
        return rows if self.log_origins is None else rows + self.log_origins

    def raw_points(self, features: np.ndarray) -> np.ndarray:
        """Returns raw inputs as `inverse` does, in which flags are zeros and ones."""
        rows, columns = self.inverse(features), self.flag_places[0]
        rows[..., columns] = rows[..., columns].round()
        return rows

    def inverse_covariance(self, covariances: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Maps covariances `[..., D, D]` of features to those of raw inputs.

        They hold to first order at the means `[..., D]`, which only matter beside logarithms.
        """
        back = self._back
        covariances = back.T @ covariances @ back
        if self.log_scales is None:
            return covariances
        slopes = np.exp(-log_slopes(self.nearest_affine_inputs(means), self.log_scales))
        return slopes[..., :, np.newaxis] * covariances * slopes[..., np.newaxis, :]


def normalize_rows(rows: np.ndarray) -> np.ndarray:
    """Divides rows by their Euclidean norm; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, 1e-12)


def fit_preprocessing(
    moments: FeatureMoments, kind: str, wider: float = 1.0, keeps_flags: bool = False
) -> Preprocessing:
    """Fits the map to data with these moments.

    Every kind but "none" and "normalize" ends with one common factor, which gives the leading
    features a mean variance of one.

    `kind` is as in `DeepDPMConfig.preprocessing`; for "normalize", moments are those of normalised
    rows. The largest number of principal axes is `wider` times the usual one. Under "auto", flags
    of categories may be kept as they are, before the axes of the numbers.
    """
    checks.one_of(kind, "preprocessing", PREPROCESSING)
    mean = moments.mean
    input_dim = len(mean)
    if kind in ("none", "normalize"):
        origin = np.zeros(input_dim)
        largest = np.sqrt(np.max(moments.variances + mean**2))
        if largest > _FARTHEST:
            got = f"{kind!r} for values of about {largest:.3g}"
            checks.fail("preprocessing", got, f"values below {_FARTHEST:g}, or 'center'")
        return Preprocessing(origin, np.eye(input_dim), kind == "normalize", kind)
    # What remains of a constant column is rounding of its mean, not spread.
    rounding = (8 * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    variances = np.maximum(moments.variances, 0.0)
    variances = np.where(variances > rounding, variances, 0.0)
    is_varying = variances > 0
    if not is_varying.any():
        return Preprocessing(mean, np.eye(input_dim, 1), False, "constant data")
    scales = np.zeros(input_dim)
    scales[is_varying] = 1.0
    is_flag = moments.is_flag & (kind == "auto")
    if kind == "standardize" or (kind == "auto" and (has_mixed_units(variances) or is_flag.any())):
        # With unit variance, rare flags would be far from everything else.
        scales[is_varying] = 1.0 / np.sqrt(np.where(is_flag, 1.0, variances)[is_varying])
    description = _STANDARDISED if scales[is_varying].max() != 1.0 else "centred"
    num_leading = input_dim
    if keeps_flags and is_flag.any():
        return _beside_flags(moments, scales * ~is_flag, wider)
    if kind == "auto":
        axes, num_leading = _principal_axes(moments, scales, wider)
        projection = scales[:, np.newaxis] * axes
        description += f", {axes.shape[1]} principal axes of {input_dim} columns"
    else:
        projection = np.diag(scales)
    has_own_units = bool((scales[is_varying] != 1.0).any())
    units = 1.0 / np.where(is_varying, scales, 1.0) if has_own_units else None
    total = moments.projected(projection[:, :num_leading]).sum()
    projection = projection / np.sqrt(total / num_leading)
    if num_leading == projection.shape[1]:
        return Preprocessing(mean, projection, False, description, units=units)
    description += f", K sought in {num_leading}"
    return Preprocessing(mean, projection, False, description, num_leading, units=units)


def _beside_flags(moments: FeatureMoments, scales: np.ndarray, wider: float) -> Preprocessing:
    """The map to flags, as they are, and the principal axes of numbers with `scales [D_in]`."""
    variables, numbers = moments.flag_columns(), np.flatnonzero(scales)
    flags = np.concatenate(variables)
    num_leading, variance = 0, float(moments.variances[flags].mean())
    projection = np.eye(len(scales))[:, flags]
    if len(numbers):
        own = moments.of_columns(numbers)
        axes, num_leading = _principal_axes(own, scales[numbers], wider)
        rows = scales[numbers, np.newaxis] * axes
        variance = float(own.projected(rows[:, :num_leading]).mean())
        of_numbers = np.zeros((len(scales), axes.shape[1]))
        of_numbers[numbers] = rows
        projection = np.concatenate([projection, of_numbers], axis=1)
    num_leading += len(flags)
    has_more = num_leading < projection.shape[1]
    description = f"{_STANDARDISED}, {len(flags)} flags of {len(variables)} categorical columns"
    if len(numbers):
        description += (
            f", {projection.shape[1] - len(flags)} principal axes of {len(numbers)} others"
        )
    return Preprocessing(
        moments.mean,
        projection / np.sqrt(variance),
        units=1.0 / np.where(scales > 0, scales, 1.0),
        description=description + (f", K sought in {num_leading}" if has_more else ""),
        num_leading=num_leading if has_more else None,
        category_sizes=tuple(map(len, variables)),
    )


def has_mixed_units(variances: np.ndarray) -> bool:
    """Whether columns with these variances `[D]` have different units."""
    varying = variances[variances > 0]
    return bool(len(varying) and varying.max() > _MIXED_UNITS * np.median(varying))


def _principal_axes(
    moments: FeatureMoments, scales: np.ndarray, wider: float
) -> tuple[np.ndarray, int]:
    """Returns the eigenvectors with 99.9 % of the variance, and the number that have 99 %.

    They are of columns times `scales [D]`, at most `0.4 wider sqrt(N)`, but two are always allowed.
    """
    eigenvalues, vectors = moments.axes(scales)
    share = np.cumsum(eigenvalues) / eigenvalues.sum()
    most = min(max(2, int(_AXES_PER_ROOT * wider * np.sqrt(moments.num_points))), len(eigenvalues))
    num_leading, count = (
        min(int(np.searchsorted(share, kept - 1e-12)) + 1, most)
        for kept in (_LEADING_VARIANCE, _KEPT_VARIANCE)
    )
    # Signs are fixed so that the same data always give the same features.
    return svd_flip(vectors[:, :count], None)[0], num_leading
