"""The mixture, prior and statistics of a fit, as one value that is saved and restored whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import Preprocessing
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.categories import Categories, density_of
from tfdpm.mixture.covariance import STRUCTURES
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters, m_step
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.transition import WHOLE, Transition
from tfdpm.search.prior import categories_of

_WEIGHT_ROUNDING = 1e-3  # of the sum of all weights
_SUBCOMPONENTS = ("sub_weights", "sub_means", "sub_covariances")


@dataclasses.dataclass(frozen=True)
class MixtureState:
    """Mixture, prior, statistics and progress of a fit.

    Attributes:
        preprocessing: raw inputs -> features.
        prior: NIW prior over components, in feature space.
        parameters: the mixture, `[K]` components.
        sub_weights: `[K, 2]` float64 proportions of the two subcomponents.
        sub_means: `[K, 2, D]` float64.
        sub_covariances: `[K, 2, D, D]` float64.
        soft: responsibilities-weighted statistics behind `parameters`, `[K]`.
        halves: hard statistics of the subclusters, `[K, 2]`.
        covariance: structure of the components' covariances.
        epoch: epochs trained so far.
        last_change_epoch: epoch of the last accepted move (0 if none).
        t_mixture: t distributions, `[K]` in the components' order, whose posterior the networks
            learn instead of that of `parameters`; `None` where they learn that.
    """

    preprocessing: Preprocessing
    prior: niw.NIWParameters
    parameters: MixtureParameters
    sub_weights: tf.Tensor
    sub_means: tf.Tensor
    sub_covariances: tf.Tensor
    soft: SufficientStatistics
    halves: SufficientStatistics
    covariance: str = "full"
    epoch: int = 0
    last_change_epoch: int = 0
    t_mixture: TMixtureParameters | None = None

    @property
    def targets(self) -> MixtureParameters | TMixtureParameters:
        """The mixture of the E-step: its posterior is what the networks learn."""
        return self.t_mixture or density_of(self.parameters, self.categories)

    @property
    def categories(self) -> Categories | None:
        """Which of the first features are flags of categories; `None` for none."""
        return categories_of(self.preprocessing)

    @property
    def num_components(self) -> int:
        """K."""
        return self.parameters.num_components

    def posterior(self) -> niw.NIWParameters:
        """Posterior of each component given its soft statistics, batch shape `[K]`."""
        return evidence.posterior(self.prior, self.soft, self.covariance)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every field as an array, by name."""
        groups: dict[str, Any] = {
            "prior": self.prior,
            "parameters": self.parameters,
            "soft": self.soft,
            "halves": self.halves,
            # Without rows where there is none: callbacks count the arrays.
            "t_mixture": self.t_mixture or TMixtureParameters(*[np.zeros(0)] * 4),
        }
        arrays = {
            f"{group}/{name}": value
            for group, values in groups.items()
            for name, value in values._asdict().items()
        }
        parts = {
            name: [] if part is None else part for name, part in vars(self.preprocessing).items()
        }
        parts["description"] = np.frombuffer(self.preprocessing.description.encode(), np.uint8)
        parts["num_leading"] = self.preprocessing.num_leading or 0
        arrays |= {name: getattr(self, name) for name in _SUBCOMPONENTS}
        arrays |= {f"preprocessing/{name}": part for name, part in parts.items()}
        arrays["covariance"] = np.frombuffer(self.covariance.encode(), np.uint8)
        arrays["progress"] = [self.epoch, self.last_change_epoch]
        return {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> MixtureState:
        """The state behind `to_arrays`' result.

        Raises:
            ValueError: if the arrays are of no mixture.
        """

        def read(name: str) -> np.ndarray:
            return np.array(arrays[name])

        def read_new(name: str) -> np.ndarray:
            # Models of before have no such entries. No rows, or a zero, stand for `None`.
            return read(name) if name in arrays else np.zeros(0)

        def group(kind: Any, prefix: str) -> Any:
            return kind(*(tf.constant(read(f"{prefix}/{name}")) for name in kind._fields))

        progress, steps = read("progress"), read_new("preprocessing/steps")
        log_scales, df = read_new("preprocessing/log_scales"), read_new("t_mixture/df")
        log_origins = read_new("preprocessing/log_origins")
        units = read_new("preprocessing/units")
        state = cls(
            preprocessing=Preprocessing(
                read("preprocessing/mean"),
                read("preprocessing/projection"),
                bool(read("preprocessing/normalizes_rows")),
                read("preprocessing/description").tobytes().decode(),
                int(read_new("preprocessing/num_leading").sum()) or None,
                steps if len(steps) else None,
                bool(read_new("preprocessing/counts_copies").any()),
                log_scales if len(log_scales) else None,
                log_origins if len(log_origins) else None,
                tuple(read_new("preprocessing/category_sizes").astype(int).tolist()),
                units=units if len(units) else None,
            ),
            prior=group(niw.NIWParameters, "prior"),
            parameters=group(MixtureParameters, "parameters"),
            **{name: tf.constant(read(name)) for name in _SUBCOMPONENTS},
            soft=group(SufficientStatistics, "soft"),
            halves=group(SufficientStatistics, "halves"),
            covariance=read("covariance").tobytes().decode(),
            epoch=int(progress[0]),
            last_change_epoch=int(progress[1]),
            t_mixture=group(TMixtureParameters, "t_mixture") if len(df) else None,
        )
        _check_mixture(state.to_arrays())
        return state


def _check_mixture(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises unless arrays, which may come from a file of a stranger, are those of a mixture."""
    means, projection = arrays["parameters/means"], arrays["preprocessing/projection"]
    if means.ndim != 2 or projection.ndim != 2 or 0 in means.shape:
        raise ValueError(f"a mixture with means of shape {means.shape}")
    count, dim = means.shape
    shapes = {
        "preprocessing/mean": projection.shape[:1],
        "preprocessing/projection": (projection.shape[0], dim),
        "prior/loc": (dim,),
        "prior/scale": (dim, dim),
        "prior/mean_precision": (),
        "prior/df": (),
        "parameters/means": (count, dim),
        "parameters/mixture_weights": (count,),
        "parameters/covariances": (count, dim, dim),
        "sub_weights": (count, 2),
        "sub_means": (count, 2, dim),
        "sub_covariances": (count, 2, dim, dim),
    }
    sizes = arrays["preprocessing/category_sizes"]
    if np.any(sizes < 1) or sizes.sum() > dim:
        raise ValueError(f"a mixture of {dim} features with flags of categories {sizes}")
    has_tails = arrays["t_mixture/df"].shape != (0,)
    if has_tails:
        parts = {"mixture_weights": (), "means": (dim,), "scales": (dim, dim), "df": ()}
        shapes |= {f"t_mixture/{part}": (count, *shape) for part, shape in parts.items()}
    for name, axes in (("soft", (count,)), ("halves", (count, 2))):
        parts = {"counts": axes, "sums": (*axes, dim), "outer_products": (*axes, dim, dim)}
        shapes |= {f"{name}/{part}": shape for part, shape in parts.items()}
    for name, shape in shapes.items():
        found = arrays[name]
        if found.shape != shape or found.dtype.kind != "f" or not np.isfinite(found).all():
            raise ValueError(f"a mixture whose {name} are no {shape} finite numbers")
    signs = {"prior/mean_precision": 0.0, "prior/df": dim - 1.0}
    signs |= {"t_mixture/df": 0.0} if has_tails else {}
    for name, least in signs.items():
        if np.any(arrays[name] <= least):
            raise ValueError(f"a mixture whose {name} is not above {least:g}")
    for name in ("soft/counts", "halves/counts", "sub_weights"):
        if np.any(arrays[name] < 0.0):
            raise ValueError(f"a mixture whose {name} are negative")
    scales = ("t_mixture/scales",) if has_tails else ()
    for name in ("parameters/covariances", "prior/scale", *scales):
        try:
            np.linalg.cholesky(arrays[name])
        except np.linalg.LinAlgError as error:
            raise ValueError(f"a mixture whose {name} are not positive definite") from error
    for part in ("parameters", "t_mixture") if has_tails else ("parameters",):
        weights = arrays[f"{part}/mixture_weights"]
        if np.any(weights < 0.0) or abs(weights.sum() - 1.0) > _WEIGHT_ROUNDING:
            raise ValueError(f"a mixture whose {part}/mixture_weights do not sum to one")
    structure = arrays["covariance"].tobytes().decode()
    if structure not in STRUCTURES:
        raise ValueError(f"a mixture of covariances {structure!r}")


def subcomponent_start(
    means: tf.Tensor, covariances: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Subcomponents of components without trained networks: both sides of the principal axis.

    The halves of a Gaussian cut at its mean along an axis with variance `v` have their means
    `sqrt(2 v / pi)` from it, and along the axis the variance `v (1 - 2 / pi)`.

    Returns weights `[K, 2]`, means `[K, 2, D]` and covariances `[K, 2, D, D]`.
    """
    eigenvalues, vectors = tf.linalg.eigh(covariances)
    axis = vectors[..., -1] * tf.sqrt(tf.maximum(eigenvalues[..., -1:], 0.0))
    offset = np.sqrt(2.0 / np.pi) * axis
    sub_means = tf.stack([means - offset, means + offset], axis=1)
    cut = covariances - (2.0 / np.pi) * axis[..., :, tf.newaxis] * axis[..., tf.newaxis, :]
    sub_weights = tf.fill([tf.shape(means)[0], 2], tf.constant(0.5, tf.float64))
    return sub_weights, sub_means, tf.stack([cut, cut], axis=1)


def whole_first(statistics: SufficientStatistics) -> SufficientStatistics:
    """Statistics `[K, 2]` of components whose halves nobody knows: all points in the first."""
    # By NumPy, which takes a fourth of the time of eager operations.
    parts = statistics.map(np.asarray)
    return parts.map(lambda part: np.stack([part, np.zeros_like(part)], axis=1))


def estimate_mixture(
    statistics: SufficientStatistics,
    prior: niw.NIWParameters,
    covariance: str,
    config: DeepDPMConfig,
) -> MixtureParameters:
    """MAP estimate of a mixture from statistics `[K]`, by the rules of the configuration."""
    return m_step(
        statistics,
        prior if config.prior_in_m_step else None,
        concentration=config.weight_concentration,
        denominator=config.map_denominator,
        weight_rule=config.weight_rule,
        covariance=covariance,
    )


def apply_transition(
    state: MixtureState, transition: Transition, config: DeepDPMConfig
) -> MixtureState:
    """The state after a move: rows gathered, halves promoted, merged rows estimated anew.

    [DeepDPM] eq. 8 for splits: the child takes its subcomponent's parameters and its share of the
    parent's weight. Weighted MAP estimates for merges.
    """
    parents, half = transition.parents, transition.half
    first, side = parents[:, 0], np.maximum(half, 0)
    pick = np.stack([first, side], axis=1)

    def split_rows(whole: tf.Tensor, halves: tf.Tensor) -> tf.Tensor:
        return _where(half != WHOLE, tf.gather_nd(halves, pick), tf.gather(whole, first))

    weights, means, covariances = state.parameters
    child_weights = weights[:, tf.newaxis] * state.sub_weights
    parameters = MixtureParameters(
        split_rows(weights, child_weights),
        split_rows(means, state.sub_means),
        split_rows(covariances, state.sub_covariances),
    )
    # Soft statistics are divided between the halves by their weights.
    shares = state.soft.map(
        lambda part: part[:, tf.newaxis] * _like(state.sub_weights, part[:, tf.newaxis])
    )
    soft = state.soft.map(split_rows, shares)
    wholes = state.halves.total(axis=1)
    hard = wholes.map(split_rows, state.halves)
    merged = np.flatnonzero(transition.is_merged)
    if len(merged):
        partners, rows = parents[merged, 1], merged[:, np.newaxis]

        def add_rows(part: tf.Tensor, extra: tf.Tensor) -> tf.Tensor:
            return tf.tensor_scatter_nd_add(part, rows, extra)

        soft = soft.map(add_rows, state.soft.select(partners))
        hard = hard.map(add_rows, wholes.select(partners))
        estimates = estimate_mixture(soft.select(merged), state.prior, state.covariance, config)
        joint = tf.gather(weights, parents[merged, 0]) + tf.gather(weights, partners)
        estimates = estimates._replace(mixture_weights=joint)
        parameters = MixtureParameters(
            *(
                tf.tensor_scatter_nd_update(part, rows, new)
                for part, new in zip(parameters, estimates, strict=True)
            )
        )
    total = tf.reduce_sum(parameters.mixture_weights)
    parameters = parameters._replace(mixture_weights=parameters.mixture_weights / total)
    is_new = transition.is_new
    fresh = subcomponent_start(parameters.means, parameters.covariances)
    sub = {
        name: _where(is_new, new, tf.gather(getattr(state, name), first))
        for name, new in zip(_SUBCOMPONENTS, fresh, strict=True)
    }
    # Halves of new components are unknown until the next pass.
    halves = whole_first(hard).map(
        lambda new, old: _where(is_new, new, old), state.halves.select(first)
    )
    return dataclasses.replace(
        state, parameters=parameters, soft=soft, halves=halves, t_mixture=None, **sub
    )


def _where(is_chosen: np.ndarray, chosen: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Rows of one tensor where `is_chosen [K]`, else of the other."""
    return tf.where(_like(is_chosen, others), chosen, others)


def _like(values: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    """Values with as many axes as `part` at the end."""
    return tf.reshape(values, [*values.shape, *[1] * (len(part.shape) - len(values.shape))])
