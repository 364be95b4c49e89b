"""Clustering batch by batch: statistics that fade, clusters that are born and die.

Nothing but statistics, networks and the points that no cluster explains is kept between batches.
What is trained on all points at once is in `deepdpm.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.inputs import as_features
from tfdpm.data.streams import as_batches
from tfdpm.features.apply_encoder import as_rows
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves import transition as transitions
from tfdpm.moves.hastings import log_split_ratio
from tfdpm.moves.ledger import Proposal
from tfdpm.networks.warm_start import start_from_mixture
from tfdpm.search.kmeans import kmeans_labels
from tfdpm.search.state import ModelState, subcomponent_start
from tfdpm.training import proposals as moves
from tfdpm.training.progress_bar import callback_list
from tfdpm.training.sources import ArraySource, soft_statistics

_NOVEL = 1e-3  # p-value under the predictive below which a point waits for a cluster of its own
_MOST_WAITING = 4096
_LONGEST_WAIT = 8  # batches
_FEWEST_STEPS = 20  # of gradient steps on a batch
_REPLAYED = 1024  # fewest points drawn from the mixture that the networks are reminded of


class OnlineMethods:
    """The part of `DeepDPM` that learns from one batch after the other."""

    # Points `[m, D]` that no cluster explains, oldest first, and the epochs `[m]` they came in.
    _waiting: np.ndarray | None = None
    _waiting_since: np.ndarray | None = None

    def partial_fit(self, x, y=None, *, forgetting: float = 0.0) -> OnlineMethods:
        """Takes one more batch into account; the first call is a `fit`.

        1. Past statistics are multiplied by `1 - forgetting`, the batch's, weighted by its
           responsibilities under the mixture, are added, and the mixture is estimated anew. With
           `forgetting` 0 all points count alike; otherwise the statistics remember about
           `1 / forgetting` batches.
        2. Points that no cluster would produce once in a thousand times wait, for at most 8
           batches and at most 4,096 of them. A group of them becomes a cluster where the Hastings
           ratio of splitting it off ([DeepDPM] eq. 2) says so; those that waited longest go to
           their nearest cluster.
        3. Neighbours merge by the same ratio, and clusters that are forgotten, down to fewer than
           D + 2 points, die.
        4. The networks learn from the batch, and from points drawn from the mixture, so that
           clusters which the batch does not show are not unlearned.

        Args:
            x: `[B, D]` points, as for `fit`; at least 2 in the first call, any number later.
            y: accepted as everywhere in scikit-learn; not used.
            forgetting: share of the past that each batch replaces, in [0, 1).

        Returns:
            The model itself; `labels_` are the batch's.
        """
        forgetting = checks.number(forgetting, "forgetting", minimum=0.0)
        if forgetting >= 1.0:
            checks.fail("forgetting", forgetting, "less than 1")
        if self._state is None:
            self.fit(x, y, verbose=0)
            return self
        inputs = self._encoded(as_features(x, y, minimum_points=1))
        if inputs.array is None:
            checks.fail("x", "a stream", "one batch in memory; or fit(..., steps_per_epoch=n)")
        self._check_width(inputs.feature_shape)
        if not self.compiled:
            self.compile()
        features = self._state.preprocessing.transform(as_rows(inputs.array))
        self._search = self._k_posterior = None  # what they know of the past is out of date
        self._absorb(features, forgetting)
        ledger: list[Proposal] = []
        has_moved = self._give_birth(ledger)
        has_moved |= self._merge_and_bury(ledger, forgetting)
        self.last_proposals = tuple(ledger)
        self._teach(features, has_moved)
        self._state.epoch += 1
        if has_moved:
            self._state.last_change_epoch = self._state.epoch
        pieces = (features[start : start + 16_384] for start in range(0, len(features), 16_384))
        labels = [np.argmax(self._infer(tf.constant(piece)), axis=1) for piece in pieces]
        self._labels = np.concatenate(labels).astype(np.int64)
        return self

    def _fit_endless(
        self, x, *, steps_per_epoch: int, forgetting: float, epochs, callbacks, verbose, first: int
    ):
        """`fit` on a stream that may have no end: `steps_per_epoch` calls of `partial_fit` each."""
        steps = checks.integer(steps_per_epoch, "steps_per_epoch", minimum=1)
        if not isinstance(x, tf.data.Dataset):
            checks.fail("x", type(x).__name__, "a tf.data.Dataset where steps_per_epoch is given")
        epochs = self.config.epochs if epochs is None else epochs
        batches = iter(as_batches(x.take(steps * (epochs - first) + 1)).batches)
        listeners = callback_list(self, callbacks, verbose, epochs)
        listeners.on_train_begin()
        self.stop_training = False
        logs: dict[str, float] = {}
        for epoch in range(first, epochs):
            listeners.on_epoch_begin(epoch)
            listeners.on_train_batch_begin(0)
            if self._state is None:
                # The first mixture is found on a whole epoch, as far as a start looks at points.
                self.partial_fit(_first_points(batches, steps, self.config.max_start_points))
            else:
                for batch in _at_most(batches, steps):
                    self.partial_fit(batch.numpy(), forgetting=forgetting)
            logs = {"n_clusters": self.n_clusters, "remembered_points": self._remembered()}
            listeners.on_train_batch_end(0, logs)
            listeners.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        listeners.on_train_end(logs)
        return self.history

    def _remembered(self) -> float:
        return float(tf.reduce_sum(self._state.soft.counts))

    def _absorb(self, features: np.ndarray, forgetting: float) -> None:
        """Past statistics fade, the batch's known points come in, the others wait."""
        state = self._state
        p_values = self._tails().tails(tf.constant(features))[1].numpy()
        waiting, known = features[p_values < _NOVEL], features[p_values >= _NOVEL]
        since = np.full(len(waiting), state.epoch)
        if self._waiting is not None:
            waiting = np.concatenate([self._waiting, waiting])
            since = np.concatenate([self._waiting_since, since])
        released = int(np.sum(since < state.epoch - _LONGEST_WAIT))
        released = max(released, len(waiting) - _MOST_WAITING)
        known = np.concatenate([known, waiting[:released]])
        self._waiting, self._waiting_since = waiting[released:], since[released:]
        soft = state.soft.scaled(1.0 - forgetting)
        before = self._remembered()
        if len(known):
            weights = tf.ones([len(known)])
            density = LogJoint(state.parameters)
            soft = soft.plus(soft_statistics(density, tf.constant(known), weights))
        self._set_statistics(soft)
        if self.config.prior == "auto" and before > 0:
            # In proportion to the points that it stands beside; see `automatic_scale`.
            scale = state.prior.scale * (self._remembered() / before)
            self._state = dataclasses.replace(self._state, prior=state.prior._replace(scale=scale))

    def _set_statistics(self, soft: SufficientStatistics) -> None:
        """State with these statistics `[K]` and the mixture that follows from them."""
        state = self._state
        parameters = self._estimate(soft, state.prior, state.covariance, self.config)
        halves = SufficientStatistics(*(tf.stack([part, 0 * part], axis=1) for part in soft))
        self._state = dataclasses.replace(
            state, parameters=parameters, soft=soft, halves=halves, t_mixture=None
        )

    def _give_birth(self, ledger: list[Proposal]) -> bool:
        """Groups of waiting points become clusters of their own, where the ratio says so."""
        if not self.config.proposes_splits:
            return False
        groups = _groups(self._waiting, self._state, self.config.dp_concentration)
        owners = LogJoint(self._state.parameters)(tf.constant(self._waiting)).numpy().argmax(axis=1)
        births: dict[int, tuple[Proposal, np.ndarray]] = {}  # the best of each parent
        for rows in groups:
            parent = int(np.bincount(owners[rows]).argmax())
            proposal = self._birth(parent, rows)
            ledger.append(proposal)
            best = births.get(parent)
            if proposal.log_ratio > (0.0 if best is None else best[0].log_ratio):
                births[parent] = proposal, rows
        if not births:
            return False
        chosen = {id(proposal) for proposal, _ in births.values()}
        ledger[:] = [each._replace(is_accepted=id(each) in chosen) for each in ledger]
        parts = []
        for k in range(self.n_clusters):
            parts.append(self._state.soft.select([k]))
            if k in births:
                parts.append(_one_cluster(self._waiting[births[k][1]]))
        is_split = np.isin(np.arange(self.n_clusters), list(births))
        self._apply(transitions.of_splits(self.n_clusters, is_split), ledger)
        joined = (tf.concat(each, axis=0) for each in zip(*parts, strict=True))
        self._set_statistics(SufficientStatistics(*joined))
        taken = np.concatenate([rows for _, rows in births.values()])
        self._waiting = np.delete(self._waiting, taken, axis=0)
        self._waiting_since = np.delete(self._waiting_since, taken)
        return True

    def _birth(self, parent: int, rows: np.ndarray) -> Proposal:
        """The proposal to split waiting points off a cluster."""
        rest, new = self._state.soft.select([parent]), _one_cluster(self._waiting[rows])
        ratio = _split_ratio(rest, new, self._state, self.config.dp_concentration)
        sizes = float(rest.counts[0]), float(len(rows))
        return Proposal("split", (parent,), sizes, ratio, False)

    def _merge_and_bury(self, ledger: list[Proposal], forgetting: float) -> bool:
        """Merges by the plain Hastings ratio; the forgotten die."""
        generator = np.random.default_rng([self.seed, self._state.epoch, 7])
        has_moved = False
        if self.config.proposes_merges:
            transition, made = moves.merge_move(self._state, self.config, generator, ledger)
            if made.accepted_merges:
                self._apply(transition, ledger)
                self._set_statistics(self._state.soft)
                has_moved = True
        counts = self._state.soft.counts.numpy()
        fewest = self._state.preprocessing.feature_dim + 2
        is_kept = (counts >= fewest) | (counts == counts.max())
        if forgetting > 0 and self.config.fixed_k is None and not is_kept.all():
            self._apply(transitions.of_removals(len(counts), is_kept), ledger)
            self._set_statistics(self._state.soft)
            has_moved = True
        return has_moved

    def _teach(self, features: np.ndarray, has_moved: bool) -> None:
        """The networks learn from the batch and from points drawn from the mixture."""
        generator = np.random.default_rng([self.seed, self._state.epoch, 8])
        count = max(_REPLAYED, len(features))
        drawn = _drawn(self._state.parameters, count, generator)
        lessons = np.concatenate([features, drawn])
        if has_moved:
            parameters = self._state.parameters
            start_from_mixture(self.clustering, parameters, lessons, self.seed)
            fresh = subcomponent_start(parameters.means, parameters.covariances)
            state = self._state
            state.sub_weights, state.sub_means, state.sub_covariances = fresh
        source = ArraySource.of_features(lessons)
        config = self.config.replace(min_steps_per_epoch=_FEWEST_STEPS)
        trains = config.subclustering == "network"
        source.train(self._current_passes(), self._state, config, self.seed, trains)


