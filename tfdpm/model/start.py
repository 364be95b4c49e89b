"""The first mixture of a fit: from K-means, as in the paper, or from EM with moves."""

from __future__ import annotations

import numpy as np
import sklearn.cluster
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, m_step
from tfdpm.mixture.prior import automatic_scale, prior_from_moments
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard
from tfdpm.model.preprocessing import FeatureMoments, Preprocessing

_KMEANS_MAX_ITERATIONS = 100


def kmeans_labels(features: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Labels `[N]` of K-means; fewer clusters where there are fewer distinct points."""
    if num_clusters == 1:
        return np.zeros(len(features), np.int32)
    distinct = len(np.unique(features, axis=0)) if len(features) < 50_000 else num_clusters
    estimator = sklearn.cluster.KMeans(
        min(num_clusters, distinct), n_init=1, max_iter=_KMEANS_MAX_ITERATIONS, random_state=seed
    )
    labels = estimator.fit_predict(features)
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)


def kmeans_start(
    features: np.ndarray, prior: niw.NIWParameters, config: DeepDPMConfig, seed: int
) -> tuple[MixtureParameters, SufficientStatistics]:
    """[DeepDPM] section 4.1: K-means with the initial K, then MAP estimates.

    Returns:
        The mixture and the hard statistics behind it.
    """
    labels = kmeans_labels(features, config.start_clusters, seed)
    statistics = accumulate_hard(tf.constant(features), tf.constant(labels), int(labels.max()) + 1)
    parameters = m_step(
        statistics,
        prior if config.prior_in_m_step else None,
        concentration=config.weight_concentration,
        denominator=config.map_denominator,
        weight_rule=config.weight_rule,
    )
    return parameters, statistics


def first_mixture(
    features: np.ndarray,
    moments: FeatureMoments,
    preprocessing: Preprocessing,
    config: DeepDPMConfig,
    seed: int,
) -> tuple[niw.NIWParameters, MixtureParameters, SufficientStatistics]:
    """Prior and first mixture of a fit.

    Args:
        features: `[N, D]` float32 sample.
        moments: of all raw inputs.
        preprocessing: raw inputs -> features.
        config: settings.
        seed: of K-means.

    Returns:
        Prior, mixture, and the statistics behind the mixture.
    """
    mean = (moments.mean - preprocessing.mean) @ preprocessing.projection
    covariance = preprocessing.projection.T @ moments.covariance @ preprocessing.projection
    scale = config.prior_scale
    if config.prior == "auto":
        scale *= max(1.0, automatic_scale(moments.num_points, 10, preprocessing.feature_dim))
    prior = prior_from_moments(
        mean,
        covariance,
        kind=config.prior,
        scale=scale,
        mean_precision=config.mean_precision,
        df=config.df,
        scale_times_df=config.scale_times_df,
    )
    return prior, *kmeans_start(features, prior, config, seed)
