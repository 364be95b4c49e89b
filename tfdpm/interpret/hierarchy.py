"""What users ask about the making of their clusters: the tree, other numbers of them, and why."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.interpret.genealogy import Genealogy
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.hastings import log_partition_terms
from tfdpm.search.judge import judged_merges, judged_splits

_PAIRS_AT_ONCE = 4_096


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Why a cluster is neither split nor merged; log ratios in nats, of the move over none.

    Attributes:
        cluster: its number.
        size: its points, weighted where points are.
        split_log_ratio: of its best split into two; `-inf` where there is none.
        split_sizes: points of the two halves.
        merge_log_ratio: of its best merge; `-inf` where there is no other cluster.
        merge_with: the other cluster, or `None`.
    """

    cluster: int
    size: float
    split_log_ratio: float
    split_sizes: tuple[float, float]
    merge_log_ratio: float
    merge_with: int | None

    @property
    def is_whole(self) -> bool:
        """Whether neither move gains anything."""
        return self.split_log_ratio <= 0 and self.merge_log_ratio <= 0

    def __str__(self) -> str:
        """The same in sentences."""
        halves = " and ".join(f"{size:,.0f}" for size in self.split_sizes)
        lines = [
            f"Cluster {self.cluster}, {self.size:,.0f} points.",
            _sentence(f"Split into {halves} points", self.split_log_ratio, "two"),
        ]
        if self.merge_with is not None:
            move = f"Merge with cluster {self.merge_with}"
            lines.append(_sentence(move, self.merge_log_ratio, "one"))
        return "\n".join(lines)


def _sentence(move: str, log_ratio: float, what: str) -> str:
    if log_ratio == -np.inf:
        return f"{move}: impossible."
    verdict = f"the data are better told as {what}" if log_ratio > 0 else "rejected"
    return f"{move}: log ratio {log_ratio:+.1f} nats, {verdict}."


