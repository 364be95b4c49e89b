"""The prior of a search, whose scale follows the number of clusters and the evidence."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.mixture import niw
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.prior import automatic_scale
from tfdpm.mixture.statistics import SufficientStatistics

__all__ = ["SearchPrior", "SearchSettings"]

_LARGEST_SCALE = 3.0
_LEAST_CHANGE = 0.1  # of the logarithm of the scale


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What the search takes from the configuration; see `DeepDPMConfig`.

    Attributes:
        splits, merges: whether each kind of move is made.
        dp_concentration: alpha.
        mean_precision, df: of the prior.
        scale_factor: multiplies the prior's scale that is found.
        fixed_scale: `[D, D]` scale matrix to use instead of finding one, or `None`.
        num_neighbours: merge candidates.
        weight_concentration: see `m_step`.
        covariance: structure of covariances, or `"auto"`, which only `best_search.py` understands.
    """

    splits: bool
    merges: bool
    dp_concentration: float
    mean_precision: float
    df: float
    scale_factor: float
    num_neighbours: int
    weight_concentration: float
    fixed_scale: np.ndarray | None = None
    covariance: str = "full"


class SearchPrior:
    """Normal-inverse-Wishart prior of a sample's clusters, with a scale matrix that is `scale * I`.

    The scale never falls below a floor that is lower where there are more clusters (see
    `automatic_scale`).

    Args:
        settings: as for the search.
        num_points, dim: of the sample.
        extra_df: added to the degrees of freedom; the scale matrix grows alike, so that the prior
            mean of a covariance stays and only its weight grows.
        num_components: K that the floor is for.
        scale: to start from, before `scale_factor`; by default that of one cluster.

    Attributes:
        scale: of the prior, as a multiple of I.
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

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return self.settings.df + self.extra_df

    def as_niw(self, multiple: float = 1.0) -> niw.NIWParameters:
        """The prior as it stands; a scale that was found is multiplied by `multiple`.

        Args:
            multiple: number of all points over that of the sample. The scale is in proportion to
                the number of points (see `automatic_scale`).
        """
        return self.of_partitions(multiple).as_niw()

    def of_partitions(self, multiple: float = 1.0) -> PartitionPrior:
        """The prior as it stands, with the Dirichlet process."""
        settings = self.settings
        scale = settings.fixed_scale
        if scale is None:
            scale = multiple * settings.scale_factor * self.scale * np.eye(self._dim)
        return PartitionPrior(
            scale,
            self.df,
            settings.mean_precision,
            settings.dp_concentration,
            settings.weight_concentration,
            settings.covariance,
        )

    def _floor_for(self, num_components: int) -> float:
        return automatic_scale(self._num_points, num_components, self._dim)

    def follow_floor(self, num_components: int) -> None:
        """Keeps the scale on its floor, where it was, and above it, where it was not."""
        was_on_floor = self.scale <= self._floor * 1.0001
        self._floor = self._floor_for(num_components)
        if was_on_floor or self.scale < self._floor:
            self.scale = self._floor

    def fit_scale(self, statistics: SufficientStatistics) -> bool:
        """Sets the scale by the evidence, within its bounds; whether it moved by over 10 %.

        Args:
            statistics: `[K]` of the clusters.
        """
        if self.settings.fixed_scale is not None:
            return False
        factor = self.settings.scale_factor
        fitted = self.of_partitions().fitted_scale(statistics, factor * self.scale)
        self._floor = self._floor_for(len(statistics.counts))
        largest = max(_LARGEST_SCALE * (1.0 + self.extra_df), self._floor)
        fitted = float(np.clip(fitted / factor, self._floor, largest))
        moved = abs(np.log(fitted / self.scale)) > _LEAST_CHANGE
        if moved:
            self.scale = fitted
        return moved
