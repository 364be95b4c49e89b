"""Graphs of nearest neighbours and their layout in few dimensions, [UMAP], on one thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse
import sklearn.neighbors

NUM_NEIGHBOURS = 15  # as in [UMAP]; 10 to 25 give much the same
_NEGATIVES = 5  # points that are pushed away for each one that is pulled, as in [UMAP]'s program
_LARGEST_STEP = 4.0  # along each axis, before the learning rate, as there


def neighbours(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the `count` nearest other points of each point of `x [N, D]`, exactly.

    Returns indices `[N, count]` int64 and distances float64, nearest first; copies are at zero.
    """
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=count, algorithm="brute").fit(x)
    distances, indices = search.kneighbors()
    return indices, distances.astype(np.float64)


def membership_graph(indices: np.ndarray, distances: np.ndarray) -> scipy.sparse.csr_matrix:
    """Computes the edges' weights `[N, N]` in [0, 1] of neighbours `[N, k]`, [UMAP] section 3.1."""
    # The membership of i in the neighbourhood of j is m_ij = exp(-(d_ij - rho_j) / sigma_j): rho_j
    # is the distance to the nearest neighbour, and sigma_j makes the memberships sum to log2 k. An
    # edge has the probability that it holds from either end, m_ij + m_ji - m_ij m_ji.
    num_points, count = indices.shape
    is_apart = distances > 0
    nearest = np.where(
        is_apart.any(axis=1), distances[np.arange(num_points), is_apart.argmax(1)], 0
    )
    beyond = np.maximum(distances - nearest[:, None], 0.0)
    low, high = np.zeros(num_points), np.full(num_points, np.inf)
    width = np.maximum(beyond.mean(axis=1), 1e-12)
    wanted = np.log2(count + 1.0)  # the point itself counts as one of them
    for _ in range(40):
        total = np.exp(-beyond / width[:, None]).sum(axis=1)
        high = np.where(total > wanted, width, high)
        low = np.where(total > wanted, low, width)
        width = np.where(np.isinf(high), 2 * width, (low + high) / 2)
    # Widths stay near the distances around them, also where points have many copies.
    width = np.maximum(width, 1e-3 * np.maximum(distances.mean(axis=1), 1e-12))
    weights = np.exp(-beyond / width[:, None])
    rows = np.repeat(np.arange(num_points), count)
    one_way = scipy.sparse.csr_matrix(
        (weights.ravel(), (rows, indices.ravel())), shape=(num_points, num_points)
    )
    other_way = one_way.T.tocsr()
    return (one_way + other_way - one_way.multiply(other_way)).tocsr()


def modularity(indices: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Computes edges within clusters less those of chance, [Reichardt and Bornholdt 2006].

    Edges lead to neighbours `[N, k]`. Less than one of `resolution`, the multiple of what chance
    gives, is for fewer, larger clusters.
    """
    # Q = sum_c (e_cc - r a_c b_c): e_cc is the share of edges within c, a_c and b_c those of edges
    # that begin and end there.
    begins = np.bincount(labels) / len(labels)
    ends = np.bincount(labels[indices].ravel(), minlength=len(begins)) / indices.size
    return float((labels[indices] == labels[:, np.newaxis]).mean() - resolution * begins @ ends)


def closeness_curve(min_dist: float) -> tuple[float, float]:
    """Fits `(a, b)` of the membership `1 / (1 + a d^(2 b))` in the layout, [UMAP] definition 11.

    The target is one up to `min_dist` and then falls as `exp(min_dist - d)`.
    """
    distance = np.linspace(0.0, 3.0, 300)
    wanted = np.exp(-np.maximum(distance - min_dist, 0.0))
    (a, b), _ = scipy.optimize.curve_fit(
        lambda d, a, b: 1.0 / (1.0 + a * d ** (2.0 * b)), distance, wanted
    )
    return float(a), float(b)


def layout(
    graph: scipy.sparse.csr_matrix,
    start: np.ndarray,
    *,
    epochs: int,
    seed: int = 0,
    on_epoch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Places points so that neighbours in the graph lie close and others apart, [UMAP] section 3.2.

    From the start `[N, d]`, stochastic gradient descent minimises the cross entropy of memberships
    in graph and layout. Edges are drawn by their weights, each with a few random points; steps
    shrink to zero. An epoch draws an edge of weight one once, and `on_epoch` is called with the
    numbers done and in all.
    """
    a, b = closeness_curve(min_dist=0.0)
    generator = np.random.default_rng([seed, 11])
    edges = graph.tocoo()
    share = edges.data / edges.data.max()
    is_kept = share >= 1.0 / epochs
    heads, tails, share = edges.row[is_kept], edges.col[is_kept], share[is_kept]
    places = np.array(start, np.float32)
    num_points = len(places)
    for epoch in range(epochs):
        rate = np.float32(1.0 - epoch / epochs)
        drawn = np.flatnonzero(generator.random(len(share)) < share)
        drawn = generator.permutation(drawn)
        # About one edge per point at once, so that steps of a point see each other.
        for part in np.array_split(drawn, max(1, len(drawn) // num_points)):
            others = generator.integers(num_points, size=(len(part), _NEGATIVES))
            _step(places, heads[part], tails[part], others, rate, a, b)
        if on_epoch is not None:
            on_epoch(epoch + 1, epochs)
    return places


def _step(places, heads, tails, others, rate, a: float, b: float) -> None:
    """Pulls the ends of edges together and pushes their heads from others, in place."""
    # Gradients with respect to a place, d = its distance to the other: pulled by
    # -2 a b d^(2b - 2) / (1 + a d^(2b)), pushed by 2 b / ((0.001 + d^2) (1 + a d^(2b))).
    count, starts = len(heads), places[heads]
    apart = starts - places[tails]
    squared = np.maximum(np.einsum("ed,ed->e", apart, apart), 1e-12)
    power = squared**b
    pull = (-2.0 * a * b) * power / squared / (1.0 + a * power)
    pulled = np.clip(pull[:, None] * apart, -_LARGEST_STEP, _LARGEST_STEP)

    pushed = np.zeros_like(pulled)
    for other in others.T:  # one of each edge at a time, which stays in the caches
        away = starts - places[other]
        squared = np.einsum("ed,ed->e", away, away)
        push = 2.0 * b / ((0.001 + squared) * (1.0 + a * squared**b))
        push[other == heads] = 0.0
        pushed += np.clip(push[:, None] * away, -_LARGEST_STEP, _LARGEST_STEP)

    rows = np.concatenate([heads, tails])
    moves = np.concatenate([pulled + pushed, -pulled]).astype(np.float32)
    total = scipy.sparse.coo_matrix(
        (np.ones(2 * count, np.float32), (rows, np.arange(2 * count))),
        shape=(len(places), 2 * count),
    )
    places += rate * (total @ moves)


def principal_start(x: np.ndarray, dim: int, seed: int) -> np.ndarray:
    """Returns initial places `[N, dim]`: scaled leading principal components with some noise."""
    generator = np.random.default_rng([seed, 12])
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    places = np.zeros((len(x), dim))
    if x.shape[1] > dim:
        covariance = centred.T @ centred
        size = x.shape[1]
        _, vectors = scipy.linalg.eigh(covariance, subset_by_index=[size - dim, size - 1])
        centred = centred @ vectors[:, ::-1]
    places[:, : centred.shape[1]] = centred
    places *= 10.0 / max(np.abs(places).max(), 1e-12)
    return (places + generator.normal(scale=1e-2, size=places.shape)).astype(np.float32)
