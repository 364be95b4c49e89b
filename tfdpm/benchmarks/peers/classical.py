"""Clustering methods of packages behind one signature, with one default for all data sets."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import NearestNeighbors

from tfdpm import checks

_SMALLEST_SHARE = 0.005  # of the points: HDBSCAN's smallest cluster


def k_means(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs K-means with the given K and keeps the best of 10 starts."""
    return KMeans(num_clusters, n_init=10, random_state=seed).fit_predict(x)


def gaussian_mixture(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs EM with full covariances and the given K, started from K-means."""
    # In float32 rounding outweighs what makes covariances of few points regular.
    x = np.asarray(x, np.float64)
    return GaussianMixture(num_clusters, random_state=seed).fit_predict(x)


def bayesian_gaussian_mixture(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Fits a variational Dirichlet-process mixture: at most 30 components and 500 iterations."""
    del num_clusters
    components = min(30, len(x))
    return BayesianGaussianMixture(
        n_components=components, max_iter=500, random_state=seed
    ).fit_predict(x)


def hdbscan(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs HDBSCAN with a smallest cluster of 0.5 % of the points, at least 5."""
    del num_clusters, seed  # the method is deterministic and finds its own K
    return HDBSCAN(min_cluster_size=_smallest_size(x), copy=True).fit_predict(x)


def package_hdbscan(x: np.ndarray, num_clusters: int, seed: int, *, package: str) -> np.ndarray:
    """Runs an optional package, `hdbscan` or `fast_hdbscan`, with the same smallest cluster."""
    del num_clusters, seed
    module = checks.import_optional(package, "peers", "peers")
    return module.HDBSCAN(min_cluster_size=_smallest_size(x)).fit_predict(x)


def _smallest_size(x: np.ndarray) -> int:
    return max(5, round(_SMALLEST_SHARE * len(x)))


def dbscan(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs DBSCAN with 2 D neighbours and the radius at the knee of the neighbour distances."""
    del num_clusters, seed  # the method is deterministic and finds its own K
    neighbours = min(2 * x.shape[1], len(x) - 1)
    radius = knee_radius(x, neighbours)
    # In copies of one point every neighbour is at distance 0, but a radius must be above it.
    return DBSCAN(eps=max(radius, 1e-12), min_samples=neighbours).fit_predict(x)


def evoc(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Runs EVoC with its package's defaults: 15 neighbours by cosine, the most persistent layer.

    The package of 2025 is for embeddings, and optional: `pip install 'tfdpm[peers]'`.
    """
    del num_clusters
    package = checks.import_optional("evoc", "peers", "peers")
    return package.EVoC(random_state=seed).fit_predict(np.asarray(x, np.float32))


def knee_radius(x: np.ndarray, neighbours: int) -> float:
    """Returns the distance at which the sorted distances to the k-th neighbour bend most.

    Ester et al. (1996) read it off a plot. Here it is the point farthest below the line from the
    smallest distance to the largest.

    Args:
        x: `[N, D]` points.
        neighbours: k, from 1 to N - 1.
    Returns:
        A distance in the units of `x`.
    """
    search = NearestNeighbors(n_neighbors=neighbours).fit(x)
    distances = np.sort(search.kneighbors()[0][:, -1])
    line = np.linspace(distances[0], distances[-1], len(distances))
    return float(distances[np.argmax(line - distances)])
