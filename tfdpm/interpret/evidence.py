"""The evidence for keeping a cluster whole and apart."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.fitted import Fitted
from tfdpm.interpret.judges import hastings_judge, merge_judge, split_judge


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


def weigh_evidence(fitted: Fitted, config: DeepDPMConfig, k: int) -> Evidence:
    """The best split and the best merge of cluster `k`, and what each would gain.

    The split is that of the cluster's subclustering network or, where the sample of the fit is at
    hand and it is better, that across the cluster's principal axis.
    """
    size = float(fitted.state.halves.counts[k].numpy().sum())
    split, share = _best_split(fitted, config, k)
    pairs, merges = _merge_ratios(fitted, config, k)
    best = int(np.argmax(merges)) if len(merges) else None
    return Evidence(
        cluster=k,
        size=size,
        split_log_ratio=split,
        split_sizes=((1 - share) * size, share * size),
        merge_log_ratio=-np.inf if best is None else float(merges[best]),
        merge_with=None if best is None else int(pairs[best].sum() - k),
    )


def _best_split(fitted: Fitted, config: DeepDPMConfig, k: int) -> tuple[float, float]:
    """Log ratio of the best split of one cluster, and the second half's share of it."""
    judge = split_judge(fitted, config)
    candidates = [judge]
    if fitted.result.search is not None:
        points, is_own = fitted.result.search.points, judge.labels == k
        centred = points - points[is_own].mean(axis=0) if is_own.any() else points
        axis = np.linalg.eigh(centred[is_own].T @ centred[is_own])[1][:, -1]
        candidates.append(dataclasses.replace(judge, sides=(centred @ axis > 0).astype(np.int64)))
    found = []
    for candidate in candidates:
        first, second = candidate.sizes[k]
        share = float(second / max(first + second, 1e-300))
        found.append((float(candidate.split_ratios()[k]), share))
    return max(found)


def _merge_ratios(fitted: Fitted, config: DeepDPMConfig, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs `[P, 2]` with cluster `k`, and the log ratios `[P]` of merging them."""
    if fitted.result.search is not None:
        pairs, ratios = merge_judge(fitted, config).merge_ratios()
        is_own = (pairs == k).any(axis=1) if len(pairs) else np.zeros(0, bool)
        if is_own.any():
            return pairs[is_own], ratios[is_own]
    others = np.delete(np.arange(fitted.state.num_components), k)
    pairs = np.stack([np.full_like(others, k), others], axis=1)
    return pairs, hastings_judge(fitted, config).pair_ratios(pairs)
