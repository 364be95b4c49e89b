"""The genealogy of clusters: every split and merge that lasted, from the first cluster on.

The search tells its events as partitions of its sample, the training as transitions.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tfdpm.moves.ledger import Proposal
from tfdpm.moves.transition import WHOLE, Transition

_MOST_NAMED = 4  # parents of a node whose numbers `str` tells


@dataclasses.dataclass(frozen=True)
class Node:
    """A cluster from the move that made it to the move that ended it.

    Attributes:
        node: its number, counted from 0 in the order of birth.
        parents: numbers of those it came from: none at the start, one of a split, more of a merge.
        kind: `"start"`, `"split"`, `"merge"` or `"join"`: what made it. Components without a
            valley between them are joined into a cluster.
        stage: `"search"` (on a sample, before any network learned), `"training"`, `"end"`, or
            `"hand"` of what someone merged or split in the fitted model.
        step: of the search, counted in better partitions, or epoch of the training; from 0.
        size: points at birth; of the sample in the search.
        log_ratio: of the move that made it, nats; NaN at the start and by hand. Several clusters
            that one move made have the same.
    """

    node: int
    parents: tuple[int, ...]
    kind: str
    stage: str
    step: int
    size: float
    log_ratio: float


@dataclasses.dataclass(frozen=True)
class Genealogy:
    """The tree of a model's clusters; `model.tree_` returns it, and `str` draws it.

    Attributes:
        nodes: every `Node`, in the order of birth.
        current: number of the node that each present cluster is, `[K]`.
    """

    nodes: tuple[Node, ...] = ()
    current: tuple[int, ...] = ()

    @classmethod
    def of_sizes(cls, sizes: Iterable[float], stage: str) -> Genealogy:
        """The beginning: clusters of these sizes; `stage` is `"search"` or `"training"`."""
        nodes: list[Node] = []
        current = tuple(_add(nodes, (), "start", stage, 0, size, np.nan) for size in sizes)
        return cls(tuple(nodes), current)

    @classmethod
    def of_partitions(
        cls,
        partitions: Sequence[np.ndarray],
        terms_of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    ) -> Genealogy:
        """The genealogy of several partitions `[n]` of a sample, each made from the one before.

        `terms_of` gives each cluster's share `[K]` of the log probability of a partition, and what
        a heavy tail adds to it, `[K]`. The sum over children less that over their parents is the
        log ratio of what made them; of merges, tails included.
        """
        start = cls.of_sizes(np.bincount(partitions[0]), "search")
        nodes, current = list(start.nodes), list(start.current)
        old, old_terms = partitions[0], terms_of(partitions[0])
        for step, new in enumerate(partitions[1:]):
            if np.array_equal(old, new):
                continue
            new_terms = terms_of(new)
            born = [0] * len(new_terms[0])
            for parents, children in _related_clusters(old, new):
                if len(parents) == len(children) == 1:
                    born[children[0]] = current[parents[0]]
                    continue
                kind = "split" if len(parents) == 1 else "merge"
                used = slice(1 if kind == "split" else 2)
                ratio = sum(part[children].sum() for part in new_terms[used])
                ratio -= sum(part[parents].sum() for part in old_terms[used])
                names = tuple(current[parent] for parent in parents)
                for child in children:
                    size = np.sum(new == child)
                    born[child] = _add(nodes, names, kind, "search", step, size, ratio)
            current, old, old_terms = born, new, new_terms
        return cls(tuple(nodes), tuple(current))

    def after(
        self, transition: Transition, proposals: Iterable[Proposal], epoch: int, sizes: np.ndarray
    ) -> Genealogy:
        """The genealogy after a move of the training.

        `sizes` are the points `[K]` of the clusters before it, for halves without a proposal.
        """
        if len(self.current) <= transition.parents.max():  # weights from elsewhere were put in
            return Genealogy.of_sizes(sizes, "training").after(transition, proposals, epoch, sizes)
        made = {each.components: each for each in proposals if each.is_accepted}
        nodes, born = list(self.nodes), []
        for (first, second), half in zip(transition.parents.tolist(), transition.half, strict=True):
            if half == WHOLE and first == second:
                born.append(self.current[first])
                continue
            components = (first,) if half != WHOLE else (first, second)
            names = tuple(self.current[each] for each in components)
            proposal = made.get(components) or made.get(components[::-1])
            ratio = np.nan if proposal is None else proposal.log_ratio
            if half == WHOLE:
                kind, size = "merge", float(sizes[first] + sizes[second])
            else:
                kind = "split"
                size = float(sizes[first]) / 2 if proposal is None else proposal.sizes[half]
            born.append(_add(nodes, names, kind, "training", epoch, size, ratio))
        return Genealogy(tuple(nodes), tuple(born))

    def joined(self, clusters: np.ndarray, sizes: np.ndarray, log_ratios: np.ndarray) -> Genealogy:
        """The genealogy with a last level, on which components are joined into clusters.

        Args:
            clusters: `[K]` cluster of each component.
            sizes: `[clusters]` points of each.
            log_ratios: `[clusters]` of the join over none, nats; of single components unused.
        """
        nodes, born = list(self.nodes), []
        for cluster, (size, ratio) in enumerate(zip(sizes, log_ratios, strict=True)):
            parts = [self.current[k] for k in np.flatnonzero(clusters == cluster)]
            is_single = len(parts) == 1
            born.append(
                parts[0] if is_single else _add(nodes, parts, "join", "end", 0, size, ratio)
            )
        return Genealogy(tuple(nodes), tuple(born))

    def by_hand(self, shared: np.ndarray) -> Genealogy:
        """The genealogy of clusters after someone merged or split some of them.

        `shared [K_old, K_new]` are the points of old clusters in new ones.
        """
        nodes, born, is_tied = list(self.nodes), [], shared > 0
        for new, column in enumerate(is_tied.T):
            old = np.flatnonzero(column)
            if len(old) == 1 and is_tied[old[0]].sum() == 1:
                born.append(self.current[old[0]])
                continue
            kind, names = "split" if len(old) == 1 else "merge", [self.current[k] for k in old]
            born.append(_add(nodes, names, kind, "hand", 0, shared[:, new].sum(), np.nan))
        return Genealogy(tuple(nodes), tuple(born))

    def ancestors(self, cluster: int) -> list[Node]:
        """The cluster's node, its parents, theirs and so on, youngest first."""
        found, waiting = {}, [self.current[cluster]]
        while waiting:
            node = self.nodes[waiting.pop()]
            found[node.node] = node
            waiting.extend(node.parents)
        return [found[number] for number in sorted(found, reverse=True)]

    def __str__(self) -> str:
        """One line for each node, indented below the (first) parent."""
        children: dict[int, list[Node]] = {}
        for node in self.nodes:
            children.setdefault(node.parents[0] if node.parents else -1, []).append(node)
        lines: list[str] = []
        waiting = [(node, 0) for node in reversed(children.get(-1, []))]
        while waiting:
            node, depth = waiting.pop()
            lines.append("  " * depth + self._line(node))
            waiting.extend((child, depth + 1) for child in reversed(children.get(node.node, [])))
        return "\n".join(lines)

    def to_json(self) -> str:
        """All of it as text that `from_json` reads."""
        nodes = [list(dataclasses.astuple(node)) for node in self.nodes]
        return json.dumps({"nodes": nodes, "current": self.current})

    @classmethod
    def from_json(cls, text: str) -> Genealogy:
        """What `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        nodes = (Node(node, tuple(parents), *rest) for node, parents, *rest in content["nodes"])
        return cls(tuple(nodes), tuple(content["current"]))

    def _line(self, node: Node) -> str:
        times = {
            "search": f"in step {node.step}",
            "training": f"in epoch {node.step}",
            "hand": "by hand",
        }
        made = f"{node.size:,.0f} points"
        if node.kind != "start":
            others = "".join(f" and {other}" for other in node.parents[1:])
            if len(node.parents) > _MOST_NAMED:
                others = f" and {len(node.parents) - 1} others"
            origin = "" if node.kind == "split" else f" of {node.parents[0]}{others}"
            when = times.get(node.stage, "at the end")
            made += f", {node.kind}{origin} {when}"
            made += "" if node.stage == "hand" else f", log ratio {node.log_ratio:.1f}"
        if node.node in self.current:
            made += f" -> cluster {self.current.index(node.node)}"
        return f"[{node.node}] {made}"


def _add(nodes: list[Node], parents, kind: str, stage: str, step: int, size, ratio) -> int:
    """Appends a node and returns its number."""
    number, numbers = len(nodes), (float(size), float(ratio))
    nodes.append(Node(number, tuple(parents), kind, stage, int(step), *numbers))
    return number


def _related_clusters(old: np.ndarray, new: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Old and new clusters in groups that share most of their points, `(parents, children)`.

    One of each is the same cluster; one and several are a split; several and one or more a merge.
    """
    num_old, num_new = int(old.max()) + 1, int(new.max()) + 1
    shared = np.bincount(old * num_new + new, minlength=num_old * num_new)
    shared = shared.reshape(num_old, num_new).astype(float)
    # Every cluster is tied to the one that it shares most with, and to none but that.
    is_tied = np.zeros_like(shared, bool)
    is_tied[shared.argmax(axis=0), np.arange(num_new)] = True
    is_tied[np.arange(num_old), shared.argmax(axis=1)] = True
    group = np.arange(num_old + num_new)
    for a, b in np.argwhere(is_tied):
        group[group == group[num_old + b]] = group[a]
    parents, children = group[:num_old], group[num_old:]
    return [
        (np.flatnonzero(parents == name).tolist(), np.flatnonzero(children == name).tolist())
        for name in np.unique(group)
    ]


def as_bytes(text: str) -> np.ndarray:
    """A text as an array, `[length]` uint8, for files that hold arrays only."""
    return np.frombuffer(text.encode(), np.uint8)


def as_text(content) -> str:
    """What `as_bytes` was given."""
    return np.asarray(content, np.uint8).tobytes().decode()
