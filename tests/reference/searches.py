"""Settings of a search as the default configuration makes them."""

from __future__ import annotations

from tfdpm.config import DeepDPMConfig
from tfdpm.search.prior import SearchSettings


def search_settings(dim=2, covariance="full", fixed_scale=None, **changes):
    values = dict(
        dp_concentration=10.0,
        mean_precision=1e-4,
        prior_scale=1.0,
        num_neighbours=3,
        weight_concentration=1.0,
    )
    config = DeepDPMConfig(**{**values, **changes})
    return SearchSettings(config, dim + 2.0, covariance, fixed_scale)
