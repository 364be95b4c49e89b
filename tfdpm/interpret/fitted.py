"""A fit as one value: networks, mixture and result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.genealogy import Genealogy
from tfdpm.interpret.identity import Identity, first_identity
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.moves.transition import Transition
from tfdpm.networks.pair import NetworkPair
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.state import MixtureState, apply_transition

_SLICE_ROWS = 16_384


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What fits have led to, besides networks and mixture."""

    # Clusters [N] of the training points, of the smallest unsigned type; None where weights were
    # put in that no fit has ended with.
    labels: np.ndarray | None = None
    # The search on a sample of the points, which judges moves; None for a loaded model, and where
    # moves are judged by the statistics of all points.
    search: MixtureSearch | None = None
    moves: MoveCounts = MoveCounts()  # proposed and accepted in all fits so far
    proposals: tuple[Proposal, ...] = ()  # of the last epoch that made any
    genealogy: Genealogy | None = None  # None where weights came from elsewhere
    identity: Identity | None = None  # None where names of clusters are their numbers
    k_posterior: dict[int, float] | None = None  # of chains of moves, once it was asked for
    # Features [m, D] float32 of points of `partial_fit` that no cluster explains, and that wait
    # for the next search.
    waiting: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The parts of a fitted model."""

    networks: NetworkPair  # with their optimisers
    state: MixtureState  # mixture, prior and statistics
    result: FitResult  # labels, search, moves and genealogy

    @property
    def genealogy(self) -> Genealogy:
        """The genealogy, which starts with the present clusters where none is known."""
        if self.result.genealogy is not None:
            return self.result.genealogy
        return Genealogy.of_sizes(self.state.halves.counts.numpy().sum(axis=1), "training")

    @property
    def identity(self) -> Identity:
        """Names of the clusters, by default their numbers."""
        known, count = self.result.identity, self.state.num_components
        return known if known is not None and len(known.ids) == count else first_identity(count)

    def labels_of(self, pieces: Iterable[tf.Tensor]) -> np.ndarray:
        """Clusters `[N]`, of the smallest unsigned type, of features `[B, D]` piece by piece."""
        count = self.state.num_components
        kind = np.min_scalar_type(count)
        found = (self.networks.responsibilities(piece, count).argmax(axis=1) for piece in pieces)
        return np.concatenate([labels.astype(kind) for labels in found])

    def replace(self, **changes) -> Fitted:
        """The same with other parts; names of `FitResult`'s attributes change the result."""
        of_result = {
            name: changes.pop(name) for name in FitResult.__dataclass_fields__ if name in changes
        }
        result = dataclasses.replace(changes.pop("result", self.result), **of_result)
        return dataclasses.replace(self, result=result, **changes)

    def apply(
        self,
        transition: Transition,
        proposals: Iterable[Proposal],
        config: DeepDPMConfig,
        seed: int,
    ) -> Fitted:
        """Carries a move out on networks, optimisers, mixture and genealogy alike.

        `seed` is that of new subclustering networks, together with the epoch.
        """
        if transition.is_identity:
            return self
        state = self.state
        counts = state.halves.counts.numpy().sum(axis=1)
        return self.replace(
            networks=self.networks.apply(transition, counts, seed + 101 * (state.epoch + 1)),
            state=apply_transition(state, transition, config),
            genealogy=self.genealogy.after(transition, proposals, state.epoch, counts),
        )


def slices(features: np.ndarray) -> Iterator[tf.Tensor]:
    """Features `[N, D]` as float32 tensors, some rows at a time."""
    for start in range(0, len(features), _SLICE_ROWS):
        yield tf.constant(features[start : start + _SLICE_ROWS], tf.float32)
