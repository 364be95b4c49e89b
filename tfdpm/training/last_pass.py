"""The statistics of the last pass over the data, for as long as the networks stay as they were."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from tfdpm.networks.reduction import PassStatistics

__all__ = ["LastPass"]


class LastPass:
    """Saves a pass whose result is known, for instance of the labels' after the last epoch's.

    Weights are compared rather than trusted: callbacks may put others in place.
    """

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Drops the statistics, since what they depend on besides the weights has changed."""
        self._weights: list[np.ndarray] = []
        self._statistics: PassStatistics | None = None

    def keep(self, networks: Sequence[keras.layers.Layer], statistics: PassStatistics) -> None:
        """Remembers the `statistics` of all points under `networks`."""
        self._weights, self._statistics = _weights(networks), statistics

    def recall(self, networks: Sequence[keras.layers.Layer]) -> PassStatistics | None:
        """What was kept, if the networks' weights still are what they were."""
        if self._statistics is None:
            return None
        pairs = zip(self._weights, _weights(networks), strict=True)
        return self._statistics if all(np.array_equal(*pair) for pair in pairs) else None


def _weights(networks: Sequence[keras.layers.Layer]) -> list[np.ndarray]:
    return [np.array(weight) for network in networks for weight in network.get_weights()]
