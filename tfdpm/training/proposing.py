"""The moves of an epoch: what the networks propose is judged and carried out on all parts at once.

How a move is judged is in `moves.py`, how networks and optimisers follow in `resize.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture.parameters import as_tensors
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.moves.transition import Transition
from tfdpm.networks import resize
from tfdpm.search.state import moved
from tfdpm.search.t_refinement import fit_t_mixture, label_by_leading_axes
from tfdpm.training import proposals as moves
from tfdpm.training.sources import padded_means

__all__ = ["ProposalMethods"]


class ProposalMethods:
    """The part of `DeepDPM` that changes K."""

    def _propose(self, config: DeepDPMConfig, at_once: bool = False) -> MoveCounts:
        """Splits, merges and removals that are due, or all kinds if `at_once`; carried out."""
        state = self._state
        generator = np.random.default_rng([self.seed, state.epoch, 2])
        counts = MoveCounts()
        ledger: list[Proposal] = []
        is_split_due, is_merge_due = moves.kinds_due(config, state.epoch)
        if at_once:
            is_split_due, is_merge_due = config.proposes_splits, config.proposes_merges
        sampled = None
        if is_split_due:
            transition, made, sampled = self._split_move(config, generator, ledger)
            self._apply(transition, ledger)
            counts += made
        if is_merge_due:
            sampled = None if counts.changed else sampled
            transition, made = self._merge_move(config, generator, ledger, sampled)
            self._apply(transition, ledger)
            counts += made
        if config.fixed_k is None and (is_split_due or is_merge_due):
            transition, made = moves.removal_move(self._state, ledger)
            self._apply(transition, ledger)
            counts += made
        self.last_proposals = tuple(ledger)
        if counts.changed:
            self._find_tails(config)
        return counts

    def _find_tails(self, config: DeepDPMConfig) -> None:
        """The t distributions of the present components, by the points of the search."""
        self._state.t_mixture = None
        if self._search is not None and config.has_tails:
            found = fit_t_mixture(self._search, self._state.parameters)
            self._state.t_mixture = as_tensors(found)

    def _split_move(self, config, generator, ledger):
        """The transition, what was proposed, and labels of the sample if they were asked for."""
        if self._search is None:
            halves = self._state.halves
            return *moves.split_move(self._state, halves, config, generator, ledger), None
        labels, sides = self._sample_labels()
        move = moves.judged_split_move(self._search, labels, sides, self.n_clusters, ledger)
        return *move, labels

    def _merge_move(self, config, generator, ledger, labels) -> tuple[Transition, MoveCounts]:
        if self._search is None:
            return moves.merge_move(self._state, config, generator, ledger)
        labels = self._labels_to_merge(labels)
        return moves.judged_merge_move(self._search, labels, self.n_clusters, ledger)

    def _labels_to_merge(self, labels: np.ndarray | None = None) -> np.ndarray:
        """Clusters `[n]` of the search's sample by which merges are judged.

        Args:
            labels: what the networks say, if they were asked already.
        """
        if self._search.features.shape != self._search.points.shape:
            return label_by_leading_axes(self._search, self._state.parameters)
        return self._sample_labels()[0] if labels is None else labels

    def _sample_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Clusters and subclusters `[n]` that the networks give the search's sample."""
        return self._labels_and_sides(tf.constant(self._search.features, tf.float32))

    def _labels_and_sides(self, features) -> tuple[np.ndarray, np.ndarray]:
        """Clusters and subclusters `[B]` that the networks give to features `[B, D]`."""
        means = padded_means(self._state, self.clustering.capacity)[1]
        labels, sides = self._current_passes().label_batch(
            features, means, tf.constant(self._state.num_components)
        )
        return labels.numpy().astype(np.int64), sides.numpy().astype(np.int64)

    def _apply(self, transition: Transition, ledger: Sequence[Proposal] = ()) -> None:
        """Carries a move out on networks, optimisers and state alike."""
        if transition.is_identity:
            return
        self._last_pass.forget()
        counts = self._state.halves.counts.numpy().sum(axis=1)
        self.tree_.follow(transition, ledger, self._state.epoch, counts)
        self._state = moved(self._state, transition, self.config)
        self._fit_capacity()
        resize.apply_to_head(self.clustering.head, self.optimizer, transition, counts)
        resize.apply_to_subnetworks(
            self.subclustering,
            self.subcluster_optimizer,
            transition,
            self.seed + 101 * (self._state.epoch + 1),
        )
