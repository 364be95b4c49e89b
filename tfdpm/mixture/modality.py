"""Hartigan's dip: whether values have one mode or several [Hartigan and Hartigan 1985]."""

from __future__ import annotations

import numpy as np

# Of more values, so many in equal steps have the same dip to a thousandth.
_MOST_VALUES = 2_000
_NUM_DENSITIES = 160


def dip_p_value(values: np.ndarray) -> float:
    """Probability that values of even density have as large a dip as `values [n]`, in [0, 1].

    No density of one mode has larger dips, so that small probabilities tell of two modes. Of
    Gaussian values it is nearly always one.
    """
    # From 500 values on, the dip exceeds d with a probability of about exp(1.9 - 17.1 n d^2), as
    # 60,000 samples show from 10 % down to .01 %. Fewer values have as large a dip more rarely.
    return float(min(1.0, np.exp(1.9 - 17.1 * len(values) * dip(values) ** 2)))


def dip(values: np.ndarray) -> float:
    """Largest difference of the values' distribution function from the nearest unimodal one.

    Of `values [n]` it is in [0, 0.25].
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if len(ordered) > _MOST_VALUES:
        places = np.linspace(0, len(ordered) - 1, _MOST_VALUES).round().astype(int)
        ordered = ordered[places]
    span = ordered[-1] - ordered[0] if len(ordered) else 0.0
    if not span > 0:
        return 0.0
    ordered = (ordered - ordered[0]) / span
    # The dip is half the largest gain by a second interval in excess mass [Mueller and Sawitzki
    # 1991]. Near the best density of a coarse scale, a fine one is looked through.
    densities = np.geomspace(0.02, 50.0, _NUM_DENSITIES)
    gains = _second_interval_gains(ordered, densities)
    best = int(gains.argmax())
    low, high = densities[max(best - 1, 0)], densities[min(best + 1, _NUM_DENSITIES - 1)]
    fine = _second_interval_gains(ordered, np.geomspace(low, high, _NUM_DENSITIES))
    return 0.5 * float(max(gains[best], fine.max()))


def _second_interval_gains(ordered: np.ndarray, densities: np.ndarray) -> np.ndarray:
    """Excess mass of the best two intervals less that of the best one, for each of L densities.

    The excess mass of an interval at a density is its share of the points less the density times
    its length.
    """
    count = len(ordered)
    # Of the interval from point i to point j: ends[j] - starts[i].
    ends = np.arange(1, count + 1) / count - densities[:, np.newaxis] * ordered
    starts = ends - 1.0 / count
    # Best interval among the first points, and among the last ones.
    first = np.maximum.accumulate(ends - np.minimum.accumulate(starts, axis=1), axis=1)
    best_ends = np.maximum.accumulate(ends[:, ::-1], axis=1)
    last = np.maximum.accumulate(best_ends - starts[:, ::-1], axis=1)[:, ::-1]
    gains: np.ndarray = (first[:, :-1] + last[:, 1:]).max(axis=1) - first[:, -1]
    return gains.clip(min=0.0)
