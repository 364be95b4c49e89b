"""Settings of a search as the default configuration makes them."""

from __future__ import annotations

from tfdpm.search.prior import SearchSettings


def search_settings(dim=2, **changes):
    values = dict(
        splits=True,
        merges=True,
        dp_concentration=10.0,
        mean_precision=1e-4,
        df=dim + 2.0,
        scale_factor=1.0,
        num_neighbours=3,
        weight_concentration=1.0,
    )
    return SearchSettings(**{**values, **changes})
