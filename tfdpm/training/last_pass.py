"""The statistics of the last pass over the data, for as long as the networks stay as they were."""

from __future__ import annotations

import numpy as np

from tfdpm.networks.pair import NetworkPair
from tfdpm.networks.reduction import PassStatistics

__all__ = ["LastPass"]


class LastPass:
    """Saves a pass whose result is known, for instance of the labels after the last epoch.

    Weights are compared rather than trusted: callbacks may put others in place.
    """

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Drops the statistics, since what they depend on besides the weights has changed."""
        self._weights: list[np.ndarray] = []
        self._statistics: PassStatistics | None = None

    def keep(self, networks: NetworkPair, statistics: PassStatistics) -> None:
        """Remembers the `statistics` of all points under `networks`."""
        self._weights, self._statistics = networks.copy_weights(), statistics

    def recall(self, networks: NetworkPair) -> PassStatistics | None:
        """What was kept, if the networks' weights still are what they were."""
        if self._statistics is None:
            return None
        pairs = zip(self._weights, networks.copy_weights(), strict=True)
        return self._statistics if all(np.array_equal(*pair) for pair in pairs) else None
