"""`DeepDPM`, the Keras model: E-step, gradient steps, M-step, moves, resize, repeat.

What is compiled is in `training.py`, what moves do in `proposing.py`, what is remembered in
`state.py`; here is the order in which it happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.config import DeepDPMConfig
from tfdpm.data.inputs import Inputs, as_features
from tfdpm.deepdpm.pictures import PictureMethods
from tfdpm.deepdpm.serialization import KeptModel
from tfdpm.features.preprocessing import fit_preprocessing
from tfdpm.interpret.genealogy import Genealogy
from tfdpm.interpret.hierarchy import FamilyMethods
from tfdpm.interpret.identity import IdentityMethods, Reference, check_reference
from tfdpm.mixture.parameters import MixtureParameters, m_step
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.ledger import Proposal
from tfdpm.networks import resize
from tfdpm.networks.warm_start import start_from_mixture
from tfdpm.search.initialization import (
    initialize_mixture,
    num_initial_points,
    resume_search,
    uses_search,
)
from tfdpm.search.state import ModelState, subcomponent_start
from tfdpm.serving.tflite_onnx import EdgeMethods
from tfdpm.training import proposals as moves
from tfdpm.training.last_pass import LastPass
from tfdpm.training.online import OnlineMethods
from tfdpm.training.progress_bar import callback_list
from tfdpm.training.proposing import ProposalMethods
from tfdpm.training.sources import ArraySource, StreamSource, source_of

_FEWEST_HIDDEN_UNITS, _MOST_HIDDEN_UNITS = 50, 1024
_BEYOND_DOUBT = 0.2  # of `settled_loss`


@keras.saving.register_keras_serializable(package="tfdpm")
class DeepDPM(
    ProposalMethods,
    PictureMethods,
    FamilyMethods,
    IdentityMethods,
    EdgeMethods,
    OnlineMethods,
    KeptModel,
):
    """Clustering network and subclustering networks under a Dirichlet-process Gaussian mixture.

    [DeepDPM]. `fit` finds the number of clusters; `predict` gives responsibilities of new points.

    Attributes (after `fit`):
        n_clusters: int, K.
        labels_: `[N]` int64, clusters of the training points; equal to `predict_labels(x)`.
        cluster_sizes_: `[K]` int64.
        means_: `[K, D]` and covariances_: `[K, D, D]` in raw units; weights_: `[K]`.
        history: Keras `History`: loss, subcluster_loss, n_clusters, proposed and accepted moves,
            and nmi, ari, acc where labels were given.

    Args:
        config: a `DeepDPMConfig`, one of the names "default", "paper", "official", or `None`.
        seed: of everything random in a fit.
        encoder: Keras model from raw points to the rows that are clustered; it is applied, saved
            and exported, not trained. `None` where points are rows already.
        features: how points become rows, in words, for `features_` and the summary.
    """

    def fit(
        self,
        x,
        y=None,
        *,
        batch_size: int | None = None,
        epochs: int | None = None,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        initial_epoch: int = 0,
        sample_weight=None,
        reference: Reference | None = None,
        steps_per_epoch: int | None = None,
        forgetting: float = 0.0,
    ) -> keras.callbacks.History:
        """Finds K and trains; a fitted or loaded model goes on from where it is.

        Args:
            x: `[N, D]` array-like, frame, tensor, `(x, y)` pair, or `tf.data.Dataset`.
            y: `[N]` labels, only for the scores in the history.
            batch_size: overrides the configuration's; ignored for streams, which have their own.
            epochs: most epochs, overrides the configuration's. As everywhere in Keras, counted
                from `initial_epoch` 0.
            verbose: 0 silent, 1 or `"auto"` a progress bar, 2 a line per epoch.
            callbacks: any Keras callbacks; they see continuous epochs.
            initial_epoch: number of the first epoch.
            sample_weight: `[N]` non-negative weights of the points. K is sought among those that
                have any; where they are more than `max_start_points`, heavy ones rather than light.
            reference: an older model of data like these, whose clusters' names are kept:
                `ids_` holds them, `identity_` what was born, died, split or merged.
            steps_per_epoch: batches of a `tf.data.Dataset` that make up an epoch. It may have no
                end then, and every batch is a `partial_fit`.
            forgetting: see `partial_fit`; only with `steps_per_epoch`.

        Returns:
            The Keras `History`, also kept as `model.history`.

        Raises:
            ValueError, TypeError: naming the argument, what came and what was wanted.
        """
        if steps_per_epoch is not None:
            return self._fit_endless(
                x,
                steps_per_epoch=steps_per_epoch,
                forgetting=forgetting,
                epochs=epochs,
                callbacks=callbacks,
                verbose=verbose,
                first=initial_epoch,
            )
        inputs = self._encoded(as_features(x, y))
        if reference is not None:
            check_reference(reference, self)
        config = self._fit_config(inputs, batch_size, epochs)
        source = source_of(inputs, sample_weight)
        first = checks.integer(initial_epoch, "initial_epoch", minimum=0)
        if not self.compiled:
            self.compile()
        if self._state is None:
            self._feature_shape = inputs.feature_shape
            self._start(source, config)
        else:
            self._check_width(inputs.feature_shape)
            self._go_on(source, config, is_same_fit=first > 0)
        self._fit_start = self._state.epoch
        self._last_pass = LastPass()
        listeners = callback_list(self, callbacks, verbose, config.epochs)
        for callback in listeners.callbacks:
            if hasattr(callback, "accompany"):
                callback.accompany(listeners.callbacks)
        listeners.on_train_begin()
        # Keras's BackupAndRestore asks for its epoch through this attribute.
        first = self._first_epoch = self._initial_epoch or first
        self.stop_training = False
        logs: dict[str, float] = {}
        for epoch in range(first, config.epochs):
            self._set_learning_rates()
            listeners.on_epoch_begin(epoch)
            listeners.on_train_batch_begin(0)
            logs = self._run_epoch(source, config)
            logs.update(self._scores(inputs, source))
            listeners.on_train_batch_end(0, logs)
            listeners.on_epoch_end(epoch, logs)
            if self.stop_training or self._is_stable(config) or self._has_settled(config, logs):
                break
        self._finish(source, config)
        listeners.on_train_end(logs)
        if self._labels is None:  # a callback put earlier weights back
            self._finish(source, config)
        if reference is not None:
            self._identify(reference, as_features(x, y))
        return self.history

    def _fit_config(self, inputs: Inputs, batch_size, epochs) -> DeepDPMConfig:
        changes: dict[str, Any] = {}
        if batch_size is not None:
            changes["batch_size"] = batch_size
        if epochs is not None:
            changes["epochs"] = epochs
        config = self.config.replace(**changes)
        if inputs.num_points is not None and config.start_clusters > inputs.num_points:
            name = "initial_clusters" if config.fixed_k is None else "fixed_k"
            checks.fail(name, config.start_clusters, f"at most the {inputs.num_points} points")
        return config

    def _start(self, source: ArraySource | StreamSource, config: DeepDPMConfig) -> None:
        """Preprocessing, prior, first mixture and networks."""
        moments = source.moments(config.preprocessing == "normalize")
        preprocessing = fit_preprocessing(moments, config.preprocessing)
        raw = source.sample(num_initial_points(config), self.seed)
        found = initialize_mixture(raw, moments, preprocessing, config, self.seed)
        prior, parameters, t_mixture, soft, covariance, self._search, preprocessing = found
        source.use(preprocessing)
        if self._search is not None:
            self._moves = self._search.moves
            if source.num_points is None or source.num_points > len(self._search.points):
                soft = source.expectation(t_mixture or parameters)
                parameters = self._estimate(soft, prior, covariance, config)
        sub = subcomponent_start(parameters.means, parameters.covariances)
        # Until a pass has told the halves apart, all points stand in the first.
        halves = SufficientStatistics(*(tf.stack([part, 0 * part], axis=1) for part in soft))
        self._state = ModelState(
            preprocessing, prior, parameters, *sub, soft, halves, covariance, t_mixture=t_mixture
        )
        self._genealogy = Genealogy()
        if self._search is None:
            self._genealogy.begin(soft.counts.numpy(), "training")
        else:
            self._genealogy.follow_partitions(self._search.trace, self._search.shares)
        self._create_networks(
            preprocessing.feature_dim,
            config.hidden_units or _default_hidden_units(parameters.num_components),
            resize.next_capacity(parameters.num_components),
        )
        # A given K starts so too, unless the networks are not to learn a mixture's posterior.
        learns_mixture = config.start == "mixture" and config.cluster_loss == "kl"
        if self._search is not None or learns_mixture:
            seen = preprocessing.transform(raw) if self._search is None else self._search.features
            start_from_mixture(self.clustering, parameters, seen, self.seed, t_mixture)

    def _estimate(
        self, statistics: SufficientStatistics, prior, covariance: str, config: DeepDPMConfig
    ) -> MixtureParameters:
        return m_step(
            statistics,
            prior if config.prior_in_m_step else None,
            concentration=config.weight_concentration,
            denominator=config.map_denominator,
            weight_rule=config.weight_rule,
            covariance=covariance,
        )

    def _go_on(self, source, config: DeepDPMConfig, is_same_fit: bool) -> None:
        """Takes up a fit of a model that was fitted or loaded; a new fit has data of its own."""
        preprocessing = self._state.preprocessing
        source.use(preprocessing)
        if uses_search(config):
            moments = source.moments(config.preprocessing == "normalize")
            sample = preprocessing.transform(source.sample(config.max_start_points, self.seed))
            self._search = resume_search(sample, moments, self._state, config, self.seed)
        if self._state.t_mixture is None or not is_same_fit:
            self._find_tails(config)

    def _set_learning_rates(self) -> None:
        """Rates fall with the epochs since K last changed; a callback may set others after."""
        if self.config.learning_rate_decay == 1.0:
            return
        since = self._state.epoch - self._state.last_change_epoch
        optimizers = (self.optimizer, self.subcluster_optimizer)
        for optimizer, base in zip(optimizers, self._base_rates, strict=True):
            if base is not None:
                optimizer.learning_rate.assign(base * self.config.learning_rate_decay**since)

    def _run_epoch(self, source, config: DeepDPMConfig) -> dict[str, float]:
        """Gradient steps, one reduction, M-step, then moves; returns the epoch's logs."""
        state = self._state
        trains_subclusters = (
            config.subclustering == "network" and state.epoch >= config.subcluster_start_epoch
        )
        losses = source.train(self._current_passes(), state, config, self.seed, trains_subclusters)
        reduced = source.reduce(self._current_passes(), state)
        self._last_pass.keep((self.clustering, self.subclustering), reduced)
        self._m_step(reduced, config, trains_subclusters)
        counts = self._propose(config, at_once=self._knows_mixture(config, float(losses[0])))
        state = self._state
        state.epoch += 1
        if counts.changed:
            state.last_change_epoch = state.epoch
        self._moves = self._moves + counts
        return {
            "loss": float(losses[0]),
            "subcluster_loss": float(losses[1]),
            "n_clusters": state.num_components,
            "accepted_splits": counts.accepted_splits,
            "accepted_merges": counts.accepted_merges,
            "proposed_splits": counts.proposed_splits,
            "proposed_merges": counts.proposed_merges,
        }

    def _m_step(self, reduced, config: DeepDPMConfig, trains_subclusters: bool) -> None:
        """MAP estimates of components and subcomponents from one pass's statistics."""
        state = self._state
        prior = state.prior if config.prior_in_m_step else None
        state.halves = reduced.halves
        since_move = state.epoch - state.last_change_epoch
        is_frozen = state.epoch < config.frozen_epochs or (
            state.last_change_epoch > 0 and since_move < config.frozen_epochs_after_move
        )
        if not is_frozen:
            state.soft = reduced.soft
            state.parameters = self._estimate(reduced.soft, state.prior, state.covariance, config)
        if trains_subclusters or config.subclustering == "two_means":
            self._sub_m_step(reduced.soft_halves, prior, config)

    def _sub_m_step(self, soft_halves, prior, config: DeepDPMConfig) -> None:
        """Subcomponents from their weighted statistics; a half that died is started again."""
        state = self._state
        flat = SufficientStatistics(
            *(tf.reshape(part, [-1, *part.shape[2:]]) for part in soft_halves)
        )
        estimates = m_step(
            flat, prior, denominator=config.map_denominator, covariance=state.covariance
        )
        means = tf.reshape(estimates.means, state.sub_means.shape)
        covariances = tf.reshape(estimates.covariances, state.sub_covariances.shape)
        counts = soft_halves.counts
        totals = tf.reduce_sum(counts, axis=1, keepdims=True)
        weights = tf.math.divide_no_nan(counts, totals)
        is_alive = tf.reduce_min(weights, axis=1) > 1e-3
        fresh = subcomponent_start(state.parameters.means, state.parameters.covariances)
        state.sub_weights = tf.where(is_alive[:, tf.newaxis], weights, fresh[0])
        state.sub_means = tf.where(is_alive[:, tf.newaxis, tf.newaxis], means, fresh[1])
        state.sub_covariances = tf.where(
            is_alive[:, tf.newaxis, tf.newaxis, tf.newaxis], covariances, fresh[2]
        )

    def expected_epochs(self, most: int) -> int:
        """Epochs that the current fit will have made if no further move is accepted."""
        stop = self._stable_epoch(self.config)
        if stop is None:
            return most
        return min(most, self._first_epoch + max(stop - self._fit_start, 0))

    def _stable_epoch(self, config: DeepDPMConfig) -> int | None:
        """Number of epochs after which K will have been the same for long enough."""
        if config.stable_epochs is None:
            return None
        # Moves must have been possible, and a further fit has the same patience again.
        since = max(self._state.last_change_epoch, config.first_move_epoch, self._fit_start)
        return since + config.stable_epochs

    def _is_stable(self, config: DeepDPMConfig) -> bool:
        stop = self._stable_epoch(config)
        return stop is not None and self._state.epoch >= stop

    def _may_settle(self, config: DeepDPMConfig) -> bool:
        """Whether a fit ends when its networks know the mixture that was searched."""
        has_rule = None not in (config.stable_epochs, config.settled_loss)
        return self._search is not None and has_rule and config.cluster_loss == "kl"

    def _knows_mixture(self, config: DeepDPMConfig, loss: float) -> bool:
        """Whether that is so beyond doubt: there is no reason to wait with proposals."""
        return self._may_settle(config) and loss <= _BEYOND_DOUBT * config.settled_loss

    def _has_settled(self, config: DeepDPMConfig, logs: dict[str, float]) -> bool:
        """Whether the networks know the searched mixture and no proposal of theirs was accepted."""
        if not self._may_settle(config):
            return False
        has_proposed = logs["proposed_splits"] + logs["proposed_merges"] > 0
        is_unchanged = self._state.last_change_epoch < self._state.epoch
        return has_proposed and is_unchanged and logs["loss"] <= config.settled_loss

    def _finish(self, source, config: DeepDPMConfig) -> None:
        """Statistics, mixture and labels as the final networks see the data."""
        reduced = None
        if config.subclustering == "network":  # subclusters by means follow the M-step
            reduced = self._last_pass.recall((self.clustering, self.subclustering))
        if reduced is None:
            reduced = source.reduce(self._current_passes(), self._state)
        self._state.halves = reduced.halves
        self.last_proposals = ()
        if config.fixed_k is None:
            ledger: list[Proposal] = []
            transition, made = moves.removal_move(self._state, ledger)
            self.last_proposals = tuple(ledger)
            if made.removed:
                self._apply(transition, ledger)
                reduced = source.reduce(self._current_passes(), self._state)
        self._state.halves, self._state.soft = reduced.halves, reduced.soft
        self._state.parameters = self._estimate(
            reduced.soft, self._state.prior, self._state.covariance, config
        )
        self._state.t_mixture = None  # of these points; a further fit may be of others
        self._labels = self._source_labels(source)
        self._k_posterior = None

    def _source_labels(self, source) -> np.ndarray:
        """Clusters `[N]` of all points, of the smallest unsigned type that holds them."""
        kind = np.min_scalar_type(self.n_clusters)
        labels, count = np.empty(source.num_points or 0, kind), 0
        for features in source.feature_batches():
            piece = np.argmax(self._infer(features), axis=1)
            if count + len(piece) > len(labels):  # nobody has counted the stream, or it has grown
                labels = np.concatenate([labels[:count], np.empty(count + len(piece), kind)])
            labels[count : count + len(piece)] = piece
            count += len(piece)
        return labels[:count]

    def _scores(self, inputs: Inputs, source) -> dict[str, float]:
        """Agreement with known labels, where there are any."""
        if inputs.labels is not None:
            known, labels = inputs.labels, self._source_labels(source)
        elif inputs.labelled_dataset is not None:
            # One pass for both: the next one might come in another order.
            pairs = [(y.numpy(), self.predict_labels(x)) for x, y in inputs.labelled_dataset]
            known, labels = (np.concatenate(part) for part in zip(*pairs, strict=True))
        else:
            return {}
        return {
            "nmi": metrics.nmi(known, labels),
            "ari": metrics.ari(known, labels),
            "acc": metrics.clustering_accuracy(known, labels),
        }


def _default_hidden_units(num_components: int) -> int:
    """The paper's 50, and two for each component where there are more than 25."""
    return min(max(_FEWEST_HIDDEN_UNITS, 2 * num_components), _MOST_HIDDEN_UNITS)
