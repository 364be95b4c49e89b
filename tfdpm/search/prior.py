"""The prior of a search, whose scale follows K and the evidence, and priors from moments."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import FeatureMoments, Preprocessing
from tfdpm.mixture.niw import NIWParameters, niw_parameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.prior import automatic_scale
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.sample import Sample

# Half or twice of either leaves K of the embeddings that the scale was tuned on as it is.
_LARGEST_SCALE = 3.0  # as a multiple of the mean variance of a feature
_LEAST_CHANGE = 0.1  # change of the logarithm of the scale below which it counts as settled


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """Settings of a search.

    Attributes:
        config: settings of the fit, with its moves and priors.
        df: nu of the Normal-inverse-Wishart prior.
        covariance: structure of covariances, or `"auto"`, which only `select_search` understands.
        fixed_scale: `[D, D]` scale matrix of the prior; `None` fits a multiple of I.
        rounding: covariance of each point about its value, `[D', D']` of all features; `None` for
            none.
    """

    config: DeepDPMConfig
    df: float
    covariance: str = "full"
    fixed_scale: np.ndarray | None = None
    rounding: np.ndarray | None = None

    def sample(self, points: np.ndarray) -> Sample:
        """The sample of points `[n, D]` of the first D features."""
        dim = points.shape[1]
        rounding = None if self.rounding is None else self.rounding[:dim, :dim]
        return Sample(points, rounding)


class SearchPrior:
    """Normal-inverse-Wishart prior of a sample's clusters, with a scale matrix that is `scale * I`.

    The scale never falls below a bound, its floor, that falls with the number of clusters (see
    `automatic_scale`).

    Args:
        settings: settings of the search.
        num_points, dim: of the sample.
        extra_df: added degrees of freedom; the scale matrix grows alike, so that the prior mean of
            a covariance stays and only its weight grows.
        num_components: K that the floor is for.
        scale: scale to begin with, before `prior_scale`; `None` takes that of one cluster.

    Attributes:
        scale: scale of the prior, as a multiple of I.
    """

    def __init__(
        self,
        settings: SearchSettings,
        num_points: int,
        dim: int,
        extra_df: float = 0.0,
        *,
        num_components: int = 1,
        scale: float | None = None,
    ):
        self.settings = settings
        self._num_points, self._dim = num_points, dim
        self.extra_df = extra_df
        self._floor = self._floor_for(num_components)
        self.scale = max(1.0 + extra_df, self._floor) if scale is None else scale

    def partition_prior(self, multiple: float = 1.0) -> PartitionPrior:
        """The current prior with the Dirichlet process, for so many times the sample's points.

        A fitted scale is multiplied by it, since it is in proportion to the number of points.
        """
        settings = self.settings
        scale = settings.fixed_scale
        if scale is None:
            scale = multiple * settings.config.prior_scale * self.scale * np.eye(self._dim)
        return PartitionPrior(
            scale,
            settings.df + self.extra_df,
            settings.config.mean_precision,
            settings.config.dp_concentration,
            settings.config.weight_concentration,
            settings.covariance,
        )

    def _floor_for(self, num_components: int) -> float:
        return automatic_scale(self._num_points, num_components, self._dim)

    def follow_floor(self, num_components: int) -> None:
        """Moves the floor to that of `num_components`, and a scale on or below it as well."""
        was_on_floor = self.scale <= self._floor * 1.0001
        self._floor = self._floor_for(num_components)
        if was_on_floor or self.scale < self._floor:
            self.scale = self._floor

    def fit_scale(self, statistics: SufficientStatistics) -> bool:
        """Fits the scale by the evidence, within its bounds, and returns whether it changed."""
        if self.settings.fixed_scale is not None:
            return False
        factor = self.settings.config.prior_scale
        fitted = self.partition_prior().fit_scale(statistics, factor * self.scale)
        self._floor = self._floor_for(len(statistics.counts))
        largest = max(_LARGEST_SCALE * (1.0 + self.extra_df), self._floor)
        fitted = float(np.clip(fitted / factor, self._floor, largest))
        moved = bool(abs(np.log(fitted / self.scale)) > _LEAST_CHANGE)
        if moved:
            self.scale = fitted
        return moved


def prior_from_moments(
    moments: FeatureMoments,
    preprocessing: Preprocessing,
    config: DeepDPMConfig,
    num_components: int,
) -> NIWParameters:
    """Makes the configured NIW prior from the moments of all points.

    Factors of the scale matrix are `prior_scale`, the degrees of freedom where `scale_times_df`
    ([DeepDPM] eq. 8: nu * Psi), and what `config.prior` names. For `"auto"` that is the mean
    variance times `automatic_scale`, for `"identity"` one, and for `"std"` the standard deviation
    of each feature, as in the authors' program.

    Args:
        moments: moments of all raw inputs; their mean becomes the prior mean m.
        preprocessing: map from raw inputs to the D features.
        config: settings of the fit; `df=None` stands for D + 2.
        num_components: K to be expected.
    """
    projection, dim = preprocessing.projection, preprocessing.feature_dim
    df = dim + 2.0 if config.df is None else config.df
    mean = (moments.mean - preprocessing.mean) @ projection
    variances = np.maximum(moments.projected(projection), 0.0)
    scale, diagonal = config.prior_scale, np.ones(dim)
    if config.prior == "auto":
        scale *= automatic_scale(moments.num_points, num_components, dim)
        diagonal *= variances.mean() or 1.0
    elif config.prior == "std":
        diagonal = np.where(variances > 0, np.sqrt(variances), 1.0)
    scale *= df if config.scale_times_df else 1.0
    return niw_parameters(mean, config.mean_precision, df, np.diag(scale * diagonal))
