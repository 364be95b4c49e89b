"""One fit: its first mixture, epochs of gradient steps and moves, and its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import Table, fit_preprocessing
from tfdpm.interpret.drift import UNLIKE
from tfdpm.interpret.fitted import FitResult, Fitted
from tfdpm.interpret.genealogy import Genealogy
from tfdpm.interpret.judges import merge_judge, split_judge
from tfdpm.interpret.pairs import LinkedRows, respect_pairs
from tfdpm.mixture.categories import density_of
from tfdpm.mixture.parameters import MixtureParameters, as_tensors, m_step
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.moves.proposals import propose_merges, propose_removals, propose_splits
from tfdpm.moves.transition import Transition
from tfdpm.networks.pair import NetworkPair
from tfdpm.networks.reduction import PassStatistics
from tfdpm.networks.resize import next_capacity
from tfdpm.networks.warm_start import start_from_mixture
from tfdpm.search.initialization import (
    InitialMixture,
    initialize_mixture,
    models_categories,
    num_initial_points,
    resume_search,
    uses_search,
)
from tfdpm.search.judge import SampleJudge
from tfdpm.search.points.sample import Sample
from tfdpm.search.state import MixtureState, estimate_mixture, subcomponent_start, whole_first
from tfdpm.search.t_refinement import fit_t_mixture
from tfdpm.shapes.groups import ComponentGroups
from tfdpm.shapes.valleys import group_components
from tfdpm.threads import THREADS
from tfdpm.training.sources import Source

# Networks whose loss is below this share of `settled_loss` know the mixture beyond doubt: there is
# no reason to wait with proposals.
_BEYOND_DOUBT = 0.2
# Share of the components up to which moves leave the learning rates and the patience as they are:
# one move among hundreds is no reason to learn all others anew. Up to 100 clusters every move
# counts; at half or twice of it, up to 200 or 50. Fits of 200 and 500 end alike at all three.
_FEW_MOVES = 0.01
_JOINING_POINTS = 400  # of a component of average size, by which valleys are judged
_JUDGED_POINTS = 4_000  # by which the share of points that no cluster explains is known
# Threads of BLAS wait for each other, actively, more than they help with matrices of this size.
_ON_ONE_THREAD = THREADS.wrap(limits=1)
_LEAST_HALF = 1e-3  # share of its component below which a subcomponent is started again


class EpochInfo(NamedTuple):
    """What happened in an epoch.

    Attributes:
        loss: mean loss of the clustering network.
        subcluster_loss: mean loss of the subclustering networks.
        counts: moves proposed and accepted.
    """

    loss: float
    subcluster_loss: float
    counts: MoveCounts


class Trainer:
    """Trains one fit: `fitted, info = trainer.step(fitted)`. Nothing of it outlives the fit.

    Args:
        source: points of the fit.
        config: settings of the fit.
        seed: random seed; the same seed gives the same fit.
        table: what is known of the columns of the points; nothing by default.

    Attributes:
        start_epoch: epochs that the model had been trained for when the fit began.
        first_epoch: number that callbacks see of the first epoch; 0 unless an interrupted fit goes
            on.
        given: what the caller gave beside points and configuration, as text by argument, by which
            an interrupted fit is told from another.
        linked: rows that are to be together or apart when the fit ends; `None` for none.
        start: first mixture of these points, if it was found before; `None` for none.
    """

    def __init__(
        self, source: Source, config: DeepDPMConfig, seed: int, table: Table | None = None
    ):
        self.source = source
        self.config = config
        self.seed = seed
        self._table = table or Table()
        self.start_epoch = self.first_epoch = 0
        self.given: dict[str, str] = {}
        self.linked: LinkedRows | None = None
        self.start: InitialMixture | None = None
        # Weights of the networks and what a pass found under them, while both stay as they are.
        self._last_pass: tuple[list[np.ndarray], PassStatistics] | None = None
        self._sample: Sample | None = None  # from which subcomponents start by 2-means

    # -- the beginning ------------------------------------------------------------------------

    @_ON_ONE_THREAD
    def begin(self, create_networks: Callable[[int, int, int], NetworkPair]) -> Fitted:
        """Preprocessing, prior, first mixture and networks of a model that was never fitted.

        `create_networks` makes networks for D features, H hidden units and C slots.
        """
        config, seed = self.config, self.seed
        moments = self.source.moments(config.preprocessing == "normalize")
        moments = moments._replace(variables=self._table.variables)
        preprocessing = fit_preprocessing(
            moments, config.preprocessing, keeps_flags=models_categories(config)
        )
        raw = self.source.sample(num_initial_points(config), seed)
        found = self.start or initialize_mixture(
            raw, moments, preprocessing, config, seed, takes_logs=self._table.takes_logs
        )
        prior, parameters, t_mixture, soft, covariance, search, preprocessing = found
        self.source.use(preprocessing)
        num_points = self.source.num_points
        if search is not None and (num_points is None or num_points > len(search.points)):
            density = t_mixture or density_of(parameters, search.settings.categories)
            soft = self.source.expectation(density)
            parameters = estimate_mixture(soft, prior, covariance, config)
        state = MixtureState(
            preprocessing,
            prior,
            parameters,
            *subcomponent_start(parameters.means, parameters.covariances),
            soft,
            whole_first(soft),
            covariance,
            t_mixture=t_mixture,
        )
        networks = create_networks(
            preprocessing.feature_dim,
            # The paper's 50, and two for each component where there are more than 25.
            config.hidden_units or min(max(50, 2 * parameters.num_components), 1024),
            next_capacity(parameters.num_components),
        )
        # A given K starts so too, unless the networks are not to learn a mixture's posterior.
        learns_mixture = config.start == "mixture" and config.cluster_loss == "kl"
        if search is not None or learns_mixture:
            features = preprocessing.transform(raw) if search is None else search.features
            start_from_mixture(networks.clustering, parameters, features, seed, state.targets)
        result = FitResult(genealogy=Genealogy.of_sizes(soft.counts, "training"))
        if search is not None:
            genealogy = Genealogy.of_partitions(search.trace, search.shares)
            result = FitResult(search=search, moves=search.moves, genealogy=genealogy)
        return Fitted(networks, state, result)

    @_ON_ONE_THREAD
    def resume(self, fitted: Fitted, is_same_fit: bool) -> Fitted:
        """Takes up a fit of a fitted or loaded model, maybe on the points of the fit before."""
        preprocessing = fitted.state.preprocessing
        self.source.use(preprocessing)
        config, fitted = self.config, fitted.replace(groups=None, tree=None, labels=None)
        if uses_search(config):
            moments = self.source.moments(config.preprocessing == "normalize")
            sample = self.source.sample(config.max_start_points, self.seed)
            features = preprocessing.transform(sample)
            search = resume_search(features, moments, fitted.state, config, self.seed)
            fitted = fitted.replace(search=search)
        if fitted.state.t_mixture is None or not is_same_fit:
            fitted = find_tails(fitted, config)
        return fitted

    # -- an epoch -----------------------------------------------------------------------------

    def set_learning_rates(self, fitted: Fitted) -> None:
        """Lets rates fall with the epochs since K last changed; callbacks may set others after."""
        decay, state = self.config.learning_rate_decay, fitted.state
        if decay != 1.0:
            fitted.networks.set_learning_rates(decay ** (state.epoch - state.last_change_epoch))

    @_ON_ONE_THREAD
    def step(self, fitted: Fitted) -> tuple[Fitted, EpochInfo]:
        """One epoch: gradient steps, one pass of statistics, M-step, then moves."""
        config, state, networks = self.config, fitted.state, fitted.networks
        trains_halves = (
            config.subclustering == "network" and state.epoch >= config.subcluster_start_epoch
        )
        if state.epoch == config.subcluster_start_epoch:
            state = self._start_halves(state, np.ones(state.num_components, bool))
        losses = self.source.train(networks.passes, state, config, self.seed, trains_halves)
        began_as_mixture = fitted.result.search is not None and config.cluster_loss == "kl"
        networks.check_convergence(losses, state.num_components if began_as_mixture else None)
        reduced = self.source.reduce(networks.passes, state)
        self._last_pass = networks.copy_weights(), reduced
        fitted = fitted.replace(state=self._m_step(networks, state, reduced))
        fitted, proposals = self._propose(fitted, float(losses[0]))
        counts = MoveCounts.of(proposals)
        state, epoch = fitted.state, fitted.state.epoch + 1
        last_change = epoch if is_new_start(counts, state.num_components) else None
        state = dataclasses.replace(
            state, epoch=epoch, last_change_epoch=last_change or state.last_change_epoch
        )
        fitted = fitted.replace(
            state=state, moves=fitted.result.moves + counts, proposals=proposals
        )
        return fitted, EpochInfo(float(losses[0]), float(losses[1]), counts)

    def _m_step(
        self, networks: NetworkPair, state: MixtureState, reduced: PassStatistics
    ) -> MixtureState:
        """MAP estimates of components and subcomponents from one pass's statistics.

        A subclustering network that leaves a half empty has no gradient: it gets fresh weights.
        """
        config = self.config
        state = dataclasses.replace(state, halves=reduced.halves)
        if state.epoch < config.frozen_epochs or self._is_settling(state):
            return state
        parameters = estimate_mixture(reduced.soft, state.prior, state.covariance, config)
        state = dataclasses.replace(state, soft=reduced.soft, parameters=parameters)
        uses_network = config.subclustering == "network"
        if uses_network and state.epoch < config.subcluster_start_epoch:
            return state
        halves, is_alive = _estimate_halves(state, reduced.soft_halves, config)
        is_alive &= reduced.halves.counts.numpy().min(axis=1) > 0
        state = _with_halves(state, halves, is_alive)
        if is_alive.all():
            return state
        if uses_network:
            networks.renew_subnetworks(~is_alive, self.seed + 101 * (state.epoch + 1))
        return self._start_halves(state, ~is_alive)

    def _is_settling(self, state: MixtureState) -> bool:
        """Whether the networks are still learning the last move, so that the mixture waits."""
        since_move = state.epoch - state.last_change_epoch
        return state.last_change_epoch > 0 and since_move < self.config.frozen_epochs_after_move

    def _start_halves(self, state: MixtureState, is_chosen: np.ndarray) -> MixtureState:
        """The state with chosen components' subcomponents `[K]` as before any network has learned.

        They are the sides of the principal axis, or 2-means of the points that begin there.
        """
        config, parameters = self.config, state.parameters
        halves = subcomponent_start(parameters.means, parameters.covariances)
        state = _with_halves(state, halves, is_chosen)
        if config.subcluster_start == "gaussian":
            return state
        if self._sample is None:
            points = self.source.sample(config.max_start_points, self.seed)
            preprocessing = state.preprocessing
            self._sample = Sample(
                preprocessing.transform(points), preprocessing.rounding, state.categories
            )
        found = self._sample.two_means_halves(MixtureParameters(*map(np.asarray, parameters)))
        halves, is_alive = _estimate_halves(state, found, config)
        return _with_halves(state, halves, is_chosen & is_alive)

    def _propose(self, fitted: Fitted, loss: float) -> tuple[Fitted, tuple[Proposal, ...]]:
        """Splits, merges and removals that are due, carried out."""
        config, state = self.config, fitted.state
        generator = np.random.default_rng([self.seed, state.epoch, 2])
        splits_due, merges_due = kinds_due(config, state.epoch)
        if self._may_settle(fitted) and loss <= _BEYOND_DOUBT * config.settled_loss:
            splits_due, merges_due = config.proposes_splits, config.proposes_merges
        if self._has_merged(fitted):
            splits_due = False
        # The search has sampled already; its ratios are no acceptance probabilities.
        is_stochastic = config.stochastic_acceptance and fitted.result.search is None
        uniforms = generator if is_stochastic else None
        order = config.merge_order if fitted.result.search is None else "best_first"
        made: tuple[Proposal, ...] = ()
        labels = None
        if splits_due:
            judge = split_judge(fitted, config, config.min_subcluster_points)
            fitted, splits = self._apply(fitted, *propose_splits(judge, uniforms))
            made += splits
            if isinstance(judge, SampleJudge) and not MoveCounts.of(splits).changed:
                labels = judge.labels
        if merges_due:
            judge = merge_judge(fitted, config, labels, not self._is_settling(fitted.state))
            fitted, merges = self._apply(fitted, *propose_merges(judge, uniforms, order))
            made += merges
        are_due = splits_due or merges_due
        if config.fixed_k is None and are_due and not self._is_settling(fitted.state):
            fitted, removals = self._apply(fitted, *_removals(fitted.state))
            made += removals
        if MoveCounts.of(made).changed:
            fitted = find_tails(fitted, config)
        return fitted, made

    def _has_merged(self, fitted: Fitted) -> bool:
        """Whether this fit has merged what its search found: a split could undo it for ever."""
        nodes = () if fitted.result.search is None else fitted.genealogy.nodes
        made = ((node.stage, node.kind) for node in nodes if node.step >= self.start_epoch)
        return ("training", "merge") in made

    def _apply(
        self, fitted: Fitted, transition: Transition, proposals: tuple[Proposal, ...]
    ) -> tuple[Fitted, tuple[Proposal, ...]]:
        applied = fitted.apply(transition, proposals, self.config, self.seed)
        if applied is fitted:
            return fitted, proposals
        self._last_pass = None
        state = self._start_halves(applied.state, transition.is_new)
        return applied.replace(state=state), proposals

    # -- the end ------------------------------------------------------------------------------

    def is_over(self, fitted: Fitted, info: EpochInfo) -> bool:
        """Whether K has been stable for long enough, or the networks know the mixture."""
        stop = self._stable_epoch(fitted.state)
        if stop is not None and fitted.state.epoch >= stop:
            return True
        if not self._may_settle(fitted):
            return False
        has_proposed = info.counts.proposed_splits + info.counts.proposed_merges > 0
        return has_proposed and not info.counts.changed and info.loss <= self.config.settled_loss

    def expected_epochs(self, fitted: Fitted, most: int) -> int:
        """Epochs that the fit will have made if no further move is accepted; at most `most`."""
        stop = self._stable_epoch(fitted.state)
        if stop is None:
            return most
        return min(most, self.first_epoch + max(stop - self.start_epoch, 0))

    def _stable_epoch(self, state: MixtureState) -> int | None:
        """Number of epochs after which K will have been the same for long enough."""
        config = self.config
        if config.stable_epochs is None:
            return None
        # Moves must have been possible, and a further fit has the same patience again.
        since = max(state.last_change_epoch, config.first_move_epoch, self.start_epoch)
        return since + config.stable_epochs

    def _may_settle(self, fitted: Fitted) -> bool:
        """Whether a fit ends when its networks know the mixture that was searched."""
        config = self.config
        has_rule = None not in (config.stable_epochs, config.settled_loss)
        return fitted.result.search is not None and has_rule and config.cluster_loss == "kl"

    @_ON_ONE_THREAD
    def finish(self, fitted: Fitted) -> Fitted:
        """Statistics, mixture and labels as the final networks see the data."""
        config, reduced, proposals = self.config, None, ()
        if config.subclustering == "network" and self._last_pass is not None:
            # Subclusters by means follow the M-step. Callbacks may have put other weights in place.
            weights, statistics = self._last_pass
            pairs = zip(weights, fitted.networks.copy_weights(), strict=True)
            reduced = statistics if all(np.array_equal(*pair) for pair in pairs) else None
        if reduced is None:
            reduced = self.source.reduce(fitted.networks.passes, fitted.state)
        if config.fixed_k is None:
            state = dataclasses.replace(fitted.state, halves=reduced.halves)
            before = fitted.replace(state=state)
            fitted, proposals = self._apply(before, *_removals(state))
            if fitted is not before:
                reduced = self.source.reduce(fitted.networks.passes, fitted.state)
        groups = self._join(fitted.state) if config.joins_components else None
        if self.linked is not None:
            features = np.concatenate([piece.numpy() for piece in self.source.feature_batches()])
            given = (self._join, config, self.seed)
            fitted = respect_pairs(fitted, self.linked, features, *given)
            groups = fitted.result.groups
            reduced = self.source.reduce(fitted.networks.passes, fitted.state)
        state = fitted.state
        state = dataclasses.replace(
            state,
            halves=reduced.halves,
            soft=reduced.soft,
            parameters=estimate_mixture(reduced.soft, state.prior, state.covariance, config),
            t_mixture=None,  # of these points; a further fit may be of others
        )
        fitted = fitted.replace(state=state, proposals=proposals, k_posterior=None, groups=groups)
        return fitted.replace(labels=self.label_points(fitted), unlike=self._count_unlike(fitted))

    def _count_unlike(self, fitted: Fitted) -> tuple[int, int]:
        """How many points of a sample no cluster explains, and its size."""
        sample = self.source.sample(self.config.max_start_points, self.seed)
        order = np.random.default_rng([self.seed, 17]).permutation(len(sample))
        chosen = fitted.state.preprocessing.transform(sample[order[:_JUDGED_POINTS]])
        return int(np.sum(fitted.tails.p_values(chosen) < UNLIKE)), len(chosen)

    def _join(self, state: MixtureState) -> ComponentGroups:
        """Components joined by a sample of the points, as large as a start looks at or larger.

        Each point counts for its likeliest component, since borders that networks have learned are
        rough where points are few, which looks like valleys between pieces of a shape.
        """
        if not self.config.joins_components:
            return ComponentGroups.apart(state.num_components)
        count = max(self.config.max_start_points, _JOINING_POINTS * state.num_components)
        points = state.preprocessing.transform(self.source.sample(count, self.seed))
        sample = Sample(points)  # whose densities are those of the targets
        labels = sample.labels(type(state.targets)(*map(np.asarray, state.targets)))
        return group_components(sample.points, labels, state.num_components, seed=self.seed)

    def label_points(self, fitted: Fitted) -> np.ndarray:
        """Components `[N]` of all points, of the smallest unsigned type that holds them."""
        return fitted.labels_of(self.source.feature_batches())


def find_tails(fitted: Fitted, config: DeepDPMConfig) -> Fitted:
    """The fit with the t distributions of its components, by its search's points, if it has one."""
    search, state, t_mixture = fitted.result.search, fitted.state, None
    if search is not None and config.has_tails and state.categories is None:
        t_mixture = as_tensors(fit_t_mixture(search, state.parameters))
    return fitted.replace(state=dataclasses.replace(state, t_mixture=t_mixture))


