"""The points of a stream that are remembered, from which its clusters can be sought anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdpm.features.preprocessing import Preprocessing

# Share of the spread that may lie outside of the features, beside four times what lay there at the
# last search. Principal axes leave out a thousandth; a column that begins to vary adds far more.
_MOST_OUTSIDE = 0.01
_MOST_TIMES_OUTSIDE = 4.0
_LEAST_UNIT = 1e-3  # unit of a constant column for the least deviation of those that vary
_ALMOST_ALL = 1.0 - 1e-9  # sums of shares are rounded
_SLACK_POINTS = 10  # by which a batch counts as larger: of few points the mean says little


@dataclasses.dataclass(frozen=True)
class Memory:
    """A sample of a stream's points, in which forgotten points are as rare as in the statistics.

    Attributes:
        rows: `[m, D_in]` raw rows.
        num_points: number of points that they stand for, each counted as far as it is not
            forgotten.
        share: share of the points that is kept in `rows`.
        num_new: number of points since the last search.
        num_searched: `num_points` at the last search; 0 before the first.
        num_batches: number of batches so far.
        novel_share: share of points that no cluster explained just after the last search.
        is_recalled: whether some rows were drawn from the mixture of a model that was fitted
            elsewhere. They vary in the directions of its features alone.
        units: `[D_in]` factors of the columns in the two following numbers.
        spread: mean squared distance of `rows`, or of their logarithms, from their mean at the last
            search.
        outside: part of it that the features do not show.
    """

    rows: np.ndarray
    num_points: float = 0.0
    share: float = 1.0
    num_new: float = 0.0
    num_searched: float = 0.0
    num_batches: int = 0
    novel_share: float = 0.0
    is_recalled: bool = False
    units: np.ndarray = dataclasses.field(default_factory=lambda: np.ones(1))
    spread: float = 0.0
    outside: float = float("inf")

    def after(self, rows: np.ndarray, forgetting: float, most: int, seed: int) -> Memory:
        """Returns the memory after a batch `rows [B, D_in]`, of at most so many rows.

        The batch replaces a share of the past, `forgetting`. The same seed and batches give the
        same rows.
        """
        generator = np.random.default_rng([seed, self.num_batches, 9])
        num_points = self.num_points * (1.0 - forgetting) + len(rows)
        share = min(1.0, most / num_points)
        num_old, old_share = len(self.rows), (1.0 - forgetting) * min(1.0, share / self.share)
        kept = np.concatenate(
            [_kept(num_old, old_share, generator), num_old + _kept(len(rows), share, generator)]
        )
        kept = kept[_kept(len(kept), min(1.0, most / max(len(kept), 1)), generator)]
        is_old = kept < num_old
        # Takes a quarter of the time of indexing.
        old, new = self.rows.take(kept[is_old], axis=0), rows.take(kept[~is_old] - num_old, axis=0)
        return dataclasses.replace(
            self,
            rows=np.concatenate([old, new]),
            num_points=num_points,
            share=share,
            num_new=self.num_new + num_points - self.num_points * (1.0 - forgetting),
            num_batches=self.num_batches + 1,
        )

    @property
    def is_due(self) -> bool:
        """Whether as many points came since the last search as were remembered then."""
        return self.num_new >= _ALMOST_ALL * self.num_searched

    def searched(self, preprocessing: Preprocessing, novel_share: float) -> Memory:
        """Returns the memory just after a search that led to this map to features."""
        units = np.ones(self.rows.shape[1])
        rows = preprocessing.affine_inputs(self.rows.astype(np.float64))
        if preprocessing.has_own_units:
            deviations = rows.std(axis=0)
            least = _LEAST_UNIT * deviations[deviations > 0].min()
            units = 1.0 / np.maximum(deviations, np.maximum(least, _rounding(preprocessing)))
        found = dataclasses.replace(
            self,
            num_new=0.0,
            num_searched=self.num_points,
            novel_share=novel_share,
            units=units,
            spread=float(np.sum((rows.std(axis=0) * units) ** 2)),
        )
        return dataclasses.replace(found, outside=found._outside_of(preprocessing, self.rows))

    def is_beyond(self, preprocessing: Preprocessing, rows: np.ndarray) -> bool:
        """Whether `rows [B, D_in]` vary in directions that the features do not show."""
        if preprocessing.is_invertible and np.isfinite(preprocessing.log_determinant):
            return False
        limit = _MOST_TIMES_OUTSIDE * self.outside + _MOST_OUTSIDE * self.spread
        limit += np.sum((_rounding(preprocessing) * self.units) ** 2)
        found = self._outside_of(preprocessing, rows)
        return len(rows) * found > (len(rows) + _SLACK_POINTS) * limit

    def _outside_of(self, preprocessing: Preprocessing, rows: np.ndarray) -> float:
        """Mean squared distance of rows from those with the same features."""
        rows = preprocessing.affine_inputs(rows.astype(np.float64))
        features = (rows - preprocessing.mean) @ preprocessing.projection
        shown = preprocessing.nearest_affine_inputs(features)
        return float(np.mean(np.sum(((rows - shown) * self.units) ** 2, axis=1)))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every field as an array, by name."""
        fields = dataclasses.fields(self)
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Memory:
        """The memory behind `to_arrays`' result.

        Raises:
            ValueError: if the arrays, which may come from a file of a stranger, are of no memory.
        """
        found = {each.name: np.array(arrays[each.name]) for each in dataclasses.fields(cls)}
        for name, each in found.items():
            # Before the first search, nothing is known of what the features leave out.
            is_number = each.dtype.kind in "fiub" and not np.isnan(each).any()
            is_finite = is_number and (name == "outside" or np.isfinite(each).all())
            if not is_finite or each.ndim != {"rows": 2, "units": 1}.get(name, 0):
                raise ValueError(f"a memory whose {name} is of type {each.dtype}, or not finite")
        return cls(**{name: each if each.ndim else each.item() for name, each in found.items()})


def _rounding(preprocessing: Preprocessing) -> np.ndarray:
    """Deviations `[D_in]` that rounding alone may make."""
    return 8 * np.finfo(np.float64).eps * np.abs(preprocessing.mean)


def _kept(num_rows: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """Places of a `share` of so many rows, drawn without replacement, in their order."""
    if share >= 1.0:
        return np.arange(num_rows)
    count = int(share * num_rows + generator.random())
    # The fewer are drawn, those that stay or those that go: a batch replaces few of many.
    fewer = min(count, num_rows - count)
    is_kept = np.full(num_rows, fewer < count)
    is_kept[generator.choice(num_rows, fewer, replace=False, shuffle=False)] = fewer == count
    return np.flatnonzero(is_kept)
