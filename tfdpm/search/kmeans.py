"""The K-means start of the paper. The default's start, EM with moves, is in `search.py`."""

from __future__ import annotations

import warnings

import numpy as np
import sklearn.cluster
import sklearn.exceptions
import tensorflow as tf
import threadpoolctl

from tfdpm.config import DeepDPMConfig
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, m_step
from tfdpm.mixture.statistics import SufficientStatistics, accumulate_hard

_KMEANS_MAX_ITERATIONS = 100
THREADS = threadpoolctl.ThreadpoolController()


def kmeans_labels(
    features: np.ndarray,
    num_clusters: int,
    seed: int,
    max_iterations: int = _KMEANS_MAX_ITERATIONS,
) -> np.ndarray:
    """Labels `[N]` of K-means, numbered without gaps; fewer than asked if points coincide."""
    if num_clusters == 1:
        return np.zeros(len(features), np.int32)
    estimator = sklearn.cluster.KMeans(
        num_clusters, n_init=1, max_iter=max_iterations, random_state=seed
    )
    # One thread: as fast for samples, and sums do not depend on how threads divide the points.
    with THREADS.limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        labels = estimator.fit_predict(features)
    return np.unique(labels, return_inverse=True)[1].ravel().astype(np.int32)


def kmeans_start(
    features: np.ndarray,
    prior: niw.NIWParameters,
    covariance: str,
    config: DeepDPMConfig,
    seed: int,
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
        covariance=covariance,
    )
    return parameters, statistics