def _first_points(batches, steps: int, most: int) -> np.ndarray:
    pieces, total = [], 0
    for batch in _at_most(batches, steps):
        pieces.append(batch.numpy())
        total += len(pieces[-1])
        if total >= most:
            break
    return np.concatenate(pieces)


def _at_most(batches, steps: int) -> Iterable[Any]:
    for _, batch in zip(range(steps), batches, strict=False):
        yield batch


def _one_cluster(points: np.ndarray) -> SufficientStatistics:
    return accumulate_hard(tf.constant(points), tf.zeros([len(points)], tf.int32), 1)


def _split_ratio(left, right, state: ModelState, dp_concentration: float) -> float:
    ratio = log_split_ratio(
        left,
        right,
        state.prior,
        dp_concentration=dp_concentration,
        covariance=state.covariance,
    )
    return float(ratio[0])


def _groups(points: np.ndarray, state: ModelState, dp_concentration: float) -> list[np.ndarray]:
    """Rows of `points [n, D]` in groups that no cut by 2-means improves; each at least D + 2."""
    fewest = points.shape[1] + 2
    found, open_groups = [], [np.arange(len(points))]
    while open_groups:
        rows = open_groups.pop()
        if len(rows) < fewest:
            continue
        sides = kmeans_labels(points[rows], 2, seed=0)
        halves = [rows[sides == side] for side in (0, 1)]
        if min(map(len, halves)) > 0:
            left, right = (_one_cluster(points[half]) for half in halves)
            if _split_ratio(left, right, state, dp_concentration) > 0:
                open_groups.extend(halves)
                continue
        found.append(rows)
    return found


def _drawn(parameters: MixtureParameters, count: int, generator) -> np.ndarray:
    """`[count, D]` float32 points of the mixture."""
    weights, means, covariances = (part.numpy() for part in parameters)
    chosen = generator.choice(len(weights), count, p=weights / weights.sum())
    factors = np.linalg.cholesky(covariances)
    noise = generator.standard_normal((count, means.shape[1]))
    points = means[chosen]
    for k in np.unique(chosen):
        points[chosen == k] += noise[chosen == k] @ factors[k].T
    return points.astype(np.float32)
