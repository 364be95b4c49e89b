"""Clustering batch by batch: statistics that fade, clusters that are born and die.

Nothing but statistics, networks and the points that no cluster explains is kept between batches.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.fitted import Fitted, WaitingPoints, slices
from tfdpm.interpret.judges import hastings_judge
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves import transition as transitions
from tfdpm.moves.hastings import log_split_ratio
from tfdpm.moves.ledger import Proposal
from tfdpm.moves.proposals import propose_merges
from tfdpm.networks.reduction import soft_statistics
from tfdpm.networks.warm_start import start_from_mixture
from tfdpm.search.kmeans import kmeans_labels
from tfdpm.search.state import MixtureState, estimate_mixture, subcomponent_start, whole_first
from tfdpm.training.sources import ArraySource

__all__ = ["learn_batch"]

_NOVEL = 1e-3  # p-value under the predictive below which a point waits for a cluster of its own
_MOST_WAITING = 4096
_LONGEST_WAIT = 8  # batches
_FEWEST_STEPS = 20  # of gradient steps on a batch
_REPLAYED = 1024  # fewest points drawn from the mixture that the networks are reminded of


def learn_batch(
    fitted: Fitted, features: np.ndarray, forgetting: float, config: DeepDPMConfig, seed: int
) -> Fitted:
    """The parts after one more batch `[B, D]` float32, whose labels they have.

    See `DeepDPM.partial_fit`; `forgetting` is the share of the past that the batch replaces.
    """
    # What the search and the chains know of the past is out of date.
    fitted = fitted.replace(search=None, k_posterior=None)
    fitted = _absorb(fitted, features, forgetting, config)
    fitted, births = _give_birth(fitted, config, seed)
    fitted, merges = _merge(fitted, config, seed)
    fitted, has_removed = _remove_forgotten(fitted, forgetting, config, seed)
    proposals = (*births, *merges)
    has_moved = has_removed or any(each.is_accepted for each in proposals)
    fitted = _train_networks(fitted, features, has_moved, config, seed)
    epoch = fitted.state.epoch + 1
    last_change = epoch if has_moved else fitted.state.last_change_epoch
    state = dataclasses.replace(fitted.state, epoch=epoch, last_change_epoch=last_change)
    fitted = fitted.replace(state=state, proposals=proposals)
    return fitted.replace(labels=fitted.labels_of(slices(features)))


def _absorb(
    fitted: Fitted, features: np.ndarray, forgetting: float, config: DeepDPMConfig
) -> Fitted:
    """Past statistics fade, the batch's known points come in, the others wait."""
    state = fitted.state
    tails = PredictiveTails(state.parameters.mixture_weights, state.posterior())
    p_values = tails.tails(tf.constant(features))[1].numpy()
    is_novel = p_values < _NOVEL
    waiting, since = features[is_novel], np.full(is_novel.sum(), state.epoch)
    if fitted.result.waiting is not None:
        waiting = np.concatenate([fitted.result.waiting.features, waiting])
        since = np.concatenate([fitted.result.waiting.since, since])
    released = int(np.sum(since < state.epoch - _LONGEST_WAIT))
    released = max(released, len(waiting) - _MOST_WAITING)
    known = np.concatenate([features[~is_novel], waiting[:released]])
    soft, before = state.soft.scaled(1.0 - forgetting), float(tf.reduce_sum(state.soft.counts))
    if len(known):
        density = LogJoint(state.parameters)
        added = soft_statistics(density, tf.constant(known), tf.ones([len(known)]))
        soft = soft.plus(added.widened(state.preprocessing.rounding))
    state = _with_statistics(state, soft, config)
    if config.prior == "auto" and before > 0:
        # In proportion to the points that it stands beside; see `automatic_scale`.
        scale = state.prior.scale * (float(tf.reduce_sum(soft.counts)) / before)
        state = dataclasses.replace(state, prior=state.prior._replace(scale=scale))
    return fitted.replace(state=state, waiting=WaitingPoints(waiting[released:], since[released:]))


def _with_statistics(
    state: MixtureState, soft: SufficientStatistics, config: DeepDPMConfig
) -> MixtureState:
    """The state with these statistics `[K]` and the mixture that follows from them."""
    return dataclasses.replace(
        state,
        parameters=estimate_mixture(soft, state.prior, state.covariance, config),
        soft=soft,
        halves=whole_first(soft),
        t_mixture=None,
    )