def is_new_start(counts: MoveCounts, num_components: int) -> bool:
    """Whether so many of K components moved that rates and patience begin anew."""
    return counts.num_made > _FEW_MOVES * num_components


def kinds_due(config: DeepDPMConfig, epoch: int) -> tuple[bool, bool]:
    """Whether splits and whether merges are proposed after `epoch` (0-based)."""
    since_first = epoch - config.first_move_epoch
    if since_first < 0 or since_first % config.move_interval_epochs:
        return False, False
    turn = since_first // config.move_interval_epochs
    if not config.alternate_moves:
        return config.proposes_splits, config.proposes_merges
    return config.proposes_splits and turn % 2 == 0, config.proposes_merges and turn % 2 == 1


def _removals(state: MixtureState) -> tuple[Transition, tuple[Proposal, ...]]:
    counts = np.asarray(state.halves.counts).sum(axis=1)
    return propose_removals(counts, state.parameters.mixture_weights.numpy())


def _estimate_halves(
    state: MixtureState, halves: SufficientStatistics, config: DeepDPMConfig
) -> tuple[tuple[tf.Tensor, ...], np.ndarray]:
    """Subcomponents from statistics `[K, 2]`, and whether `[K]` both halves have points."""
    flat = SufficientStatistics(*(tf.reshape(part, [-1, *part.shape[2:]]) for part in halves))
    estimates = m_step(
        flat,
        state.prior if config.prior_in_m_step else None,
        denominator=config.map_denominator,
        covariance=state.covariance,
    )
    counts = tf.convert_to_tensor(halves.counts)
    weights = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, axis=1, keepdims=True))
    means = tf.reshape(estimates.means, state.sub_means.shape)
    covariances = tf.reshape(estimates.covariances, state.sub_covariances.shape)
    return (weights, means, covariances), weights.numpy().min(axis=1) > _LEAST_HALF


def _with_halves(
    state: MixtureState, halves: tuple[tf.Tensor, ...], is_chosen: np.ndarray
) -> MixtureState:
    """The state with the given subcomponents of chosen components `[K]`."""
    names = ("sub_weights", "sub_means", "sub_covariances")
    chosen = {
        name: tf.where(
            is_chosen.reshape(-1, *[1] * (len(new.shape) - 1)), new, getattr(state, name)
        )
        for name, new in zip(names, halves, strict=True)
    }
    return dataclasses.replace(state, **chosen)
