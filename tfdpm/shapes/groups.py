"""Groups of components by the valleys between them, as a tree from components to one group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNLIKE = 99.0  # depth, nats, of a valley between neighbours that are too unlike to be compared
# Depth, nats, from which a valley is no chance. Twenty drawn sets of shapes and 39 public ones give
# the same clusters from 2 to 10.
_CLEAR = 5.0
_NOTHING = np.finfo(np.float64).max  # in place of inf between groups that are not yet joined
_SHALLOWEST = 1e-9  # depth, nats, of a valley that someone has put where there was none


@dataclass(frozen=True, eq=False)
class ComponentGroups:
    """Clusters as groups of components with no valley of density between them.

    Attributes:
        clusters: `[K]` int32, cluster of each component, numbered by the first component of each.
        merges: `[K - 1, 2]` int32, the tree: pairs of components whose groups are joined, from the
            shallowest valley to the deepest.
        depths: `[K - 1]` float64, depth of the valley at each merge, nats of evidence for two
            modes; never falls. No valley is at most 0; inf where nothing lies between.
        valleys: `[K, K]` float64, depths between pairs of components; inf where they are no
            neighbours, 0 on the diagonal.
    """

    clusters: np.ndarray
    merges: np.ndarray
    depths: np.ndarray
    valleys: np.ndarray

    @classmethod
    def from_valleys(cls, valleys: np.ndarray) -> ComponentGroups:
        """Builds the tree by joining over the shallowest valley first.

        The valley between two groups is the shallowest of those between their components (single
        linkage). Of many it may be shallow by chance, as the smallest of many p-values is [Dunn
        1961]: it counts for `log(1 + m)` nats more where m others are clear.

        Args:
            valleys: `[K, K]` floating, symmetric, as in the attribute.
        """
        valleys = np.asarray(valleys, np.float64)
        num_components = len(valleys)
        between = np.minimum(valleys, _NOTHING)
        np.fill_diagonal(between, np.inf)
        clear = _is_clear(between).astype(float)
        first = np.arange(num_components)
        merges, depths = [], []
        for _ in range(num_components - 1):
            between_groups = between + np.log1p(clear - _is_clear(between))
            i, j = sorted(np.unravel_index(between_groups.argmin(), valleys.shape))
            rows, columns = np.flatnonzero(first == i), np.flatnonzero(first == j)
            row, column = divmod(valleys[np.ix_(rows, columns)].argmin(), len(columns))
            merges.append((rows[row], columns[column]))
            depth = between_groups[i, j]
            depths.append(np.inf if depth == _NOTHING else depth)
            first[columns] = i
            between[i] = between[:, i] = np.minimum(between[i], between[j])
            clear[i] = clear[:, i] = clear[i] + clear[j]
            between[i, i], between[j], between[:, j] = np.inf, np.inf, np.inf
        tree = np.array(merges, np.int32).reshape(-1, 2)
        heights = np.array(depths, np.float64)
        count = int(np.searchsorted(heights, 0.0, side="right"))
        return cls(_joined(num_components, tree[:count]), tree, heights, valleys)

    def between(self, own: np.ndarray, others: np.ndarray) -> tuple[int, int, float]:
        """The components that the valley between two groups lies between, and its depth.

        Args:
            own: components of one group.
            others: those of another group.
        """
        valleys = self.valleys[np.ix_(own, others)]
        row, column = divmod(int(valleys.argmin()), len(others))
        least, clear = valleys[row, column], _is_clear(valleys)
        depth = least + np.log1p(clear.sum() - clear[row, column])
        return int(own[row]), int(others[column]), float(depth)

    def at(self, depth: float) -> np.ndarray:
        """Clusters `[K]` int32 when all valleys of at most this depth are joined.

        Args:
            depth: nats; 0 gives `clusters`, inf one cluster.
        """
        count = int(np.searchsorted(self.depths, depth, side="right"))
        return _joined(len(self.clusters), self.merges[:count])

    def down_to(self, n_clusters: int) -> np.ndarray:
        """Clusters `[K]` int32 when the shallowest valleys are joined until so many are left.

        Args:
            n_clusters: from 1 to K.
        """
        num_components = len(self.clusters)
        return _joined(num_components, self.merges[: num_components - n_clusters])

    def chosen(self, components: np.ndarray) -> ComponentGroups:
        """The same clusters of some of the components `[m]`, or of all in another order."""
        chosen = ComponentGroups.from_valleys(self.valleys[np.ix_(components, components)])
        return chosen.with_clusters(self.clusters[components])

    @classmethod
    def apart(cls, num_components: int) -> ComponentGroups:
        """Components of which nothing is known but that each is a cluster."""
        valleys = np.full((num_components, num_components), np.inf)
        np.fill_diagonal(valleys, 0.0)
        return cls.from_valleys(valleys)

    def with_clusters(self, clusters: np.ndarray) -> ComponentGroups:
        """The groups with as few valleys changed as make them these clusters.

        Between clusters, valleys that are missing become the shallowest there are. Within one, the
        valleys of the tree become so much less than none that it stays joined among clear ones.

        Args:
            clusters: `[K]` integer, the cluster of each component.
        """
        clusters = _numbered(np.asarray(clusters))
        if np.array_equal(clusters, self.clusters):
            return self
        is_apart = clusters[:, np.newaxis] != clusters
        valleys = np.where(is_apart, np.maximum(self.valleys, _SHALLOWEST), self.valleys)
        for cluster in range(clusters.max() + 1):
            members = np.flatnonzero(clusters == cluster)
            inner = ComponentGroups.from_valleys(valleys[np.ix_(members, members)])
            if inner.clusters.any():
                first, second = members[inner.merges].T
                depths = np.minimum(inner.depths, 0.0) - np.log1p(len(members) ** 2)
                valleys[first, second] = valleys[second, first] = depths
        return ComponentGroups.from_valleys(valleys)


def _is_clear(valleys: np.ndarray) -> np.ndarray:
    is_clear: np.ndarray = (valleys > _CLEAR) & (valleys < UNLIKE)
    return is_clear


def _joined(num_components: int, merges: np.ndarray) -> np.ndarray:
    """Clusters `[K]` int32 after some merges, numbered by their first components."""
    first = np.arange(num_components)
    for i, j in merges:
        low, high = sorted((first[i], first[j]))
        first[first == high] = low
    return _numbered(first)


def _numbered(clusters: np.ndarray) -> np.ndarray:
    """The same clusters `[K]` int32, numbered by their first components."""
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32)
