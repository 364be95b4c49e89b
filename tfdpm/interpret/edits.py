"""Clusters of a fitted model that someone merges or splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.interpret.fitted import Fitted, slices
from tfdpm.interpret.identity import follow
from tfdpm.mixture.categories import density_of, draw_points
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters, as_tensors
from tfdpm.mixture.statistics import SufficientStatistics, accumulate
from tfdpm.moves.transition import of_splits
from tfdpm.networks.warm_start import start_from_mixture
from tfdpm.search.points.kmeans import kmeans_labels
from tfdpm.search.state import MixtureState, estimate_mixture, whole_first
from tfdpm.shapes.groups import ComponentGroups

_DRAWN = 1_000  # points of a component that has fewer than two
_NUM_STEPS = 30  # of EM
_SEPARATION = 2.0  # standard deviations between the centres of halves that are cut
_LEAST_SHARE = 0.1  # of a component's points in either half that EM finds


def merge_clusters(fitted: Fitted, chosen: Sequence[int]) -> Fitted:
    """The fit with some clusters joined into one; names and tree follow."""
    clusters = np.where(np.isin(fitted.clusters, chosen), chosen[0], fitted.clusters)
    return _followed(fitted, _regrouped(fitted, clusters), np.arange(len(clusters)))


def split_cluster(
    fitted: Fitted, cluster: int, features: np.ndarray, config: DeepDPMConfig, seed: int
) -> tuple[Fitted, tuple[int, int]]:
    """The fit with a cluster parted in two, and the numbers of both; names and tree follow.

    Components part along the deepest valley between them, and a single one by `split_component`.
    """
    own, clusters = np.flatnonzero(fitted.clusters == cluster), fitted.clusters.copy()
    if len(own) == 1:
        after = split_component(fitted, int(own[0]), features, config, seed)
        parents = _parents(fitted, int(own[0]))
        own = own[0] + np.arange(2)
    else:
        parts = fitted.result.groups.chosen(own).down_to(2)
        clusters[own[parts == 1]] = fitted.num_clusters
        after, parents = _regrouped(fitted, clusters), np.arange(len(clusters))
    first, second = np.unique(after.clusters[own])
    return _followed(fitted, after, parents), (int(first), int(second))


def split_component(
    fitted: Fitted,
    component: int,
    features: np.ndarray,
    config: DeepDPMConfig,
    seed: int,
    ends: np.ndarray | None = None,
) -> Fitted:
    """The fit with a component parted in two, of which the second becomes a cluster of its own.

    Two Gaussians are fitted to the component's points by EM, and the clustering network begins
    anew as the posterior of the mixture. Labels of training points are no longer known.

    Args:
        fitted: the fit.
        component: its number.
        features: `[n, D]` points of the fit, or others like them.
        config, seed: of the model.
        ends: `[2, D]` points that are to be in different parts; `None` for any.
    """
    num_components = fitted.state.num_components
    own = features[fitted.labels_of(slices(features)) == component].astype(np.float64)
    if len(own) < 2:
        generator = np.random.default_rng([seed, num_components, component])
        state = fitted.state
        parts = (state.sub_weights, state.sub_means, state.sub_covariances)
        drawn = MixtureParameters(*(part[component] for part in parts))
        own = draw_points(drawn, _DRAWN, generator, state.categories).astype(np.float64)
    count = fitted.state.soft.counts[component] / len(own)
    soft, halves = _halves(own, count, fitted.state, config, seed, ends)
    transition = of_splits(num_components, np.arange(num_components) == component)
    after = fitted.apply(transition, (), config, seed)
    weight = fitted.state.parameters.mixture_weights[component]
    halves = halves._replace(mixture_weights=weight * halves.mixture_weights)

    def with_halves(part: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        return tf.concat([part[:component], new, part[component + 2 :]], axis=0)

    soft = SufficientStatistics(*map(with_halves, after.state.soft, soft))
    parameters = MixtureParameters(*map(with_halves, after.state.parameters, halves))
    state = dataclasses.replace(
        after.state, soft=soft, halves=whole_first(soft), parameters=parameters
    )
    start_from_mixture(after.networks.clustering, state.parameters, features, seed, state.targets)
    groups = fitted.result.groups
    if groups is not None:
        parents = _parents(fitted, component)
        clusters = groups.clusters[parents]
        clusters[component + 1] = fitted.num_clusters
        groups = groups.chosen(parents).with_clusters(clusters)
    return after.replace(state=state, groups=groups, labels=None)


def _regrouped(fitted: Fitted, clusters: np.ndarray) -> Fitted:
    groups = fitted.result.groups or ComponentGroups.apart(fitted.state.num_components)
    return fitted.replace(groups=groups.with_clusters(clusters))


def _parents(fitted: Fitted, component: int) -> np.ndarray:
    """Old components `[K + 1]` of the new ones where one is split."""
    numbers = np.arange(fitted.state.num_components)
    return np.repeat(numbers, np.where(numbers == component, 2, 1))


def _followed(before: Fitted, after: Fitted, parents: np.ndarray) -> Fitted:
    """The fit after an edit, whose components come from `parents [K]`, with names and tree."""
    shared = np.zeros((before.num_clusters + 1, after.num_clusters))
    counts = np.maximum(np.asarray(after.state.soft.counts), np.finfo(np.float64).tiny)
    np.add.at(shared, (before.clusters[parents], after.clusters), counts)
    identity = follow(before.identity, shared)
    tree = before.tree.by_hand(shared[:-1])
    return after.replace(identity=identity, tree=tree, k_posterior=None)


def _halves(
    points: np.ndarray,
    count: tf.Tensor,
    state: MixtureState,
    config: DeepDPMConfig,
    seed: int,
    ends: np.ndarray | None,
) -> tuple[SufficientStatistics, MixtureParameters]:
    """Statistics and MAP estimates of two halves of points `[n, D]`, each of which counts `count`.

    Those of the likeliest EM among those that leave neither half too small, and both ends apart;
    or else those of a cut midway between the ends, by default along the principal axis.
    """
    centre = points.mean(axis=0)
    values, axes = np.linalg.eigh((points - centre).T @ (points - centre) / len(points))
    scale = axes / np.sqrt(np.maximum(values, 1e-9 * values[-1] + 1e-300))
    if ends is None:
        far = np.sqrt(values[-1]) * axes[:, -1]
        ends, are_any = np.stack([centre - far, centre + far]), True
    else:
        ends, are_any = ends.astype(np.float64), False
    middle, across = ends.mean(axis=0), scale @ (scale.T @ (ends[1] - ends[0]))
    is_cut = (points - middle) @ across > 0
    starts = [is_cut, kmeans_labels((points - centre) @ scale, 2, seed) == 1]

    def estimate(shares: tf.Tensor) -> tuple[SufficientStatistics, MixtureParameters]:
        soft = accumulate(tf.constant(points), shares).scaled(count)
        return soft, estimate_mixture(soft, state.prior, state.covariance, config)

    found = []
    for start in starts:
        shares = tf.one_hot(start.astype(int), 2, dtype=tf.float64)
        for _ in range(_NUM_STEPS):
            soft, parameters = estimate(shares)
            density = LogJoint(density_of(parameters, state.categories))
            log_joint = density(tf.constant(points))
            shares = tf.nn.softmax(log_joint)
        density = LogJoint(density_of(parameters, state.categories))
        sides = density(tf.constant(ends)).numpy().argmax(axis=1)
        least = np.bincount(log_joint.numpy().argmax(axis=1), minlength=2).min()
        if least >= _LEAST_SHARE * len(points) and (are_any or sides[0] != sides[1]):
            score = float(tf.reduce_sum(tf.reduce_logsumexp(log_joint, axis=1)))
            found.append((score, soft, parameters))
    if found:
        return max(found, key=lambda each: each[0])[1:]
    soft, parameters = estimate(tf.one_hot(is_cut.astype(int), 2, dtype=tf.float64))
    # Equal covariances, centres well apart, and weights by which the border is midway.
    covariance = tf.reduce_mean(parameters.covariances, axis=0).numpy()
    across *= _SEPARATION / np.sqrt(across @ covariance @ across + 1e-300)
    means = centre + np.outer([-0.5, 0.5], covariance @ across)
    odds = (middle - centre) @ across
    weights = np.array([1.0, np.exp(-odds)]) / (1.0 + np.exp(-odds))
    return soft, as_tensors(MixtureParameters(weights, means, np.stack([covariance] * 2)))
