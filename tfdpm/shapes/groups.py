"""Groups of components by the valleys between them, as a tree from components to one group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        """Builds the tree by joining over the shallowest valley first (single linkage).

        Args:
            valleys: `[K, K]` floating, symmetric, as in the attribute.
        """
        valleys = np.asarray(valleys, np.float64)
        num_components = len(valleys)
        first, second = np.triu_indices(num_components, 1)
        order = np.argsort(valleys[first, second], kind="stable")
        merges, depths = [], []
        group = np.arange(num_components)
        for i, j in zip(first[order].tolist(), second[order].tolist(), strict=True):
            if group[i] != group[j]:
                merges.append((i, j))
                depths.append(valleys[i, j])
                group[group == group[j]] = group[i]
                if len(merges) == num_components - 1:
                    break
        tree = np.array(merges, np.int32).reshape(-1, 2)
        heights = np.array(depths, np.float64)
        count = int(np.searchsorted(heights, 0.0, side="right"))
        return cls(_joined(num_components, tree[:count]), tree, heights, valleys)

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
        """The groups of some of the components `[m]`, or of all in another order."""
        return ComponentGroups.from_valleys(self.valleys[np.ix_(components, components)])


def _joined(num_components: int, merges: np.ndarray) -> np.ndarray:
    """Clusters `[K]` int32 after some merges, numbered by their first components."""
    first = np.arange(num_components)
    for i, j in merges:
        low, high = sorted((first[i], first[j]))
        first[first == high] = low
    clusters: np.ndarray = np.unique(first, return_inverse=True)[1].astype(np.int32)
    return clusters