def _give_birth(
    fitted: Fitted, config: DeepDPMConfig, seed: int
) -> tuple[Fitted, tuple[Proposal, ...]]:
    """Groups of waiting points become clusters of their own, where the ratio says so."""
    if not config.proposes_splits:
        return fitted, ()
    state, waiting = fitted.state, fitted.result.waiting
    owners = LogJoint(state.parameters)(tf.constant(waiting.features)).numpy().argmax(axis=1)
    proposals, groups = [], []
    best: dict[int, int] = {}  # the best proposal of each parent
    for rows in _groups(waiting.features, state, config.dp_concentration):
        parent = int(np.bincount(owners[rows]).argmax())
        rest, new = state.soft.select([parent]), _one_cluster(waiting.features[rows])
        ratio = _split_ratio(rest, new, state, config.dp_concentration)
        sizes = float(rest.counts[0]), float(len(rows))
        proposals.append(Proposal("split", (parent,), sizes, ratio, False))
        groups.append(rows)
        if ratio > (0.0 if parent not in best else proposals[best[parent]].log_ratio):
            best[parent] = len(proposals) - 1
    if not best:
        return fitted, tuple(proposals)
    chosen = set(best.values())
    made = tuple(each._replace(is_accepted=index in chosen) for index, each in enumerate(proposals))
    parts = []
    for k in range(state.num_components):
        parts.append(state.soft.select([k]))
        if k in best:
            parts.append(_one_cluster(waiting.features[groups[best[k]]]))
    is_split = np.isin(np.arange(state.num_components), list(best))
    transition = transitions.of_splits(state.num_components, is_split)
    fitted = fitted.apply(transition, made, config, seed)
    soft = SufficientStatistics(*(tf.concat(each, axis=0) for each in zip(*parts, strict=True)))
    taken = np.concatenate([groups[index] for index in best.values()])
    left = [np.delete(part, taken, axis=0) for part in (waiting.features, waiting.since)]
    state = _with_statistics(fitted.state, soft, config)
    return fitted.replace(state=state, waiting=WaitingPoints(*left)), made


def _merge(fitted: Fitted, config: DeepDPMConfig, seed: int) -> tuple[Fitted, tuple[Proposal, ...]]:
    """Neighbours merge by the plain Hastings ratio."""
    if not config.proposes_merges:
        return fitted, ()
    generator = np.random.default_rng([seed, fitted.state.epoch, 7])
    uniforms = generator if config.stochastic_acceptance else None
    judge = hastings_judge(fitted, config)
    transition, proposals = propose_merges(judge, uniforms, config.merge_order)
    return _moved(fitted, transition, proposals, config, seed), proposals


def _remove_forgotten(
    fitted: Fitted, forgetting: float, config: DeepDPMConfig, seed: int
) -> tuple[Fitted, bool]:
    """Clusters that are forgotten, down to fewer than D + 2 points, go; and whether any did."""
    counts = fitted.state.soft.counts.numpy()
    fewest = fitted.state.preprocessing.feature_dim + 2
    is_kept = (counts >= fewest) | (counts == counts.max())
    if forgetting == 0 or config.fixed_k is not None or is_kept.all():
        return fitted, False
    return _moved(fitted, transitions.of_removals(len(counts), is_kept), (), config, seed), True


def _moved(fitted: Fitted, transition, proposals, config: DeepDPMConfig, seed: int) -> Fitted:
    """The fit after a move, with a mixture that follows from the statistics."""
    if transition.is_identity:
        return fitted
    fitted = fitted.apply(transition, proposals, config, seed)
    return fitted.replace(state=_with_statistics(fitted.state, fitted.state.soft, config))


def _train_networks(
    fitted: Fitted, features: np.ndarray, has_moved: bool, config: DeepDPMConfig, seed: int
) -> Fitted:
    """The networks learn from the batch and from points drawn from the mixture."""
    state = fitted.state
    generator = np.random.default_rng([seed, state.epoch, 8])
    drawn = _draw_points(state.parameters, max(_REPLAYED, len(features)), generator)
    points = np.concatenate([features, drawn])
    if has_moved:
        parameters = state.parameters
        start_from_mixture(fitted.networks.clustering, parameters, points, seed)
        fresh = subcomponent_start(parameters.means, parameters.covariances)
        names = ("sub_weights", "sub_means", "sub_covariances")
        state = dataclasses.replace(state, **dict(zip(names, fresh, strict=True)))
    ArraySource.of_features(points).train(
        fitted.networks.passes,
        state,
        config.replace(min_steps_per_epoch=_FEWEST_STEPS),
        seed,
        config.subclustering == "network",
    )
    return fitted.replace(state=state)


def _one_cluster(points: np.ndarray) -> SufficientStatistics:
    return accumulate_hard(tf.constant(points), tf.zeros([len(points)], tf.int32), 1)


def _split_ratio(left, right, state: MixtureState, dp_concentration: float) -> float:
    options = {"dp_concentration": dp_concentration, "covariance": state.covariance}
    return float(log_split_ratio(left, right, state.prior, **options)[0])


def _groups(points: np.ndarray, state: MixtureState, dp_concentration: float) -> list[np.ndarray]:
    """Rows of `points [n, D]` in groups that no cut by 2-means improves; each at least D + 2."""
    fewest = points.shape[1] + 2
    groups, open_groups = [], [np.arange(len(points))]
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
        groups.append(rows)
    return groups


def _draw_points(parameters: MixtureParameters, count: int, generator) -> np.ndarray:
    """`[count, D]` float32 points of the mixture."""
    weights, means, covariances = (part.numpy() for part in parameters)
    chosen = generator.choice(len(weights), count, p=weights / weights.sum())
    factors = np.linalg.cholesky(covariances)
    noise = generator.standard_normal((count, means.shape[1]))
    points = means[chosen]
    for k in np.unique(chosen):
        points[chosen == k] += noise[chosen == k] @ factors[k].T
    return points.astype(np.float32)
