"""The initial mixture of a fit: prior and components before any network has learned."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import (
    FeatureMoments,
    Preprocessing,
    feature_moments,
    fit_preprocessing,
)
from tfdpm.features.skewness import (
    compress,
    fit_logs,
    has_density,
    has_skewed_columns,
    log_slopes,
)
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters, as_tensors
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.moves.ledger import MoveCounts
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.model_selection import select_search
from tfdpm.search.points.groups import distinct_rows, without_gaps
from tfdpm.search.points.kmeans import kmeans_labels
from tfdpm.search.points.sample import Sample
from tfdpm.search.prior import SearchSettings, categories_of, prior_from_moments
from tfdpm.search.state import MixtureState, estimate_mixture
from tfdpm.search.t_refinement import refine_mixture
from tfdpm.search.whitened_search import SearchResult, partition_evidence, search_whitened
from tfdpm.threads import map_in_threads

# Where clusters touch, the K that a search ends with varies with its sample. Of two searches the
# smaller K is the one that both samples support.
_NUM_SAMPLES = 2
# With fewer points per cluster in a sample, the search goes on in both samples together.
_FEW_POINTS = 50

# Tables of more columns are not looked at for skewed ones.
_MOST_COLUMNS = 50
# Gain in evidence by logarithms below which columns stay as they are, nats per point. One skewed
# column gains 0.15 or more where it was cut into pieces. Half or twice changes no K of such draws.
_LEAST_LOG_GAIN = 0.05


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


class _Given(NamedTuple):
    """What a search begins with; see `initialize_mixture`."""

    raw: np.ndarray
    moments: FeatureMoments
    config: DeepDPMConfig
    seed: int


class StartedSearch(NamedTuple):
    """A search in leading features that has ended, but has not been settled.

    Attributes:
        result: what the search found in the leading features.
        settings: of the search.
        preprocessing: map that may go to further features than the leading ones.
    """

    result: SearchResult
    settings: SearchSettings
    preprocessing: Preprocessing

    def labels(self, raw: np.ndarray) -> np.ndarray:
        """Components `[n]`, numbered without gaps, of raw inputs `[n, D_in]`."""
        return _labels_of(self.result, raw)


def initialize_mixture(
    raw: np.ndarray,
    moments: FeatureMoments,
    preprocessing: Preprocessing,
    config: DeepDPMConfig,
    seed: int,
    *,
    takes_logs: bool = True,
    started: StartedSearch | None = None,
) -> InitialMixture:
    """Finds the prior and the initial mixture of a fit.

    Args:
        raw: `[n, D_in]` raw inputs, at most `num_initial_points` of them.
        moments: moments of all raw inputs (of normalised rows where those are used).
        preprocessing: map from raw inputs to features that the moments alone suggest.
        config: settings of the fit.
        seed: random seed; the same seed gives the same mixture.
        takes_logs: whether skewed columns may be replaced by their logarithms, as in a table.
        started: what `start_search` made of the same arguments; `None` starts a search here.
    """
    if not (uses_search(config) and _has_open_prior(config)):
        preprocessing = preprocessing.leading()
    if not uses_search(config):
        features = preprocessing.transform(raw)
        # The paper's: K-means, then MAP estimates ([DeepDPM] section 4.1).
        prior = prior_from_moments(moments, preprocessing, config, config.start_clusters)
        structure = "full" if config.covariance == "auto" else config.covariance
        labels = kmeans_labels(features, config.start_clusters, seed)
        statistics = accumulate_hard(tf.constant(features), tf.constant(labels), labels.max() + 1)
        parameters = estimate_mixture(statistics, prior, structure, config)
        return InitialMixture(prior, parameters, None, statistics, structure, None, preprocessing)
    given = _Given(raw, moments, config, seed)
    result = _settle(given, started or _start_search(given, preprocessing))
    if takes_logs and _leaves_features(config) and raw.shape[1] <= _MOST_COLUMNS:
        result = _search_logs(given, result)
    search, labels, parameters, used = result
    multiple = moments.num_points / len(search.points)
    # One variance for all axes would be that of the leading ones.
    has_axes = used.num_leading is not None and search.covariance != "spherical"
    prior, t_mixture = search.prior.partition_prior(multiple).as_niw(), None
    if not has_axes:
        used = used.leading()
        search = search.with_features(search.points)
    has_tails = config.has_tails and search.settings.categories is None
    if has_axes or has_tails:
        prior, labels, parameters, t_mixture = refine_mixture(search, labels, multiple, has_tails)
        t_mixture = None if t_mixture is None else as_tensors(t_mixture)
    sample = Sample(search.features, used.rounding, search.settings.categories)
    statistics = sample.hard_statistics(labels, parameters.num_components).map(tf.constant)
    parameters = as_tensors(parameters)
    return InitialMixture(prior, parameters, t_mixture, statistics, search.covariance, search, used)


def start_search(
    raw: np.ndarray,
    moments: FeatureMoments,
    preprocessing: Preprocessing,
    config: DeepDPMConfig,
    seed: int,
) -> StartedSearch:
    """The first part of `initialize_mixture`, of the same arguments, where there is a search.

    It takes a small share of the whole time and finds nearly the same clusters.
    """
    if not _has_open_prior(config):
        preprocessing = preprocessing.leading()
    return _start_search(_Given(raw, moments, config, seed), preprocessing)


def _start_search(given: _Given, preprocessing: Preprocessing) -> StartedSearch:
    raw, moments, config, seed = given
    preprocessing = preprocessing.with_resolution(raw)
    features, settings = _search_inputs(
        preprocessing.transform(raw), moments, preprocessing, config
    )
    result = _search_samples(features, settings, preprocessing.leading(), config, seed)
    return StartedSearch(result, settings, preprocessing)


def _settle(given: _Given, started: StartedSearch) -> SearchResult:
    """Searches again where clusters overlap, and settles what was found.

    The result's map may go to further features than the leading ones that it is about.
    """
    raw, moments, config, seed = given
    result, settings, preprocessing = started
    if config.splits and config.merges:
        found = result.search.find_clumps(result.labels, result.parameters)
        result = result._replace(labels=found[0], parameters=found[1])
    leading = result.preprocessing
    if _leaves_features(config) and settings.categories is None:
        result = search_whitened(result, raw[_sample_rows(given)], moments, settings, seed)
    search, labels, parameters, used = result
    labels, parameters = search.settle(labels, parameters)
    return SearchResult(search, labels, parameters, preprocessing if used is leading else used)


def _search_logs(given: _Given, plain: SearchResult) -> SearchResult:
    """Searches with logarithms of skewed columns, if there are any; returns the better result.

    What counts is the evidence of the raw columns, since clusters make a column skewed as well.
    `plain` is the result of the search without logarithms.
    """
    raw, moments, config, seed = given
    rows = distinct_rows(raw[_sample_rows(given)])
    labels = _labels_of(plain, rows)
    # Within clusters that overlap, columns say nothing: they may be pieces of a skewed one.
    are_pieces = plain.search.has_overlap(plain.parameters)
    if not has_skewed_columns(rows, np.zeros_like(labels) if are_pieces else labels):
        return plain
    no_logs = np.full(raw.shape[1], np.inf)
    best, best_score = plain, _raw_evidence(rows, labels, no_logs, config, seed) + _LEAST_LOG_GAIN
    # Clusters may be what makes columns skewed, or pieces that skewed columns were cut into.
    logs = [fit_logs(rows, start) for start in (np.zeros_like(labels), labels)]
    for log_scales, log_origins in np.unique(logs, axis=0):
        log_scales = np.where(moments.is_flag, np.inf, log_scales)
        log_origins = np.where(moments.is_flag, 0.0, log_origins)
        if np.isinf(log_scales).all():
            continue
        result = _search_with_logs(given, log_scales, log_origins)
        # Logarithms are to undo cuts. Where they stretch what is small, clusters may multiply.
        if result.parameters.num_components > plain.parameters.num_components:
            continue
        own, shifted = _labels_of(result, rows), rows - log_origins
        score = _raw_evidence(shifted, own, log_scales, config, seed)
        # Clusters that stand apart are no pieces of a skewed one. Under the same logarithms, they
        # may explain the points better still than those that a search of these found.
        is_worse = not are_pieces and score < _raw_evidence(
            shifted, labels, log_scales, config, seed
        )
        if score > best_score and not is_worse:
            best, best_score = result, score
    return best


def _search_with_logs(
    given: _Given, log_scales: np.ndarray, log_origins: np.ndarray
) -> SearchResult:
    """Searches logarithms of these scales and origins `[D_in]`, from a fresh start."""
    is_flag = given.moments.is_flag
    compressed = compress(given.raw.astype(np.float64) - log_origins, log_scales)
    # Logarithms have no units, so no column keeps its own.
    deviations = np.where(is_flag, 1.0, compressed.std(axis=0))
    units = np.where(np.isfinite(log_scales), log_scales, np.where(deviations > 0, deviations, 1.0))
    compressed /= units
    # Raw inputs are a fair sample of all points.
    moments = feature_moments(compressed)._replace(
        num_points=given.moments.num_points, variables=given.moments.variables
    )
    preprocessing = fit_preprocessing(
        moments, given.config.preprocessing, keeps_flags=models_categories(given.config)
    )
    given = given._replace(raw=compressed, moments=moments)
    result = _settle(given, _start_search(given, preprocessing))
    used = result.preprocessing.after_logs(log_scales, log_origins, units)
    return result._replace(preprocessing=used)


def _labels_of(result: SearchResult, rows: np.ndarray) -> np.ndarray:
    """Clusters `[n]`, none of them empty, of raw `rows [n, D_in]`."""
    features = result.preprocessing.leading().transform(rows).astype(np.float64)
    categories = result.search.settings.categories
    labels = Sample(features, categories=categories).labels(result.parameters)
    return without_gaps(labels)[1]


def _raw_evidence(
    rows: np.ndarray, labels: np.ndarray, log_scales: np.ndarray, config: DeepDPMConfig, seed: int
) -> float:
    """Evidence of a partition of raw `rows [n, D_in]` by their logarithms, nats per point.

    At least one column has a density.
    """
    points = compress(rows.astype(np.float64), log_scales)
    slopes = log_slopes(points, log_scales).sum(axis=1).mean()
    # A cluster on one frequent value would have any density, and so any evidence.
    points = points[:, [has_density(column) for column in rows.T]]
    settings = SearchSettings(config, points.shape[1] + 2.0)
    return partition_evidence(points, labels, settings, seed) + float(slopes)


def _sample_rows(given: _Given) -> np.ndarray:
    """Indices of at most `max_start_points` points, in their order."""
    order = np.random.default_rng([given.seed, 8]).permutation(len(given.raw))
    return np.sort(order[: given.config.max_start_points])


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

    def search_part(part: np.ndarray) -> SearchResult:
        points = part[:, : leading.feature_dim]
        search, labels, parameters = select_search(points, settings, seed, config.start_clusters)
        return SearchResult(search.with_features(part), labels, parameters, leading)

    results: list[SearchResult] = map_in_threads(search_part, parts)
    best = min(results, key=lambda result: result.parameters.num_components)
    if len(results) > 1 and best.parameters.num_components * _FEW_POINTS > size:
        points = features[:, : leading.feature_dim]
        search = MixtureSearch(points, best.search.settings, seed)
        search = search.with_prior_weight(best.search.prior.extra_df)
        labels = without_gaps(search.sample.labels(best.parameters))[1]
        search.fit_scale_to(labels)
        best = SearchResult(search.with_features(features), *search.run_from(labels), leading)
        results.append(best)
    moves = sum((result.search.moves for result in results), MoveCounts())
    return best._replace(search=best.search.with_moves(moves))


def _leaves_features(config: DeepDPMConfig) -> bool:
    """Whether features other than those asked for may be searched."""
    leaves_moves = config.covariance in ("auto", "full") and config.splits and config.merges
    return config.preprocessing == "auto" and _has_open_prior(config) and leaves_moves


def models_categories(config: DeepDPMConfig) -> bool:
    """Whether flags of categories have a likelihood of their own rather than that of numbers."""
    is_full = config.covariance in ("auto", "full") and config.prior_in_m_step
    is_open = uses_search(config) and _has_open_prior(config)
    return is_open and is_full and config.preprocessing == "auto"


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
        state, config, seed: of the model.
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
    counted = sample if preprocessing.counts_copies else distinct_rows(sample)
    dim = preprocessing.num_leading or counted.shape[1]
    fixed_scale = None
    if config.prior != "auto":
        of_prior_points = config.replace(prior_points=None)
        fixed_scale = prior_from_moments(moments, preprocessing, of_prior_points, 1).scale.numpy()
    df = dim + 2.0 if config.df is None else config.df
    rounding = preprocessing.rounding
    categories = categories_of(preprocessing)
    # Spherical and diagonal covariances are of columns that are all numbers.
    covariance = config.covariance if categories is None else "full"
    settings = SearchSettings(config, df, covariance, fixed_scale, rounding, categories)
    return counted, settings
