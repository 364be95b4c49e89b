"""The initial mixture of a fit: prior and components before any network has learned."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import FeatureMoments, Preprocessing
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters, as_tensors
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.kmeans import kmeans_labels
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.model_selection import select_search
from tfdpm.search.prior import SearchSettings, prior_from_moments
from tfdpm.search.state import MixtureState, estimate_mixture
from tfdpm.search.t_refinement import refine_mixture
from tfdpm.search.whitened_search import SearchResult, search_whitened

# Where clusters touch, the K that a search ends with varies with its sample. Of two searches the
# smaller K is the one that both samples support.
_NUM_SAMPLES = 2


class InitialMixture(NamedTuple):
    """The mixture that a fit begins with.

    Attributes:
        prior: prior for statistics of all points.
        parameters: `[K]` components.
        t_mixture: `[K]` t distributions that the networks learn; `None` for Gaussians.
        statistics: hard statistics of the sample behind the components.
        covariance: structure of the components' covariances.
        search: search that judges the networks' proposals; `None` where Hastings ratios of all
            points judge them.
        preprocessing: map from raw inputs to the features of the mixture.
    """

    prior: niw.NIWParameters
    parameters: MixtureParameters
    t_mixture: TMixtureParameters | None
    statistics: SufficientStatistics
    covariance: str
    search: MixtureSearch | None
    preprocessing: Preprocessing


def initialize_mixture(
    raw: np.ndarray,
    moments: FeatureMoments,
    preprocessing: Preprocessing,
    config: DeepDPMConfig,
    seed: int,
) -> InitialMixture:
    """Finds the prior and the initial mixture of a fit.

    Args:
        raw: `[n, D_in]` raw inputs, at most `num_initial_points` of them.
        moments: moments of all raw inputs (of normalised rows where those are used).
        preprocessing: map from raw inputs to features that the moments alone suggest.
        config: settings of the fit.
        seed: random seed; the same seed gives the same mixture.
    """
    if uses_search(config):
        preprocessing = preprocessing.with_resolution(raw)
    leading = preprocessing.leading()
    if not (uses_search(config) and _has_open_prior(config)):
        preprocessing = leading
    sample = preprocessing.transform(raw)
    if not uses_search(config):
        # The paper's: K-means, then MAP estimates ([DeepDPM] section 4.1).
        prior = prior_from_moments(moments, preprocessing, config, config.start_clusters)
        structure = "full" if config.covariance == "auto" else config.covariance
        labels = kmeans_labels(sample, config.start_clusters, seed)
        statistics = accumulate_hard(tf.constant(sample), tf.constant(labels), labels.max() + 1)
        parameters = estimate_mixture(statistics, prior, structure, config)
        return InitialMixture(prior, parameters, None, statistics, structure, None, preprocessing)
    features, settings = _search_inputs(sample, moments, preprocessing, config)
    result = _search_samples(features, settings, leading, config, seed)
    leaves_features = config.preprocessing == "auto" and _has_open_prior(config)
    leaves_moves = config.covariance in ("auto", "full") and config.splits and config.merges
    if leaves_features and leaves_moves:
        rows = np.random.default_rng([seed, 8]).permutation(len(raw))[: config.max_start_points]
        result = search_whitened(result, raw[np.sort(rows)], moments, settings, seed)
    search, labels, parameters, used = result
    labels, parameters = search.settle(labels, parameters)
    multiple = moments.num_points / len(search.points)
    # One variance for all axes would be that of the leading ones.
    has_axes = used is leading and preprocessing.num_leading and search.covariance != "spherical"
    prior, t_mixture = search.prior.partition_prior(multiple).as_niw(), None
    if has_axes:
        used = preprocessing
    else:
        search = search.with_features(search.points)
    if has_axes or config.has_tails:
        prior, labels, parameters, t_mixture = refine_mixture(
            search, labels, multiple, config.has_tails
        )
        t_mixture = None if t_mixture is None else as_tensors(t_mixture)
    statistics = accumulate_hard(search.features, labels, parameters.num_components)
    statistics = statistics.widened(used.rounding)
    parameters = as_tensors(parameters)
    return InitialMixture(prior, parameters, t_mixture, statistics, search.covariance, search, used)


def _search_samples(
    features: np.ndarray,
    settings: SearchSettings,
    leading: Preprocessing,
    config: DeepDPMConfig,
    seed: int,
) -> SearchResult:
    """Searches one or two samples of `features [n, D]` in the leading ones for the smaller K."""
    size, parts = config.max_start_points, [features]
    if len(features) > size:
        order = np.random.default_rng([seed, 6]).permutation(len(features))
        parts = [features[np.sort(rows)] for rows in (order[:size], order[-size:])]
    results = []
    for part in parts:
        points = part[:, : leading.feature_dim]
        search, labels, parameters = select_search(points, settings, seed, config.start_clusters)
        results.append(SearchResult(search.with_features(part), labels, parameters, leading))
    moves = sum((result.search.moves for result in results), MoveCounts())
    best = min(results, key=lambda result: result.parameters.num_components)
    return best._replace(search=best.search.with_moves(moves))


def _has_open_prior(config: DeepDPMConfig) -> bool:
    return config.prior == "auto" and config.df is None


def num_initial_points(config: DeepDPMConfig) -> int:
    """Largest number of points that `initialize_mixture` uses."""
    return config.max_start_points * (_NUM_SAMPLES if uses_search(config) else 1)


def uses_search(config: DeepDPMConfig) -> bool:
    """Whether a fit begins with EM and moves: the default, unless K is fixed."""
    return config.start == "mixture" and config.fixed_k is None


def resume_search(
    sample: np.ndarray,
    moments: FeatureMoments,
    state: MixtureState,
    config: DeepDPMConfig,
    seed: int,
) -> MixtureSearch:
    """Returns a search over a sample that judges moves as the search of the fit did.

    Args:
        sample: `[n, D]` features.
        moments: moments with the number of points that the model's prior is for.
        state: state of the model.
        config: settings of the model.
        seed: random seed of the model.
    """
    features, settings = _search_inputs(sample, moments, state.preprocessing, config)
    settings = dataclasses.replace(settings, covariance=state.covariance)
    points = features[:, : state.preprocessing.num_leading]
    search = MixtureSearch.resumed(
        points, settings, seed, state.prior, state.num_components, moments.num_points
    )
    return search.with_features(features)


def _search_inputs(
    sample: np.ndarray,
    moments: FeatureMoments,
    preprocessing: Preprocessing,
    config: DeepDPMConfig,
) -> tuple[np.ndarray, SearchSettings]:
    """Features `[n, D]` of the points that count and settings of a search in the leading ones.

    Copies of a point are no evidence for a tight cluster, so each counts once, unless there are few
    values. Arguments are those of `initialize_mixture`; `sample` is `[N, D]` features.
    """
    counted = sample if preprocessing.counts_copies else np.unique(sample, axis=0)
    dim = preprocessing.num_leading or counted.shape[1]
    fixed_scale = None
    if config.prior != "auto":
        fixed_scale = prior_from_moments(moments, preprocessing, config, 1).scale.numpy()
    df = dim + 2.0 if config.df is None else config.df
    rounding = preprocessing.rounding
    return counted, SearchSettings(config, df, config.covariance, fixed_scale, rounding)
