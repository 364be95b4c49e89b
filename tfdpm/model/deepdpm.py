"""`DeepDPM`, the Keras model: E-step, gradient steps, M-step, moves, resize, repeat.

What is compiled is in `training.py`, what is decided in `moves.py`, what is remembered in
`state.py`; here is the order in which it happens, and what users call.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.config import DeepDPMConfig
from tfdpm.data.inputs import Inputs, as_features
from tfdpm.mixture import niw
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.parameters import LogJoint, MixtureParameters, m_step
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.model import moves, resize, serving
from tfdpm.model.checkpoint import Checkpoint
from tfdpm.model.first import first_mixture, search_inputs, uses_search
from tfdpm.model.initial_weights import start_from_mixture
from tfdpm.model.networks import ClusteringNetwork, SubclusteringNetworks
from tfdpm.model.preprocessing import FeatureMoments, feature_moments, fit_preprocessing
from tfdpm.model.progress import ProgressBar
from tfdpm.model.search import MixtureSearch
from tfdpm.model.sources import ArraySource, StreamSource, padded_means
from tfdpm.model.stability import Stability, co_assignment, k_posterior
from tfdpm.model.state import ModelState, moved, subcomponent_start
from tfdpm.model.training import Passes, StepSettings
from tfdpm.proposals.tally import MoveCounts
from tfdpm.proposals.transition import Transition

_PREDICT_ROWS = 16_384
_FEWEST_HIDDEN_UNITS, _MOST_HIDDEN_UNITS = 50, 1024
_FULL_DATA_PASSES = 3  # of EM, after a search on a sample


@keras.saving.register_keras_serializable(package="tfdpm")
class DeepDPM(keras.Model):
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
    """

    def __init__(self, config: DeepDPMConfig | str | None = None, *, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.config = _as_config(config)
        self.seed = checks.integer(seed, "seed", minimum=0, maximum=2**31 - 1)
        self._state: ModelState | None = None
        self._feature_shape: tuple[int, ...] = ()
        self._labels: np.ndarray | None = None
        self._search: MixtureSearch | None = None
        self._k_posterior: dict[int, float] | None = None
        self._passes: Passes | None = None
        self._num_traces = 0
        self._fit_start = self._first_epoch = 0
        self._moves = MoveCounts()
        self.last_proposals: tuple[moves.Proposal, ...] = ()  # of the last epoch that made any
        self.clustering: ClusteringNetwork | None = None
        self.subclustering: SubclusteringNetworks | None = None
        self.subcluster_optimizer: keras.optimizers.Optimizer | None = None
        self._base_rates: tuple[float, float] | None = None

    # -- Keras's life cycle -------------------------------------------------------------------

    def compile(self, optimizer="auto", *, subcluster_optimizer="auto", **kwargs) -> DeepDPM:
        """Sets the optimisers; Adam with the configuration's rates where `"auto"`.

        Args:
            optimizer: of the clustering network.
            subcluster_optimizer: of the subclustering networks.
            **kwargs: passed to `keras.Model.compile`.

        Returns:
            The model, so that `compile(...).fit(...)` can be written.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.Adam(self.config.learning_rate)
        if isinstance(subcluster_optimizer, str) and subcluster_optimizer == "auto":
            subcluster_optimizer = keras.optimizers.Adam(self.config.subcluster_learning_rate)
        super().compile(optimizer=optimizer, **kwargs)
        self.subcluster_optimizer = keras.optimizers.get(subcluster_optimizer)
        self._base_rates = tuple(
            float(rate) if isinstance(rate := each.learning_rate, keras.Variable) else None
            for each in (self.optimizer, self.subcluster_optimizer)
        )
        self._forget_passes()
        if self.clustering is not None:
            self._build_optimizers()
        return self

    def get_compile_config(self) -> dict[str, Any] | None:
        """Both optimisers, serialised; `None` before `compile` or `fit`."""
        if not self.compiled:
            return None
        return {
            "optimizer": keras.optimizers.serialize(self.optimizer),
            "subcluster_optimizer": keras.optimizers.serialize(self.subcluster_optimizer),
            "base_rates": self._base_rates,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as before saving; the slots are filled from the file afterwards."""
        self.compile(
            keras.optimizers.deserialize(config["optimizer"]),
            subcluster_optimizer=keras.optimizers.deserialize(config["subcluster_optimizer"]),
        )
        self._base_rates = tuple(config["base_rates"])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = {"config": dataclasses.asdict(self.config), "seed": self.seed}
        return {**config, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DeepDPM:
        """A model without weights from `get_config`'s result."""
        settings = DeepDPMConfig(**config["config"])
        return cls(settings, seed=config["seed"], name=config["name"])

    def get_build_config(self) -> dict[str, int] | None:
        """Sizes of the networks, or `None` before the first fit."""
        if self._state is None:
            return None
        return {
            "feature_dim": self._state.preprocessing.feature_dim,
            "hidden_units": self.clustering.hidden_units,
            "capacity": self.clustering.capacity,
        }

    def build_from_config(self, config: dict[str, int] | None) -> None:
        """Creates networks of the saved sizes."""
        if config:
            self._create_networks(**config)

    def call(self, inputs):
        """Responsibilities `[B, K]` float32 of raw inputs `[B, D_in]`."""
        state = self._fitted()
        logits = self.clustering(
            state.preprocessing(as_rows(inputs)), num_components=tf.constant(state.num_components)
        )
        return tf.nn.softmax(logits[:, : state.num_components])

    def save_own_variables(self, store) -> None:
        """Writes what is no network weight: mixture, prior, statistics, labels, progress."""
        if self._state is None:
            return
        for name, value in self._state.to_arrays().items():
            store[name.replace("/", ".")] = value
        store["moves"] = np.array(dataclasses.astuple(self._moves))
        store["feature_shape"] = np.array(self._feature_shape, np.int64)
        if self._labels is not None:
            store["labels"] = self._labels.astype(np.int32)

    def load_own_variables(self, store) -> None:
        """Reads what `save_own_variables` wrote."""
        names = list(store.keys())
        if not names:
            return
        arrays = {name.replace(".", "/"): store[name] for name in names}
        self._state = ModelState.from_arrays(arrays)
        self._moves = MoveCounts(*(int(count) for count in np.array(arrays["moves"])))
        self._feature_shape = (self._state.preprocessing.input_dim,)
        if "feature_shape" in arrays:
            self._feature_shape = tuple(int(size) for size in np.array(arrays["feature_shape"]))
        self._labels = None
        if "labels" in arrays:
            self._labels = np.array(arrays["labels"]).astype(np.int64)
        self._fit_capacity()

    def get_weights(self) -> list[np.ndarray]:
        """Network weights, then the mixture's state, so that callbacks can put both back."""
        if self._state is None:
            return super().get_weights()
        return [*super().get_weights(), *self._state.to_arrays().values()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Restores `get_weights`' result; the number of clusters may differ."""
        if self._state is None:
            super().set_weights(weights)
            return
        names = list(self._state.to_arrays())
        network_weights = weights[: len(weights) - len(names)]
        self._state = ModelState.from_arrays(
            dict(zip(names, weights[len(network_weights) :], strict=True))
        )
        self._labels = None
        self._fit_capacity()
        for variable, value in zip(self.weights, network_weights, strict=True):
            # A copy from before the networks grew fills the leading slots.
            paddings = [(0, b - a) for a, b in zip(value.shape, variable.shape, strict=True)]
            variable.assign(np.pad(value, paddings))

    # -- fit ----------------------------------------------------------------------------------

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
            sample_weight: `[N]` non-negative weights of the points.

        Returns:
            The Keras `History`, also kept as `model.history`.

        Raises:
            ValueError, TypeError: naming the argument, what came and what was wanted.
        """
        inputs = as_features(x, y)
        config = self._fit_config(inputs, batch_size, epochs)
        source = self._source(inputs, sample_weight)
        if not self.compiled:
            self.compile()
        if self._state is None:
            self._feature_shape = inputs.feature_shape
            self._start(source, config)
        else:
            self._check_width(inputs.feature_shape)
            self._go_on(source, config)
        self._fit_start = self._state.epoch
        callback_list = self._callback_list(callbacks, verbose, config.epochs)
        for callback in callback_list.callbacks:
            if isinstance(callback, Checkpoint):
                callback.accompany(callback_list.callbacks)
        callback_list.on_train_begin()
        # Keras's BackupAndRestore asks for its epoch through this attribute.
        first = self._initial_epoch or checks.integer(initial_epoch, "initial_epoch", minimum=0)
        self._first_epoch = first
        self.stop_training = False
        logs: dict[str, float] = {}
        for epoch in range(first, config.epochs):
            self._set_learning_rates()
            callback_list.on_epoch_begin(epoch)
            callback_list.on_train_batch_begin(0)
            logs = self._run_epoch(source, config)
            logs.update(self._scores(inputs, source))
            callback_list.on_train_batch_end(0, logs)
            callback_list.on_epoch_end(epoch, logs)
            if self.stop_training or self._is_stable(config):
                break
        self._finish(source, config)
        callback_list.on_train_end(logs)
        if self._labels is None:  # a callback put earlier weights back
            self._finish(source, config)
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

    def _source(self, inputs: Inputs, sample_weight) -> ArraySource | StreamSource:
        if inputs.array is None:
            if sample_weight is not None:
                checks.fail("sample_weight", "weights beside a stream", "None for a stream")
            return StreamSource(inputs.dataset.map(as_rows), inputs.num_points)
        if sample_weight is None:
            return ArraySource(as_rows(inputs.array))
        weights = np.asarray(sample_weight, np.float64)
        if weights.shape != (len(inputs.array),):
            checks.fail("sample_weight", f"shape {weights.shape}", f"[{len(inputs.array)}]")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            checks.fail("sample_weight", "negative, infinite or no weight", "weights >= 0")
        return ArraySource(as_rows(inputs.array), weights)

    def _start(self, source: ArraySource | StreamSource, config: DeepDPMConfig) -> None:
        """Preprocessing, prior, first mixture and networks."""
        moments = source.moments(config.preprocessing == "normalize")
        preprocessing = fit_preprocessing(moments, config.preprocessing)
        source.use(preprocessing)
        sample = preprocessing.transform(source.sample(config.max_start_points, self.seed))
        prior, parameters, soft, self._search = first_mixture(
            sample, moments, preprocessing, config, self.seed
        )
        if self._search is not None:
            self._moves = self._search.moves
            if source.num_points is None or source.num_points > len(self._search.points):
                for _ in range(_FULL_DATA_PASSES):
                    soft = source.expectation(parameters)
                    parameters = self._estimate(soft, prior, config)
        sub = subcomponent_start(parameters.means, parameters.covariances)
        # Until a pass has told the halves apart, all points stand in the first.
        halves = SufficientStatistics(*(tf.stack([part, 0 * part], axis=1) for part in soft))
        self._state = ModelState(preprocessing, prior, parameters, *sub, soft, halves)
        self._create_networks(
            preprocessing.feature_dim,
            config.hidden_units or _default_hidden_units(parameters.num_components),
            resize.next_capacity(parameters.num_components),
        )
        if self._search is not None:
            points = self._search.points
            start_from_mixture(self.clustering, parameters, points, self.seed)

    def _estimate(
        self, statistics: SufficientStatistics, prior, config: DeepDPMConfig
    ) -> MixtureParameters:
        return m_step(
            statistics,
            prior if config.prior_in_m_step else None,
            concentration=config.weight_concentration,
            denominator=config.map_denominator,
            weight_rule=config.weight_rule,
        )

    def _go_on(self, source: ArraySource | StreamSource, config: DeepDPMConfig) -> None:
        """Takes up a fit of a model that has been fitted or loaded."""
        preprocessing = self._state.preprocessing
        source.use(preprocessing)
        if uses_search(config) and self._search is None:
            moments = source.moments(config.preprocessing == "normalize")
            sample = preprocessing.transform(source.sample(config.max_start_points, self.seed))
            self._search = self._resumed_search(sample, moments, config)

    def _resumed_search(
        self, sample: np.ndarray, moments: FeatureMoments, config: DeepDPMConfig
    ) -> MixtureSearch:
        """A search over a sample that judges as the one of the first fit did."""
        state = self._state
        points, settings = search_inputs(sample, moments, state.preprocessing, config)
        return MixtureSearch.resumed(
            points, settings, self.seed, state.prior, state.num_components, moments.num_points
        )

    def _create_networks(self, feature_dim: int, hidden_units: int, capacity: int) -> None:
        self.clustering = ClusteringNetwork(hidden_units, capacity, self.seed, name="clustering")
        self.subclustering = SubclusteringNetworks(
            hidden_units, capacity, self.seed + 1, name="subclustering"
        )
        self.clustering.build((None, feature_dim))
        self.subclustering.build((None, feature_dim))
        self.built = True
        self._forget_passes()
        if self.compiled:
            self._build_optimizers()

    def _build_optimizers(self) -> None:
        self.optimizer.build(self.clustering.trainable_variables)
        self.subcluster_optimizer.build(self.subclustering.trainable_variables)

    def _fit_capacity(self) -> None:
        """Grows the networks until they hold the state's components."""
        needed = self._state.num_components
        self.predict_function = None
        if self.clustering is None or needed <= self.clustering.capacity:
            return
        self._grow(resize.next_capacity(needed))

    def _grow(self, capacity: int) -> None:
        """Gives networks and optimisers more slots."""
        self.optimizer = resize.grow_layer(
            self.clustering.head, self.clustering, self.optimizer, capacity
        )
        self.subcluster_optimizer = resize.grow_layer(
            self.subclustering, self.subclustering, self.subcluster_optimizer, capacity
        )
        self._forget_passes()

    def _forget_passes(self) -> None:
        if self._passes is not None:
            self._num_traces = self._passes.num_traces
        self._passes = None

    def _current_passes(self) -> Passes:
        """The compiled passes; made anew when the networks or optimisers are."""
        if self._passes is None:
            self._passes = Passes(
                self.clustering,
                self.subclustering,
                self.optimizer if self.compiled else None,
                self.subcluster_optimizer,
                StepSettings(
                    self.config.cluster_loss,
                    self.config.kl_direction,
                    self.config.subclustering,
                    self.config.max_subcluster_batch,
                ),
                self._num_traces,
            )
        return self._passes

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
        self._m_step(reduced, config, trains_subclusters)
        counts = self._propose(config)
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
            state.parameters = self._estimate(reduced.soft, state.prior, config)
        if trains_subclusters or config.subclustering == "two_means":
            self._sub_m_step(reduced.soft_halves, prior, config)

    def _sub_m_step(self, soft_halves, prior, config: DeepDPMConfig) -> None:
        """Subcomponents from their weighted statistics; a half that died is started again."""
        state = self._state
        flat = SufficientStatistics(
            *(tf.reshape(part, [-1, *part.shape[2:]]) for part in soft_halves)
        )
        estimates = m_step(flat, prior, denominator=config.map_denominator)
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

    def _propose(self, config: DeepDPMConfig) -> MoveCounts:
        """Splits, merges and removals that are due; carried out at once."""
        state = self._state
        generator = np.random.default_rng([self.seed, state.epoch, 2])
        counts = MoveCounts()
        ledger: list[moves.Proposal] = []
        is_split_due, is_merge_due = moves.kinds_due(config, state.epoch)
        if is_split_due:
            transition, made = self._split_move(config, generator, ledger)
            self._apply(transition)
            counts += made
        if is_merge_due:
            transition, made = self._merge_move(config, generator, ledger)
            self._apply(transition)
            counts += made
        if config.fixed_k is None and (is_split_due or is_merge_due):
            transition, made = moves.removal_move(self._state, ledger)
            self._apply(transition)
            counts += made
        self.last_proposals = tuple(ledger)
        return counts

    def _split_move(self, config, generator, ledger) -> tuple[Transition, MoveCounts]:
        if self._search is None:
            return moves.split_move(self._state, self._state.halves, config, generator, ledger)
        labels, sides = self._sample_labels()
        return moves.judged_split_move(self._search, labels, sides, self.n_clusters, ledger)

    def _merge_move(self, config, generator, ledger) -> tuple[Transition, MoveCounts]:
        if self._search is None:
            return moves.merge_move(self._state, config, generator, ledger)
        labels = self._sample_labels()[0]
        return moves.judged_merge_move(self._search, labels, self.n_clusters, ledger)

    def _sample_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Clusters and subclusters `[n]` that the networks give the search's sample."""
        features = tf.constant(self._search.points, tf.float32)
        means = padded_means(self._state, self.clustering.capacity)[1]
        labels, sides = self._current_passes().label_batch(
            features, means, tf.constant(self._state.num_components)
        )
        return labels.numpy().astype(np.int64), sides.numpy().astype(np.int64)

    def _apply(self, transition: Transition) -> None:
        """Carries a move out on networks, optimisers and state alike."""
        if transition.is_identity:
            return
        counts = self._state.halves.counts.numpy().sum(axis=1)
        self._state = moved(self._state, transition, self.config)
        self._fit_capacity()
        resize.apply_to_head(self.clustering.head, self.optimizer, transition, counts)
        resize.apply_to_subnetworks(
            self.subclustering,
            self.subcluster_optimizer,
            transition,
            self.seed + 101 * (self._state.epoch + 1),
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

    def _finish(self, source, config: DeepDPMConfig) -> None:
        """Statistics, mixture and labels as the final networks see the data."""
        reduced = source.reduce(self._current_passes(), self._state)
        self._state.halves = reduced.halves
        self.last_proposals = ()
        if config.fixed_k is None:
            ledger: list[moves.Proposal] = []
            transition, made = moves.removal_move(self._state, ledger)
            self.last_proposals = tuple(ledger)
            if made.removed:
                self._apply(transition)
                reduced = source.reduce(self._current_passes(), self._state)
        self._state.halves, self._state.soft = reduced.halves, reduced.soft
        self._state.parameters = self._estimate(reduced.soft, self._state.prior, config)
        self._labels = self._source_labels(source)
        self._k_posterior = None

    def _source_labels(self, source) -> np.ndarray:
        pieces = [np.argmax(self._infer(features), axis=1) for features in source.feature_batches()]
        return np.concatenate(pieces).astype(np.int64)

    def _scores(self, inputs: Inputs, source) -> dict[str, float]:
        """Agreement with known labels, where there are any."""
        if inputs.labels is None:
            return {}
        labels = self._source_labels(source)
        return {
            "nmi": metrics.nmi(inputs.labels, labels),
            "ari": metrics.ari(inputs.labels, labels),
            "acc": metrics.clustering_accuracy(inputs.labels, labels),
        }

    def _callback_list(self, callbacks, verbose, epochs: int) -> keras.callbacks.CallbackList:
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks
        checks.one_of(verbose, "verbose", ("auto", 0, 1, 2))
        callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
        callbacks = list(callbacks or ())
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                checks.fail("callbacks", repr(callback), "Keras callbacks", TypeError)
        if verbose != 0:
            callbacks.append(ProgressBar(1 if verbose == "auto" else verbose))
        return keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=False,
            model=self,
            verbose=0 if verbose == 0 else 1,
            epochs=epochs,
            steps=1,
        )

    # -- what users ask of a fitted model -------------------------------------------------------

    def predict(self, x, batch_size: int | None = None, verbose: int = 0, **kwargs) -> np.ndarray:
        """Responsibilities of raw points.

        Args:
            x: as for `fit`.
            batch_size: rows at once; chosen when `None`.
            verbose: accepted as Keras's `predict` does; nothing is printed.
            **kwargs: none; named here so that a misspelt argument is an error.

        Returns:
            `[N, K]` float32, rows sum to one.
        """
        if kwargs:
            checks.fail(next(iter(kwargs)), "an unknown argument", "x, batch_size, verbose")
        del verbose
        batch_size = _PREDICT_ROWS if batch_size is None else batch_size
        rows = checks.integer(batch_size, "batch_size", minimum=1)
        return np.concatenate([self._infer(piece) for piece in self._features_of(x, rows)])

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Most probable cluster of each raw point, `[N]` int64 in `[0, K)`.

        Args:
            x: as for `fit`.
            reject_below: points whose `outlier_p` is less get -1; 0.01 rejects about 1 % of the
                points that belong. `None` rejects none.
        """
        level = reject_below
        if level is not None:
            level = checks.number(level, "reject_below", minimum=0.0, maximum=1.0)
        pieces = []
        for piece in self._features_of(x):
            labels = np.argmax(self._infer(piece), axis=1)
            pieces.append(labels if level is None else self._rejected(piece, labels, level))
        return np.concatenate(pieces).astype(np.int64)

    def _rejected(self, features, labels: np.ndarray, level: float) -> np.ndarray:
        return np.where(self._tails().tails(features)[1].numpy() < level, -1, labels)

    def outlier_p(self, x) -> np.ndarray:
        """P-value of each raw point under the posterior predictive, `[N]` float64 in `[0, 1]`.

        Uniform for points of the mixture, near zero for points that belong to no cluster; see
        `tfdpm.mixture.outliers.PredictiveTails`.
        """
        tails = self._tails()
        return np.concatenate([tails.tails(piece)[1].numpy() for piece in self._features_of(x)])

    def _tails(self) -> PredictiveTails:
        state = self._fitted()
        return PredictiveTails(
            state.parameters.mixture_weights, niw.posterior(state.prior, state.soft)
        )

    def score_samples(self, x) -> np.ndarray:
        """Log posterior predictive density of raw points, `[N]` float64, nats.

        A mixture of multivariate t distributions. Where preprocessing drops axes or normalises
        rows it is the density of the features, else of the raw inputs.
        """
        state = self._fitted()
        density = self._tails()
        volume = state.preprocessing.log_volume_change
        return np.concatenate([density(piece).numpy() for piece in self._features_of(x)]) + volume

    def embed(self, x) -> np.ndarray:
        """Features `[N, D]` float32 of raw points, which the mixture sees."""
        return np.concatenate([piece.numpy() for piece in self._features_of(x)])

    def stability(self, x, *, num_chains: int = 8, seed: int = 0) -> Stability:
        """K with error bars, and how firmly each point belongs to its cluster.

        Several chains of splits and merges start from the trained clusters, disturbed, each on
        its own random part of the data, and end where nothing changes any more.

        Args:
            x: points, as for `predict`; those of the fit, or others like them.
            num_chains: at least 1.
            seed: of the chains.
        """
        num_chains = checks.integer(num_chains, "num_chains", minimum=1)
        seed = checks.integer(seed, "seed", minimum=0)
        features = self.embed(x)
        mixtures = self._chains(self._search_on(features), num_chains, seed)
        labels = np.concatenate(
            [np.argmax(self._infer(piece), axis=1) for piece in _slices(features)]
        )
        scores = np.zeros(len(features))
        for mixture in mixtures:
            density = LogJoint(mixture)
            chain_labels = np.concatenate(
                [np.argmax(density(piece).numpy(), axis=1) for piece in _slices(features)]
            )
            scores += co_assignment(labels, chain_labels) / num_chains
        return Stability(k_posterior(mixtures), scores)

    def __dir__(self) -> list[str]:
        """All names but that of the one value that takes long: Keras reads all of them to save."""
        return [name for name in super().__dir__() if name != "k_posterior_"]

    @property
    def k_posterior_(self) -> dict[int, float]:
        """Share of 8 split/merge chains on the sample of the fit that ended with each K."""
        if self._k_posterior is None:
            self._fitted()
            if self._search is None:
                checks.fail(
                    "k_posterior_",
                    "a model without the points of its fit",
                    "a call of stability(x).k_posterior",
                    AttributeError,
                )
            self._k_posterior = k_posterior(self._chains(self._search, 8, self.seed))
        return self._k_posterior

    def _chains(self, search: MixtureSearch, count: int, seed: int) -> list[MixtureParameters]:
        labels = np.concatenate(
            [np.argmax(self._infer(piece), axis=1) for piece in _slices(search.points)]
        )
        return [search.chain(labels, seed + index) for index in range(count)]

    def _search_on(self, features: np.ndarray) -> MixtureSearch:
        """A search over (a sample of) features that judges as the fit did."""
        if len(features) > self.config.max_start_points:
            generator = np.random.default_rng([self.seed, 5])
            chosen = generator.choice(len(features), self.config.max_start_points, replace=False)
            features = features[chosen]
        moments = feature_moments(features)
        # The prior stands for all points of the fit, however many of them are looked at here.
        moments = moments._replace(num_points=float(np.sum(self._fitted().soft.counts)))
        return self._resumed_search(features, moments, self.config)

    def export(self, directory: str | os.PathLike[str]) -> None:
        """Writes a SavedModel that is served without this package, and its model card.

        Signature `serving_default`: `inputs` float32, any number of points of the shape seen in
        `fit`, to `labels` int64 `[B]`, `responsibilities` float32 `[B, K]`, `log_density` float32
        `[B]` (nats) and `outlier_p` float32 `[B]`. Signature `embed`: `inputs` to `features`
        float32 `[B, D]`. Preprocessing is inside. `tfdpm.load` opens the folder again.

        Args:
            directory: a version that does not exist yet, such as `saved_models/name/1`.

        Raises:
            FileExistsError: if the folder exists.
        """
        state = self._fitted()
        card = {
            "n_clusters": state.num_components,
            "input_shape": list(self._feature_shape),
            "feature_dim": state.preprocessing.feature_dim,
            "preprocessing": state.preprocessing.description,
            "num_points": float(np.sum(state.soft.counts)),
            "epochs": state.epoch,
            "seed": self.seed,
            "config": dataclasses.asdict(self.config),
        }
        module = serving.ServingModule(state, self.clustering, self._feature_shape)
        serving.write(module, directory, card)

    @property
    def n_clusters(self) -> int:
        """K, as found so far."""
        return self._fitted().num_components

    @property
    def labels_(self) -> np.ndarray:
        """`[N]` int64 clusters of the training points."""
        self._fitted()
        if self._labels is None:
            got = "weights that were saved within a fit or set by hand"
            checks.fail("labels_", got, "a fit that ended; or use predict_labels(x)", RuntimeError)
        return self._labels

    @property
    def cluster_sizes_(self) -> np.ndarray:
        """`[K]` int64 numbers of training points."""
        return np.bincount(self.labels_, minlength=self.n_clusters)

    @property
    def means_(self) -> np.ndarray:
        """`[K, D]` component means in raw units."""
        state = self._fitted()
        return state.preprocessing.inverse(state.parameters.means.numpy())

    @property
    def covariances_(self) -> np.ndarray:
        """`[K, D, D]` component covariances in squared raw units."""
        state = self._fitted()
        return state.preprocessing.inverse_covariance(state.parameters.covariances.numpy())

    @property
    def weights_(self) -> np.ndarray:
        """`[K]` mixture weights, summing to one."""
        return self._fitted().parameters.mixture_weights.numpy()

    @property
    def mixture_(self) -> MixtureParameters:
        """The mixture in feature space."""
        return self._fitted().parameters

    @property
    def prior_(self) -> niw.NIWParameters:
        """The Normal-inverse-Wishart prior in feature space."""
        return self._fitted().prior

    @property
    def num_traces(self) -> int:
        """How often a pass over the data was traced: grows with log K, not with the moves."""
        return self._current_passes().num_traces

    def summary(self, *args, print_fn: Callable[[str], Any] | None = None, **kwargs) -> None:
        """Keras's summary, then K, sizes, prior and moves."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        write = print_fn or (lambda line: sys.stdout.write(line + "\n"))
        if self._state is None:
            write("Not fitted yet.")
            return
        for line in self._summary_lines():
            write(line)

    def _summary_lines(self) -> list[str]:
        state, made = self._state, self._moves
        scale = np.diag(state.prior.scale.numpy())
        lines = [
            f"Clusters: {self.n_clusters}",
            f"Preprocessing: {state.preprocessing.description}",
            f"Prior: mean_precision {float(state.prior.mean_precision):.3g}, "
            f"df {float(state.prior.df):.6g}, scale {scale.min():.3g} to {scale.max():.3g}",
            f"Moves: {made.accepted_splits} of {made.proposed_splits} splits, "
            f"{made.accepted_merges} of {made.proposed_merges} merges accepted",
        ]
        if made.advice():
            lines.append(f"Note: {made.advice()}")
        if self._labels is not None:
            sizes = np.sort(self.cluster_sizes_)[::-1]
            shown = ", ".join(str(size) for size in sizes[:20])
            more = f", and {len(sizes) - 20} more" if len(sizes) > 20 else ""
            lines.insert(1, f"Sizes: {shown}{more}")
        return lines

    def _fitted(self) -> ModelState:
        if self._state is None:
            checks.fail("model", "a model that was not fitted", "call fit first", RuntimeError)
        return self._state

    def _check_width(self, feature_shape: tuple[int, ...]) -> None:
        wanted = self._fitted().preprocessing.input_dim
        if int(np.prod(feature_shape)) != wanted:
            checks.fail("x", f"points of shape {feature_shape}", f"{wanted} values as in fit")

    def _features_of(self, x, rows: int = _PREDICT_ROWS):
        """Yields features `[B, D]` of raw points, slice by slice."""
        self._fitted()
        inputs = as_features(x, minimum_points=1)
        self._check_width(inputs.feature_shape)
        preprocessing = self._state.preprocessing
        if inputs.array is None:
            for batch in inputs.dataset:
                yield preprocessing(as_rows(batch))
            return
        array = as_rows(inputs.array)
        for start in range(0, len(array), rows):
            yield tf.constant(preprocessing.transform(array[start : start + rows]))

    def _infer(self, features) -> np.ndarray:
        """Responsibilities `[B, K]` of features `[B, D]`."""
        count = self._state.num_components
        result = self._current_passes().infer_batch(features, tf.constant(count))
        return result.numpy()[:, :count]


def _slices(features: np.ndarray):
    """Features `[B, D]` float32, slice by slice."""
    for start in range(0, len(features), _PREDICT_ROWS):
        yield tf.constant(features[start : start + _PREDICT_ROWS], tf.float32)


def as_rows(points):
    """Points of any shape as rows `[N, D]`: the pixels of an image one after the other."""
    if len(points.shape) == 2:
        return points
    width = int(np.prod(points.shape[1:]))
    if isinstance(points, np.ndarray):
        return points.reshape(len(points), width)
    return tf.reshape(points, [-1, width])


def _default_hidden_units(num_components: int) -> int:
    """The paper's 50, and two for each component where there are more than 25."""
    return min(max(_FEWEST_HIDDEN_UNITS, 2 * num_components), _MOST_HIDDEN_UNITS)


def _as_config(config: DeepDPMConfig | str | None) -> DeepDPMConfig:
    if config is None:
        return DeepDPMConfig()
    if isinstance(config, str):
        return DeepDPMConfig.named(config)
    if not isinstance(config, DeepDPMConfig):
        checks.fail(
            "config", type(config).__name__, "a DeepDPMConfig, a preset's name or None", TypeError
        )
    return config
