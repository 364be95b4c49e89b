"""The prior of a search, whose scale follows K and the evidence, and priors from moments."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import FeatureMoments, Preprocessing
from tfdpm.mixture.categories import Categories
from tfdpm.mixture.niw import NIWParameters, niw_parameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.points.sample import Sample

# Half or twice of either leaves K of the embeddings that the scale was tuned on as it is.
_LARGEST_SCALE = 3.0  # as a multiple of the mean variance of a feature
_LEAST_CHANGE = 0.1  # change of the logarithm of the scale below which it counts as settled

# Tuned on UMAP embeddings of USPS, MNIST and Fashion-MNIST, with their labels in view. On up to
# 20,000 of their points a search finds K = 8, 10 and 9; half the scale gives 8, 10 and 11, twice
# the scale 8, 9 and 8. Accuracies change by about a hundredth on average.
_SCALE_PER_POINT = 2e-5
_MANY_POINTS = 20_000.0
_MANY_COMPONENTS = 20.0
# Of a single feature. Thirty Gaussians on a line became 13 with twenty.
_MANY_ON_A_LINE = 4.0
# So many have few points each, of which a prior that is worth more would leave nothing to see:
# 1,000 Gaussians in a plane became 13. From fewer on, heavy tails of one cluster become several.
_COMPONENTS_OF_FEW_POINTS = 100.0


def automatic_scale(num_points: float, num_components: int, feature_dim: int) -> float:
    """Smallest scale of the automatic prior, as a multiple of the mean feature variance.

    Real clusters are not Gaussian, and with enough points more Gaussians describe any shape better.
    A scale that grows with N keeps the share of the prior in each component's covariance, and with
    it K, independent of N. Below 20,000 points it falls with `N^(2/3)` only, since fewer points
    tell less of a shape. With more than 20 components, or 4 of a single feature, the volume of one,
    and with it the scale, shrinks as `K^(-2/D)`. With more than 100, the scale shrinks as their
    points do, `1 / K`, too.
    """
    num_points = checks.number(num_points, "num_points", above=0.0)
    many = _MANY_ON_A_LINE if feature_dim == 1 else _MANY_COMPONENTS
    shrinkage = min(1.0, (num_components / many) ** (-2.0 / feature_dim))
    shrinkage *= min(1.0, _COMPONENTS_OF_FEW_POINTS / num_components)
    few = max(1.0, (_MANY_POINTS / num_points) ** (1.0 / 3.0))
    return float(_SCALE_PER_POINT * num_points * few * shrinkage)


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """Settings of a search.

    Attributes:
        config: settings of the fit, with its moves and priors.
        df: nu of the Normal-inverse-Wishart prior.
        covariance: structure of covariances, or `"auto"`, which only `select_search` understands.
        fixed_scale: `[D, D]` scale matrix of the prior, of `config.prior_points` points if they
            are given; `None` fits a multiple of I.
        rounding: covariance of each point about its value, `[D', D']` of all features; `None` for
            none.
        categories: which of the first features are flags of categories; `None` for none.
    """

    config: DeepDPMConfig
    df: float
    covariance: str = "full"
    fixed_scale: np.ndarray | None = None
    rounding: np.ndarray | None = None
    categories: Categories | None = None

    def sample(self, points: np.ndarray) -> Sample:
        """The sample of points `[n, D]` of the first D features."""
        dim = points.shape[1]
        rounding = None if self.rounding is None else self.rounding[:dim, :dim]
        return Sample(points, rounding, self.categories)


def categories_of(preprocessing: Preprocessing) -> Categories | None:
    """Which of the first features are flags of categories; `None` for none."""
    columns, units = preprocessing.flag_places
    if not len(columns):
        return None
    shares = preprocessing.mean[columns]
    return Categories(preprocessing.category_sizes, shares, float(units[0]))


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

        A fitted scale is multiplied by it, since it is in proportion to the number of points, and
        so is a given one that is for `prior_points`.
        """
        settings = self.settings
        scale, prior_points = settings.fixed_scale, settings.config.prior_points
        if scale is None:
            scale = multiple * settings.config.prior_scale * self.scale * np.eye(self._dim)
            if settings.categories is not None:
                scale = settings.categories.with_shifts(scale)
        elif prior_points is not None:
            scale = multiple * self._num_points / prior_points * scale
        return PartitionPrior(
            scale,
            settings.df + self.extra_df,
            settings.config.mean_precision,
            settings.config.dp_concentration,
            settings.config.weight_concentration,
            settings.covariance,
            settings.categories,
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
    of each feature, as in the authors' program. The last two are multiplied by N over
    `prior_points`, if they are given.

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
    if config.prior != "auto" and config.prior_points is not None:
        scale *= moments.num_points / config.prior_points
    return niw_parameters(mean, config.mean_precision, df, np.diag(scale * diagonal))
