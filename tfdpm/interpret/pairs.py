"""Pairs of rows that are to be in one cluster, or in two, and a fit that respects them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.edits import split_component
from tfdpm.interpret.fitted import Fitted, slices
from tfdpm.search.state import MixtureState
from tfdpm.shapes.groups import ComponentGroups

_MOST_NAMED = 5  # rows that an error names


@dataclasses.dataclass(frozen=True, eq=False)
class LinkedRows:
    """Rows in sets that must stay together, and pairs of sets that must not.

    Attributes:
        rows: `[R]` int64, the rows that are named, ascending.
        sets: `[R]` int32, the set of each, of rows that are linked in steps.
        apart: `[M, 2]` int32, pairs of sets.
    """

    rows: np.ndarray
    sets: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(cls, must_link: Any, cannot_link: Any, num_points: int) -> LinkedRows | None:
        """The sets of pairs of rows, each `[M, 2]` or `None`; `None` if there are none.

        Raises:
            ValueError: naming pairs that contradict one another.
        """
        must = _pairs(must_link, "must_link", num_points)
        cannot = _pairs(cannot_link, "cannot_link", num_points)
        rows, places = np.unique(np.concatenate([must, cannot]), return_inverse=True)
        if not len(rows):
            return None
        first, second = places.reshape(-1, 2).T
        must_edges = np.ones(len(must)), (first[: len(must)], second[: len(must)])
        sets = connected_components(sparse.coo_matrix(must_edges, [len(rows)] * 2))[1]
        apart = sets[np.stack([first, second], axis=1)[len(must) :]]
        impossible = cannot[apart[:, 0] == apart[:, 1]]
        if len(impossible):
            wanted = "pairs that `must_link` leaves apart"
            checks.fail("cannot_link", f"{_named(impossible)}, which must be together", wanted)
        return cls(rows, sets, apart)

    def conflict(self, tied: sparse.csr_matrix) -> tuple[int, int, int] | None:
        """A component that holds two sets which are to fall apart, and the two sets.

        `tied [sets, K]` says which sets have rows in which components. `None`: there is none.
        """
        graph = sparse.bmat([[None, tied], [tied.T, None]], format="csr")
        parts, num_sets = connected_components(graph)[1], tied.shape[0]
        for one, other in self.apart:
            if parts[one] == parts[other]:
                before = breadth_first_order(graph, other, directed=False)[1]
                component = int(before[one])
                return component - num_sets, int(one), int(before[component])
        return None

    def join(self, groups: ComponentGroups, tied: sparse.csr_matrix) -> np.ndarray:
        """Clusters `[K]`: components over no valley, and those that sets tie, but none apart."""
        clusters = connected_components(tied.T @ tied)[1]
        count = int(np.searchsorted(groups.depths, 0.0, side="right"))
        for pair in groups.merges[:count]:
            first, second = clusters[pair]
            own = [np.unique(tied[:, clusters == each].nonzero()[0]) for each in (first, second)]
            is_in = [np.isin(self.apart, each) for each in own]
            is_refused = (is_in[0] & is_in[1][:, ::-1]).any()
            if not is_refused:
                clusters[clusters == second] = first
        return clusters


def respect_pairs(
    fitted: Fitted,
    linked: LinkedRows,
    features: np.ndarray,
    join: Callable[[MixtureState], ComponentGroups],
    config: DeepDPMConfig,
    seed: int,
) -> Fitted:
    """The fit with components split and joined until linked rows are where they are to be.

    A component that holds rows of two sets which are to fall apart is split between two of them.
    Then those that hold rows of one set are joined, and others over no valley unless it would
    bring together what is to be apart.

    Args:
        fitted: the fit.
        linked: the rows.
        features: `[N, D]` points of the fit.
        join: finds the valleys between the components of a mixture.
        config, seed: of the model.

    Raises:
        ValueError: naming pairs that no clusters part, such as those of equal points.
    """
    points, num_sets = features[linked.rows], int(linked.sets.max()) + 1
    groups = join(fitted.state)
    fitted, holds = fitted.replace(groups=groups), None
    for _ in range(4 * len(points) + 8):
        num_components = fitted.state.num_components
        labels = fitted.labels_of(slices(points)).astype(np.int64)
        if holds is None:
            holds = np.zeros((num_components, len(points)), bool)
        # Labels change with the clusters, so what was once tied stays so.
        holds[labels, np.arange(len(points))] = True
        component, place = holds.nonzero()
        ties = np.ones(len(place)), (linked.sets[place], component)
        tied = sparse.csr_matrix(ties, [num_sets, num_components])
        found = linked.conflict(tied)
        if found is not None:
            component, *sets = found
            ends = [np.flatnonzero(holds[component] & (linked.sets == each))[0] for each in sets]
            if np.array_equal(*points[ends]):
                _fail([linked.rows[ends]])
            fitted = split_component(fitted, component, features, config, seed, points[ends])
            groups, holds = join(fitted.state), None
            fitted = fitted.replace(groups=groups)
            continue
        chosen = groups.with_clusters(linked.join(groups, tied))
        if np.array_equal(chosen.clusters, fitted.clusters):
            return fitted
        fitted = fitted.replace(groups=chosen)
    _fail([linked.rows[np.isin(linked.sets, pair)] for pair in linked.apart])


def _fail(pairs: Any) -> NoReturn:
    wanted = "pairs of points that clusters can part"
    checks.fail("cannot_link", f"{_named(pairs)}, which are too near one another", wanted)


def _pairs(given: Any, name: str, num_points: int) -> np.ndarray:
    """Checked pairs `[M, 2]` int64 of different rows."""
    if given is None:
        return np.zeros((0, 2), np.int64)
    pairs = np.asarray(given)
    wanted = f"pairs [M, 2] of different rows from 0 to {num_points - 1}"
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        checks.fail(name, f"shape {pairs.shape} of dtype {pairs.dtype}", wanted)
    is_wrong = (pairs < 0) | (pairs >= num_points) | (pairs[:, :1] == pairs[:, 1:])
    if is_wrong.any():
        checks.fail(name, _named(pairs[is_wrong.any(axis=1)]), wanted)
    return pairs.astype(np.int64)


def _named(pairs: Any) -> str:
    """The first of some pairs in words."""
    more = "" if len(pairs) <= _MOST_NAMED else f" and {len(pairs) - _MOST_NAMED} more"
    return ", ".join(str(tuple(map(int, pair))) for pair in pairs[:_MOST_NAMED]) + more
