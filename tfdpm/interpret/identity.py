"""The same name for the same cluster from one fit to the next, and what became of the others.

Clusters of a new model are compared with those of an old one on the new model's points.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfdpm import checks

# Of its points a cluster must share this much with another to be it, its half or its whole.
_MAIN_SHARE = 0.5
_REJECT_BELOW = 1e-3


class Reference(Protocol):
    """What an old model must offer: a `DeepDPM`, or what `tfdpm.load` returns."""

    n_clusters: int

    def predict_labels(self, x: Any, *, reject_below: float | None = None) -> np.ndarray:
        """Clusters `[N]`, -1 for points that belong to none."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """Names of a model's clusters, and how they follow from an older model's.

    Attributes:
        ids: name of each cluster, in the order of the clusters, `K` integers; never used twice.
        kept: names that the older model had and this one has.
        births: names of clusters whose points the older model knew nothing like.
        deaths: names of older clusters that have hardly any points left, or no one's majority.
        splits: older name to the names of its parts; the part that is most of it keeps the name.
        merges: name to those of the older clusters that became one; it is one of these.
        next_id: the name that the next new cluster gets.
    """

    ids: tuple[int, ...]
    kept: tuple[int, ...] = ()
    births: tuple[int, ...] = ()
    deaths: tuple[int, ...] = ()
    splits: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    merges: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    next_id: int = 0

    def __str__(self) -> str:
        """One line for each kind of change that happened."""
        lines = [f"Kept: {_names(self.kept)}"]
        lines += [f"Split: {old} into {_names(new)}" for old, new in self.splits.items()]
        lines += [f"Merged: {_names(old)} into {new}" for new, old in self.merges.items()]
        lines += [f"Born: {_names(self.births)}"] if self.births else []
        lines += [f"Died: {_names(self.deaths)}"] if self.deaths else []
        return "\n".join(lines)

    def to_json(self) -> str:
        """All of it as text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Identity:
        """What `to_json` wrote."""
        content = json.loads(text)
        for name in ("ids", "kept", "births", "deaths"):
            content[name] = tuple(content[name])
        for name in ("splits", "merges"):
            content[name] = {int(key): tuple(value) for key, value in content[name].items()}
        return cls(**content)


def first_identity(num_components: int) -> Identity:
    """Names of a model without an older one: the clusters' numbers."""
    return Identity(tuple(range(num_components)), next_id=num_components)


def follow(old: Identity, shared: np.ndarray) -> Identity:
    """Names of new clusters.

    Pairs are matched so that as many points as possible keep their cluster ([Kuhn 1955]), and
    count as the same where most points of one of the two are in the other. An entry of `shared`,
    `[K_old + 1, K_new]`, counts points that were in an old cluster and are in a new one; the last
    row counts those that were in none.
    """
    shared = np.asarray(shared, float)
    known, new_sizes = shared[:-1], shared.sum(axis=0)
    old_sizes = known.sum(axis=1)
    of_new = known / np.maximum(new_sizes, 1.0)
    of_old = known / np.maximum(old_sizes, 1.0)[:, np.newaxis]
    rows, columns = linear_sum_assignment(-known)
    is_same = np.maximum(of_new, of_old)[rows, columns] > _MAIN_SHARE
    old_ids, ids = np.array(old.ids, int), np.full(shared.shape[1], -1)
    ids[columns[is_same]] = old_ids[rows[is_same]]
    is_new = ids < 0
    kept = tuple(np.sort(ids[~is_new]).tolist())
    ids[is_new] = old.next_id + np.arange(is_new.sum())
    comes_from = of_new > _MAIN_SHARE
    merges = _groups(ids, old_ids, (of_old > _MAIN_SHARE).T)
    merged = {each for group in merges.values() for each in group}
    return Identity(
        ids=tuple(ids.tolist()),
        kept=kept,
        births=tuple(ids[is_new & ~comes_from.any(axis=0)].tolist()),
        deaths=tuple(k for k in old.ids if k not in kept and k not in merged),
        splits=_groups(old_ids, ids, comes_from),
        merges=merges,
        next_id=old.next_id + int(is_new.sum()),
    )


def _groups(names: np.ndarray, others: np.ndarray, is_tied: np.ndarray) -> dict[int, tuple]:
    """The other names to which a name is tied, `[names, others]`, where they are several."""
    pairs = zip(names.tolist(), is_tied, strict=True)
    return {name: tuple(others[own].tolist()) for name, own in pairs if own.sum() > 1}


def overlap(
    reference: Reference, model: Reference, batches: Iterable[Any], num_new: int
) -> np.ndarray:
    """`shared` for `follow`: batch by batch, so that streams are read once."""
    num_old = reference.n_clusters
    shared = np.zeros((num_old + 1, num_new))
    for batch in batches:
        old = reference.predict_labels(batch, reject_below=_REJECT_BELOW)
        old = np.where(old < 0, num_old, old)
        np.add.at(shared, (old, model.predict_labels(batch)), 1.0)
    return shared


def check_reference(reference: Any, model: Any) -> None:
    """Raises unless clusters of `model` can be named after those of `reference`."""
    if reference is model:
        checks.fail("reference", "the model itself", "an older one, such as a saved copy")
    if not hasattr(reference, "predict_labels") or not hasattr(reference, "n_clusters"):
        got = f"a {type(reference).__name__}"
        checks.fail("reference", got, "a fitted DeepDPM or what tfdpm.load returns", TypeError)


def identity_of(reference: Reference) -> Identity:
    """Names of a reference's clusters."""
    found = getattr(reference, "identity_", None)
    return first_identity(reference.n_clusters) if found is None else found


def _names(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids)) or "none"