class FamilyMethods:
    """The part of `DeepDPM` that tells how its clusters came about and what else they might be."""

    _genealogy: Genealogy | None = None

    @property
    def tree_(self) -> Genealogy:
        """Every split and merge that lasted, from the first cluster on; `str` draws it."""
        self._fitted()
        if self._genealogy is None:  # weights came from elsewhere
            self._genealogy = Genealogy()
            self._genealogy.begin(self._state.halves.counts.numpy().sum(axis=1), "training")
        return self._genealogy

    def cut(self, n_clusters: int, x: Any = None) -> np.ndarray:
        """Clusters at a coarser or finer level than the one that was found.

        Coarser: the two clusters whose merging costs least evidence become one, again and again.
        Finer: the clusters whose split costs least evidence (or gains most) fall into the halves
        that the subclustering networks see; at most each into two.

        Args:
            n_clusters: wanted, between 1 and 2 K.
            x: points to label, as for `predict`; `None` for those of the fit, whose clusters are
                known but not their halves, so finer levels need `x`.

        Returns:
            `[N]` int64 in `[0, n_clusters)`. Levels are nested: a coarser cluster consists of
            whole finer ones.

        Raises:
            ValueError: if `n_clusters` is out of range, or `x` is missing for a finer level.
        """
        state = self._fitted()
        splits = None
        if checks.integer(n_clusters, "n_clusters", minimum=1) > state.num_components:
            splits = self._split_ratios_of_all()
            most = state.num_components + int(np.isfinite(splits).sum())
            checks.integer(n_clusters, "n_clusters", maximum=most)
            if x is None:
                checks.fail("x", "None for more clusters than were found", "points to label")
            return self._halved(x, splits, n_clusters - state.num_components)
        labels = self.labels_ if x is None else self.predict_labels(x)
        return merged_to(n_clusters, self._terms_of, state.halves.total(axis=1))[labels]

    def why(self, k: int, *, print_fn: Callable[[str], Any] | None = None) -> Evidence:
        """Writes, and returns, the evidence for keeping cluster `k` whole and apart.

        The split is that of its subclustering network or, where the points of the fit are at
        hand and it is better, that across its principal axis; the merge is that with the cluster
        that fits best. With those points, both are judged by the rule of the fit, which also knows
        heavy tails; a loaded model has statistics only.

        Args:
            k: the cluster, in `[0, K)`.
            print_fn: called with each line; `None` for standard output.
        """
        state = self._fitted()
        k = checks.integer(k, "k", minimum=0, maximum=state.num_components - 1)
        size = float(state.halves.counts[k].numpy().sum())
        split, share = self._best_split_of(k)
        pairs, merges = self._merge_ratios_of(k)
        best = int(np.argmax(merges)) if len(merges) else None
        evidence = Evidence(
            cluster=k,
            size=size,
            split_log_ratio=split,
            split_sizes=((1 - share) * size, share * size),
            merge_log_ratio=-np.inf if best is None else float(merges[best]),
            merge_with=None if best is None else int(pairs[best].sum() - k),
        )
        write = print_fn or (lambda line: sys.stdout.write(line + "\n"))
        for line in str(evidence).splitlines():
            write(line)
        return evidence

    def _terms_of(self, statistics: SufficientStatistics) -> np.ndarray:
        """Shares `[...]` of components with such statistics in the log probability of all."""
        return log_partition_terms(
            statistics,
            self._state.prior,
            dp_concentration=self.config.dp_concentration,
            covariance=self._state.covariance,
        ).numpy()

    def _split_ratios_of_all(self) -> np.ndarray:
        """Log ratios `[K]` of splitting each cluster into its networks' halves."""
        if self._search is not None:
            return judged_splits(self._search.evidence, *self._sample_labels(), self.n_clusters)
        halves = self._state.halves
        terms = self._terms_of(halves)
        ratios = terms.sum(axis=1) - self._terms_of(halves.total(axis=1))
        return np.where(halves.counts.numpy().min(axis=1) > 0, ratios, -np.inf)

    def _best_split_of(self, k: int) -> tuple[float, float]:
        """Log ratio of the best split of one cluster, and the second half's share of it."""
        if self._search is None:
            counts = self._state.halves.counts.numpy()[k]
            share = counts[1] / max(counts.sum(), 1e-300)
            return float(self._split_ratios_of_all()[k]), float(share)
        labels, sides = self._sample_labels()
        is_own = labels == k
        found, evidence = [], self._search.evidence
        for candidate in (sides, _axis_sides(self._search.points, is_own)):
            ratio = judged_splits(evidence, labels, candidate, self.n_clusters)[k]
            found.append((float(ratio), float(candidate[is_own].mean()) if is_own.any() else 0.0))
        return max(found)

    def _merge_ratios_of(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs `[P, 2]` with cluster `k`, and the log ratios `[P]` of merging them."""
        if self._search is not None:
            labels = self._labels_to_merge()
            pairs, ratios = judged_merges(self._search.evidence, labels, self.n_clusters)
            is_own = (pairs == k).any(axis=1) if len(pairs) else np.zeros(0, bool)
            if is_own.any():
                return pairs[is_own], ratios[is_own]
        wholes = self._state.halves.total(axis=1)
        others = np.delete(np.arange(self.n_clusters), k)
        pairs = np.stack([np.full_like(others, k), others], axis=1)
        return pairs, _pair_ratios(self._terms_of, wholes, self._terms_of(wholes), pairs)

    def _halved(self, x, splits: np.ndarray, count: int) -> np.ndarray:
        """Labels `[N]` after splitting the `count` clusters with the largest ratios."""
        chosen = np.argsort(-splits, kind="stable")[:count]
        second = np.full(len(splits), -1)
        second[chosen] = len(splits) + np.arange(count)
        pieces = []
        for features in self._features_of(x):
            labels, sides = self._labels_and_sides(features)
            is_second = (sides == 1) & (second[labels] >= 0)
            pieces.append(np.where(is_second, second[labels], labels))
        return np.concatenate(pieces)


def _axis_sides(points: np.ndarray, is_own: np.ndarray) -> np.ndarray:
    """Which side of their mean, along their principal axis, some of the points are on, `[n]`."""
    centred = points - points[is_own].mean(axis=0) if is_own.any() else points
    axis = np.linalg.eigh(centred[is_own].T @ centred[is_own])[1][:, -1]
    return (centred @ axis > 0).astype(np.int64)


def merged_to(
    n_clusters: int,
    terms_of: Callable[[SufficientStatistics], np.ndarray],
    statistics: SufficientStatistics,
) -> np.ndarray:
    """Where each of K clusters goes when only `n_clusters` are left, `[K]` int64.

    Greedy: the pair whose merging has the largest log ratio goes first.

    Args:
        n_clusters: at most K.
        terms_of: shares of components in the log probability of a partition.
        statistics: of the K clusters.
    """
    parts = [np.array(part) for part in statistics]
    target = np.arange(len(parts[0]))
    first, second = np.triu_indices(len(parts[0]), 1)
    pairs = np.stack([first, second], axis=1)
    terms = terms_of(_as_statistics(parts))
    ratios = _pair_ratios(terms_of, _as_statistics(parts), terms, pairs)
    alive = len(parts[0])
    while alive > n_clusters:
        kept, gone = pairs[np.argmax(ratios)]
        for part in parts:
            part[kept] += part[gone]
        target[target == target[gone]] = target[kept]
        is_left = (pairs != gone).all(axis=1)
        pairs, ratios = pairs[is_left], ratios[is_left]
        changed = np.flatnonzero((pairs == kept).any(axis=1))
        terms = np.array(terms)
        terms[kept] = terms_of(_as_statistics([part[[kept]] for part in parts]))[0]
        statistics = _as_statistics(parts)
        ratios[changed] = _pair_ratios(terms_of, statistics, terms, pairs[changed])
        alive -= 1
    return np.unique(target, return_inverse=True)[1].astype(np.int64)


def _pair_ratios(terms_of, statistics, terms: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Log ratios `[P]` of merging pairs of components."""
    pieces = [np.zeros(0)]
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        a, b = pairs[start : start + _PAIRS_AT_ONCE].T
        union = terms_of(statistics.select(a).plus(statistics.select(b)))
        pieces.append(union - terms[a] - terms[b])
    return np.concatenate(pieces)


def _as_statistics(parts) -> SufficientStatistics:
    return SufficientStatistics(*(tf.constant(part) for part in parts))
