"""The evidence for keeping a cluster whole and apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.fitted import Fitted
from tfdpm.interpret.hierarchy import deepest_within
from tfdpm.interpret.judges import hastings_judge, merge_judge, split_judge
from tfdpm.mixture.parameters import pooled_moments
from tfdpm.shapes.groups import ComponentGroups

_MOST_CONTRASTS = 3  # columns that tell of two clusters


@dataclasses.dataclass(frozen=True)
class Valley:
    """The shallowest valley of density between two clusters.

    Attributes:
        clusters: both numbers.
        ends: the components that it lies between, one of each cluster.
        depth: nats of evidence for two modes; inf where nothing lies between any of their
            components.
    """

    clusters: tuple[int, int]
    ends: tuple[int, int]
    depth: float

    def __str__(self) -> str:
        """The same in a sentence."""
        (_, other), (first, second) = self.clusters, self.ends
        if self.depth == np.inf:
            return f"Valley to cluster {other}: none of their components are neighbours."
        between = f"between components {first} and {second}"
        return f"Valley to cluster {other}: {self.depth:.1f} nats deep, {between}."


@dataclasses.dataclass(frozen=True)
class Contrast:
    """How far two clusters are apart in one column.

    Attributes:
        column: its name.
        clusters: both numbers.
        means: of the column in each, in raw units.
        distance: between the means, in standard deviations within the clusters.
    """

    column: str
    clusters: tuple[int, int]
    means: tuple[float, float]
    distance: float

    def __str__(self) -> str:
        """The same in words."""
        first, second = self.means
        away = f"{self.distance:.1f} standard deviations"
        return f"{self.column} ({first:.4g} against {second:.4g}, {away})"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Why a cluster is neither split nor merged; log ratios in nats, of the move over none.

    Attributes:
        cluster: its number.
        components: numbers of its components.
        size: its points, weighted where points are.
        split_log_ratio: of the best split of a component into two; `-inf` where there is none.
        split_sizes: points of the two halves.
        merge_log_ratio: of the best merge of a component with one of another cluster; `-inf` where
            there is none.
        merge_with: the other cluster, or `None`.
        inner_depth: of the deepest valley over which its components were joined, nats; `-inf` for
            a single one.
        valley: to the other cluster that was asked for, or behind the shallowest valley; `None`
            where there is no other, or valleys are not known.
        contrasts: the columns, if they have names, in which it is farthest from the cluster behind
            the valley, or else from that of the best merge; the first is the farthest.
    """

    cluster: int
    components: tuple[int, ...]
    size: float
    split_log_ratio: float
    split_sizes: tuple[float, float]
    merge_log_ratio: float
    merge_with: int | None
    inner_depth: float = -np.inf
    valley: Valley | None = None
    contrasts: tuple[Contrast, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether neither move gains anything."""
        return self.split_log_ratio <= 0 and self.merge_log_ratio <= 0

    def __str__(self) -> str:
        """The same in sentences."""
        halves = " and ".join(f"{size:,.0f}" for size in self.split_sizes)
        count = len(self.components)
        parts, of_part = ("", "") if count == 1 else (f", {count} components", " of a component")
        lines = [
            f"Cluster {self.cluster}, {self.size:,.0f} points{parts}.",
            _sentence(f"Split{of_part} into {halves} points", self.split_log_ratio, "two"),
        ]
        if self.merge_with is not None:
            move = f"Merge{of_part} with cluster {self.merge_with}"
            lines.append(_sentence(move, self.merge_log_ratio, "one"))
        if count > 1:
            lines.append(f"Deepest valley within: {self.inner_depth:.1f} nats, which is none.")
        if self.valley is not None:
            lines.append(str(self.valley))
        if self.contrasts:
            other = self.contrasts[0].clusters[1]
            apart = ", ".join(map(str, self.contrasts))
            lines.append(f"Farthest from cluster {other} in {apart}.")
        return "\n".join(lines)


def _sentence(move: str, log_ratio: float, what: str) -> str:
    if log_ratio == -np.inf:
        return f"{move}: impossible."
    verdict = f"the data are better told as {what}" if log_ratio > 0 else "rejected"
    return f"{move}: log ratio {log_ratio:+.1f} nats, {verdict}."


def weigh_evidence(
    fitted: Fitted,
    config: DeepDPMConfig,
    cluster: int,
    other: int | None = None,
    columns: Sequence[str] = (),
) -> Evidence:
    """The best split and the best merge within a cluster, what each would gain, and its valley.

    The split is that of a component's subclustering network or, where the sample of the fit is at
    hand and it is better, that across its principal axis. The valley is that to the `other`
    cluster, or else the shallowest. `columns` are names of the values of a raw point, if any.
    """
    own = np.flatnonzero(fitted.clusters == cluster)
    sizes = np.asarray(fitted.state.halves.counts).sum(axis=1)
    split, part, share = _best_split(fitted, config, own)
    merge, merge_with = _best_merge(fitted, config, cluster)
    groups = fitted.result.groups
    valley = None if groups is None else _valley(groups, cluster, other)
    if other is None:
        other = merge_with if valley is None else valley.clusters[1]
    return Evidence(
        cluster=cluster,
        components=tuple(own.tolist()),
        size=float(sizes[own].sum()),
        split_log_ratio=split,
        split_sizes=((1 - share) * float(sizes[part]), share * float(sizes[part])),
        merge_log_ratio=merge,
        merge_with=merge_with,
        inner_depth=-np.inf if groups is None else float(deepest_within(groups)[cluster]),
        valley=valley,
        contrasts=() if other is None else _contrasts(fitted, (cluster, other), columns),
    )


def _contrasts(
    fitted: Fitted, clusters: tuple[int, int], columns: Sequence[str]
) -> tuple[Contrast, ...]:
    """The named columns in which two clusters are farthest apart."""
    preprocessing = fitted.state.preprocessing
    if len(columns) != preprocessing.input_dim:
        return ()
    moments = pooled_moments(fitted.state.parameters, fitted.clusters)
    chosen = moments.means.numpy()[list(clusters)]
    covariances = moments.covariances.numpy()[list(clusters)]
    means = preprocessing.inverse(chosen)
    covariances = preprocessing.inverse_covariance(covariances, chosen)
    spread = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2).mean(axis=0))
    distances = np.abs(means[0] - means[1]) / np.maximum(spread, np.finfo(np.float64).tiny)
    order = np.argsort(-distances, kind="stable")[:_MOST_CONTRASTS]
    return tuple(
        Contrast(
            columns[i], clusters, (float(means[0, i]), float(means[1, i])), float(distances[i])
        )
        for i in order
    )


def _valley(groups: ComponentGroups, cluster: int, other: int | None) -> Valley | None:
    """The shallowest valley between a cluster and another one, or any other one."""
    own = np.flatnonzero(groups.clusters == cluster)
    others = np.unique(groups.clusters) if other is None else np.array([other])
    found = [
        groups.between(own, np.flatnonzero(groups.clusters == k)) for k in others[others != cluster]
    ]
    if not found:
        return None
    first, second, depth = min(found, key=lambda valley: valley[2])
    return Valley((cluster, int(groups.clusters[second])), (first, second), depth)


def _best_split(fitted: Fitted, config: DeepDPMConfig, own: np.ndarray) -> tuple[float, int, float]:
    """Log ratio of the best split of one of some components, which, and its second half's share."""
    candidates = [split_judge(fitted, config)]
    if fitted.result.search is not None:
        points, labels = fitted.result.search.points, candidates[0].labels
        sides = np.zeros(len(points), np.int64)
        for k in own:
            centred = points[labels == k]
            if len(centred) > 0:
                centred = centred - centred.mean(axis=0)
                axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
                sides[labels == k] = centred @ axis > 0
        candidates.append(dataclasses.replace(candidates[0], sides=sides))
    found = []
    for candidate in candidates:
        ratios = candidate.split_ratios()[own]
        part = own[ratios.argmax()]
        first, second = candidate.sizes[part]
        found.append((float(ratios.max()), int(part), float(second / max(first + second, 1e-300))))
    return max(found)


def _best_merge(fitted: Fitted, config: DeepDPMConfig, cluster: int) -> tuple[float, int | None]:
    """Log ratio of the best merge of a component with one of another cluster, and that cluster."""
    clusters, is_own = fitted.clusters, fitted.clusters == cluster
    if is_own.all():
        return -np.inf, None
    pairs, ratios = np.zeros((0, 2), np.int64), np.zeros(0)
    if fitted.result.search is not None:
        pairs, ratios = merge_judge(fitted, config).merge_ratios()
        is_border = is_own[pairs].sum(axis=-1) == 1
        pairs, ratios = pairs[is_border], ratios[is_border]
    if len(pairs) == 0:
        pairs = np.argwhere(is_own[:, np.newaxis] & ~is_own)
        ratios = hastings_judge(fitted, config).pair_ratios(pairs)
    first, second = pairs[ratios.argmax()]
    return float(ratios.max()), int(clusters[second if is_own[first] else first])
