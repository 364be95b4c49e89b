"""What has become of a fit's clusters in new points: which grew, shrank, moved or appeared.

Both samples are described by sums over points that are weighted by the same probabilities of the
clusters, so nothing but the statistics of the fit is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.stats
import tensorflow as tf

from tfdpm.mixture.statistics import SufficientStatistics, accumulate

if TYPE_CHECKING:
    import pandas as pd

UNLIKE = 1e-3  # p-value under the predictive below which a point is like no cluster
_FEWEST = 2.0  # points of a cluster in either sample, without which it has no place


@dataclasses.dataclass(frozen=True, eq=False)
class Drift:
    """Clusters in new points beside those of the fit.

    P-values are of no drift, for K shares, K places and the points that are like no cluster. They
    are corrected for one another [Holm 1979]: the chance that any is below a level is at most that
    level where nothing has drifted.

    Attributes:
        ids: `[K]` int64 names of the clusters.
        num_points: points of the fit, and new ones.
        shares: `[2, K]` share of each cluster in the fit and in the new points.
        share_p: `[K]` p-values of equal shares, by Fisher's exact test.
        shifts: `[K]` distance between old and new mean, in standard deviations of the cluster along
            their difference; NaN where either sample has too few points.
        shift_p: `[K]` p-values of equal means, by Hotelling's test; NaN as above.
        unlike: share of points that are like no cluster, in the fit (NaN where it is not known) and
            in the new points.
        unlike_p: p-value of no more of these than in the fit, by Fisher's exact test.
        is_unlike: `[M]` bool, which of the new points these are.
        level: p-value below which a change counts as one.
    """

    ids: np.ndarray
    num_points: tuple[float, float]
    shares: np.ndarray
    share_p: np.ndarray
    shifts: np.ndarray
    shift_p: np.ndarray
    unlike: tuple[float, float]
    unlike_p: float
    is_unlike: np.ndarray
    level: float

    @property
    def changes(self) -> list[str]:
        """What each of the K clusters did: "grew", "shrank", "moved", both, or nothing."""
        size = np.where(self.shares[1] > self.shares[0], "grew", "shrank")
        found = zip(size, self.share_p < self.level, self.shift_p < self.level, strict=True)
        return [
            " and ".join([str(word)] * bool(resized) + ["moved"] * bool(moved))
            for word, resized, moved in found
        ]

    @property
    def has_appeared(self) -> bool:
        """Whether more new points are like no cluster than in the fit."""
        return self.unlike_p < self.level

    @property
    def smallest_p(self) -> float:
        """The smallest of all p-values."""
        return float(np.nanmin([*self.share_p, *self.shift_p, self.unlike_p]))

    @property
    def table(self) -> pd.DataFrame:
        """One row for each cluster, and a last one, -1, for points that are like none."""
        import pandas as pd

        columns = {
            "cluster": [*range(len(self.ids)), -1],
            "id": [*self.ids, -1],
            "share_before": [*self.shares[0], self.unlike[0]],
            "share_now": [*self.shares[1], self.unlike[1]],
            "share_p": [*self.share_p, self.unlike_p],
            "shift": [*self.shifts, np.nan],
            "shift_p": [*self.shift_p, np.nan],
            "change": [*self.changes, "appeared" if self.has_appeared else ""],
        }
        return pd.DataFrame(columns).set_index("cluster")

    def __str__(self) -> str:
        """One line for each change, or one that says that there is none."""
        rows = self.table[self.table["change"] != ""]
        lines = [
            f"{self.num_points[1]:,.0f} new points beside {self.num_points[0]:,.0f} of the fit."
        ]
        for row in rows.itertuples():
            name = "Points like no cluster" if row.Index < 0 else f"Cluster {row.Index}"
            lines.append(
                f"{name}: {row.change}, {row.share_before:.1%} to {row.share_now:.1%} of the points"
                f" (p {row.share_p:.2g})"
                + (
                    f", by {row.shift:.2f} standard deviations (p {row.shift_p:.2g})"
                    if "moved" in row.change
                    else ""
                )
            )
        return "\n".join(lines if len(rows) else [*lines, "No cluster has changed."])


class Baseline(NamedTuple):
    """What is known of the points of a fit, to which new ones are compared.

    Attributes:
        ids: `[K]` int64 names of the clusters.
        statistics: of the points, by cluster.
        unlike: of a sample of them, how many no cluster explains, and its size; `None` if unknown.
    """

    ids: np.ndarray
    statistics: SufficientStatistics
    unlike: tuple[int, int] | None


def measure_drift(
    baseline: Baseline, pieces: Iterable[tuple[np.ndarray, ...]], level: float
) -> Drift:
    """The drift of new points, of which a model tells piece by piece.

    A piece holds features `[B, D]`, probabilities of clusters `[B, K]` and p-values `[B]`.
    """
    before, known = baseline.statistics, baseline.unlike
    now, unlike = None, []
    for features, shares, tails in pieces:
        piece = accumulate(tf.constant(features, tf.float64), tf.constant(shares, tf.float64))
        now = piece if now is None else now.plus(piece)
        unlike.append(tails < UNLIKE)
    is_unlike = np.concatenate(unlike)
    counts = np.array([np.asarray(each.counts) for each in (before, now)])
    shifts, shift_p = compare_places(before, now)
    unlike_now = int(is_unlike.sum()), len(is_unlike)
    p_values = [*compare_shares(counts), *shift_p, _more_than(known, unlike_now)]
    p_values = adjust_p_values(np.array(p_values))
    num_clusters = counts.shape[1]
    return Drift(
        baseline.ids,
        (float(counts[0].sum()), float(len(is_unlike))),
        counts / counts.sum(axis=1, keepdims=True),
        p_values[:num_clusters],
        shifts,
        p_values[num_clusters:-1],
        (np.nan if known is None else known[0] / known[1], float(is_unlike.mean())),
        float(p_values[-1]),
        is_unlike,
        level,
    )


def compare_shares(counts: np.ndarray) -> np.ndarray:
    """P-values `[K]` of equal shares of each cluster in two samples with `counts [2, K]`.

    Sums of probabilities vary less than numbers of points with the same mean, for which the test is
    exact.
    """
    counts = counts.round().astype(np.int64)
    rest = counts.sum(axis=1, keepdims=True) - counts
    return np.array(
        [scipy.stats.fisher_exact([own, r])[1] for own, r in zip(counts.T, rest.T, strict=True)]
    )


def compare_places(
    before: SufficientStatistics, now: SufficientStatistics
) -> tuple[np.ndarray, np.ndarray]:
    """Distances `[K]` between the means in two samples, in standard deviations, and p-values.

    Hotelling's test for two samples with one covariance. A point that counts in part varies less
    than the same share of whole points, so the test errs towards no drift.
    """
    shifts, p_values = np.full((2, len(before.counts)), np.nan)
    for k in range(len(shifts)):
        counts, means, scatters = [], [], []
        for sample in (before, now):
            count, total, outer = (np.asarray(part[k]) for part in sample)
            counts.append(float(count))
            means.append(total / max(count, 1e-300))
            scatters.append(outer - count * np.outer(means[-1], means[-1]))
        dim, free = len(means[0]), sum(counts) - len(means[0]) - 1
        if min(counts) < _FEWEST or free <= 0:
            continue
        covariance = sum(scatters) / (sum(counts) - 2)
        difference = means[1] - means[0]
        inverse = np.linalg.pinv(covariance, 1e-10, hermitian=True)
        square = difference @ inverse @ difference
        statistic = square * counts[0] * counts[1] / sum(counts)
        statistic *= free / (dim * (sum(counts) - 2))
        shifts[k] = np.sqrt(square)
        p_values[k] = scipy.stats.f.sf(statistic, dim, free)
    return shifts, p_values


def adjust_p_values(p_values: np.ndarray) -> np.ndarray:
    """P-values `[n]` after the step-down correction of [Holm 1979]; NaN is no test."""
    order = np.argsort(p_values)
    count = np.sum(~np.isnan(p_values))
    factors = np.maximum(count - np.arange(len(p_values)), 1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected


def _more_than(known: tuple[int, int] | None, now: tuple[int, int]) -> float:
    """P-value of a share that is no greater than a known one, each `(number, of so many)`."""
    if known is None:
        return float("nan")
    table = [[now[0], now[1] - now[0]], [known[0], known[1] - known[0]]]
    return float(scipy.stats.fisher_exact(table, alternative="greater")[1])
