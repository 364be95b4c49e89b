"""A fit as one value: networks, mixture and result."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.drift import Baseline
from tfdpm.interpret.genealogy import Genealogy
from tfdpm.interpret.hierarchy import deepest_within
from tfdpm.interpret.identity import Identity, first_identity
from tfdpm.mixture.evidence import log_evidence
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.moves.transition import Transition, of_order
from tfdpm.networks.pair import NetworkPair
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.state import MixtureState, apply_transition
from tfdpm.shapes.groups import ComponentGroups

_SLICE_ROWS = 16_384


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What fits have led to, besides networks and mixture."""

    # Components [N] of the training points, of the smallest unsigned type; None where weights were
    # put in that no fit has ended with.
    labels: np.ndarray | None = None
    # How components are joined into clusters; None where each is a cluster, as within fits.
    groups: ComponentGroups | None = None
    # The search on a sample of the points, which judges moves; None for a loaded model, and where
    # moves are judged by the statistics of all points.
    search: MixtureSearch | None = None
    moves: MoveCounts = MoveCounts()  # proposed and accepted in all fits so far
    proposals: tuple[Proposal, ...] = ()  # of the last epoch that made any
    genealogy: Genealogy | None = None  # of components; None where weights came from elsewhere
    tree: Genealogy | None = None  # of clusters, once someone has merged or split some by hand
    identity: Identity | None = None  # None where names of clusters are their numbers
    k_posterior: dict[int, float] | None = None  # of chains of moves, once it was asked for
    # Features [m, D] float32 of points of `partial_fit` that no cluster explains, and that wait
    # for the next search.
    waiting: np.ndarray | None = None
    # Of a sample of the points of the fit, how many no cluster explains, and its size.
    unlike: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The parts of a fitted model."""

    networks: NetworkPair  # with their optimisers
    state: MixtureState  # mixture, prior and statistics
    result: FitResult  # labels, search, moves and genealogy
    # Networks that are used no more, but whose passes are traced: later searches take them.
    spares: tuple[NetworkPair, ...] = ()

    @property
    def genealogy(self) -> Genealogy:
        """The genealogy, which starts with the present clusters where none is known."""
        if self.result.genealogy is not None:
            return self.result.genealogy
        return Genealogy.of_sizes(np.asarray(self.state.halves.counts).sum(axis=1), "training")

    @property
    def tree(self) -> Genealogy:
        """The genealogy of the clusters: that of the components, and how they were joined."""
        if self.result.tree is not None:
            return self.result.tree
        groups = self.result.groups
        if groups is None:
            return self.genealogy
        sizes = np.bincount(groups.clusters, np.asarray(self.state.halves.counts).sum(axis=1))
        return self.genealogy.joined(groups.clusters, sizes, -deepest_within(groups))

    @property
    def identity(self) -> Identity:
        """Names of the clusters, by default their numbers."""
        known, count = self.result.identity, self.num_clusters
        return known if known is not None and len(known.ids) == count else first_identity(count)

    @property
    def clusters(self) -> np.ndarray:
        """Cluster of each component, `[K]`, numbered by the first component of each."""
        groups = self.result.groups
        return np.arange(self.state.num_components) if groups is None else groups.clusters

    @property
    def num_clusters(self) -> int:
        """Number of clusters, at most K."""
        return int(self.clusters.max()) + 1

    @property
    def membership(self) -> np.ndarray:
        """`[K, clusters]` float32: one where the component belongs to the cluster, else zero."""
        return np.eye(self.num_clusters, dtype=np.float32)[self.clusters]

    @property
    def baseline(self) -> Baseline:
        """What drift is measured from."""
        membership = tf.constant(self.membership, tf.float64)
        statistics = self.state.soft.map(lambda part: tf.tensordot(membership, part, [[0], [0]]))
        return Baseline(np.array(self.identity.ids, np.int64), statistics, self.result.unlike)

    @functools.cached_property
    def tails(self) -> PredictiveTails:
        """The posterior predictive density and its p-values."""
        state = self.state
        return PredictiveTails(
            state.parameters.mixture_weights, state.posterior(), state.categories
        )

    def respond(self, features) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the clusters `[B, clusters]` and of the components `[B, K]`."""
        of_components = self.networks.responsibilities(features, self.state.num_components)
        return self._of_clusters(of_components), of_components

    def _of_clusters(self, of_components: np.ndarray) -> np.ndarray:
        if self.num_clusters == self.state.num_components:
            return of_components
        return of_components @ self.membership

    def labels_of(self, pieces: Iterable[tf.Tensor]) -> np.ndarray:
        """Components `[N]`, of the smallest unsigned type, of features `[B, D]` piece by piece.

        Each point's likeliest component of its likeliest cluster, whose components add up.
        """
        count = self.state.num_components
        return np.concatenate(
            [self.likeliest(self.networks.responsibilities(piece, count)) for piece in pieces]
        )

    def likeliest(self, of_components: np.ndarray) -> np.ndarray:
        """Labels `[B]`, as `labels_of` tells them, by responsibilities `[B, K]`."""
        if self.num_clusters == self.state.num_components:
            labels = of_components.argmax(axis=1)
        else:
            likeliest = self._of_clusters(of_components).argmax(axis=1)
            is_own = self.clusters == likeliest[:, np.newaxis]
            labels = np.where(is_own, of_components, -1.0).argmax(axis=1)
        return labels.astype(np.min_scalar_type(self.state.num_components))

    def clusters_of(self, pieces: Iterable[tf.Tensor]) -> np.ndarray:
        """Clusters `[N]` int64 of features `[B, D]` piece by piece."""
        return self.clusters[self.labels_of(pieces)].astype(np.int64)

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
        state = self.state
        # Of the removal of the last ones, those that stay keep their numbers.
        if transition.is_identity and transition.num_components == state.num_components:
            return self
        wholes = state.halves.total(axis=1)
        counts = merits = np.asarray(wholes.counts)
        if config.merged_networks == "likelier":
            merits = log_evidence(state.prior, wholes, state.covariance)
        return self.replace(
            networks=self.networks.apply(transition, merits, seed + 101 * (state.epoch + 1)),
            state=apply_transition(state, transition, config),
            genealogy=self.genealogy.after(transition, proposals, state.epoch, counts),
            groups=None,
            tree=None,
        )

    def renamed(self, identity: Identity, config: DeepDPMConfig, seed: int) -> Fitted:
        """The same with the clusters numbered in the order of their names.

        Where every cluster has kept its name, labels then mean what they meant.
        """
        rank = np.argsort(np.argsort(identity.ids))
        order = np.argsort(rank[self.clusters], kind="stable")
        labels, groups = self.result.labels, self.result.groups
        return self.apply(of_order(order), (), config, seed).replace(
            identity=dataclasses.replace(identity, ids=tuple(sorted(identity.ids))),
            labels=None if labels is None else np.argsort(order)[labels],
            groups=None if groups is None else groups.chosen(order),
        )


def slices(features: np.ndarray) -> Iterator[tf.Tensor]:
    """Features `[N, D]` as float32 tensors, some rows at a time."""
    for start in range(0, len(features), _SLICE_ROWS):
        yield tf.constant(features[start : start + _SLICE_ROWS], tf.float32)
