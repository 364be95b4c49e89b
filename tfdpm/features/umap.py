"""Graphs of nearest neighbours and their layout in few dimensions, [UMAP]."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse
import scipy.stats
import tensorflow as tf

NUM_NEIGHBOURS = 15  # as in [UMAP]; 10 to 25 give much the same
_NEGATIVES = 5  # points that are pushed away for each one that is pulled, as in [UMAP]'s program
_LARGEST_STEP = 4.0  # along each axis, before the learning rate, as there
_GROUP = 64  # points that are pushed from the same others at once
_SPARE = 5  # candidates beyond the wanted neighbours, which rounding may have put in a wrong order
_VALUES_AT_ONCE = 2**22
_MEMBERS = 16  # of the groups whose maxima are looked at first; twice or half takes as long


def neighbours(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the `count` nearest other points of each point of `x [N, D]`, exactly.

    Returns indices `[N, count]` int64 and distances float64, nearest first; copies are at zero.
    """
    indices = np.empty((len(x), count), np.int64)
    distances = np.empty((len(x), count))
    mean, rows = x.mean(axis=0, dtype=np.float64), np.arange(len(x))
    for dtype in (np.float32, np.float64):
        points = np.empty((len(x), x.shape[1] + 1), dtype)
        np.subtract(x, mean, out=points[:, :-1], dtype=np.float64, casting="same_kind")
        points[:, -1] = np.einsum("nd,nd->n", points[:, :-1], points[:, :-1])
        indices[rows], distances[rows], is_sure = _nearest(points, x, rows, count)
        rows = rows[~is_sure]
        if not len(rows):
            break
    return indices, distances


def _nearest(
    points: np.ndarray, x: np.ndarray, rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours of some rows, their distances, and whether the digits of `points` suffice.

    Candidates come from products of `points [N, D + 1]`, which are `x` centred with squared norms
    in the last column; their distances do not.
    """
    num_points, dim = x.shape
    squares = points[:, -1]
    num_candidates = min(count + 1 + _SPARE, num_points)  # the point itself is one
    error = 4.0 * np.finfo(points.dtype).eps * np.sqrt(dim) * squares.max()
    at_once = max(1, _VALUES_AT_ONCE // max(num_points, num_candidates * dim))
    parts = []
    for part in np.split(rows, range(at_once, len(rows), at_once)):
        # 2 x.y - |y|^2 is largest where |x - y|^2 is least.
        own = 2.0 * points[part]
        own[:, -1] = -1.0
        closeness, candidates = _largest(own @ points.T, num_candidates)
        apart = x[candidates] - x[part, np.newaxis]
        squared = np.einsum("nkd,nkd->nk", apart, apart, dtype=np.float64)
        squared[candidates == part[:, np.newaxis]] = np.inf
        order = np.argsort(squared, axis=1, kind="stable")[:, :count]
        squared = np.take_along_axis(squared, order, axis=1)
        # All other points are at least as far as the last candidate, but for rounding.
        others = squares[part] - closeness[:, -1] - error
        is_sure = (others > squared[:, -1]) | (num_candidates == num_points)
        parts.append((np.take_along_axis(candidates, order, axis=1), np.sqrt(squared), is_sure))
    indices, distances, is_sure = map(np.concatenate, zip(*parts, strict=True))
    return indices, distances, is_sure


def _largest(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest of each row `[B, N]`, and their places, both `[B, count]`."""
    # They are among those of the groups with the largest maxima, which are soon found.
    num_rows, num_columns = values.shape
    width = num_columns // _MEMBERS
    if width < _MEMBERS * count:
        found = tf.math.top_k(values, count)
        return found.values.numpy(), found.indices.numpy()
    grouped = values[:, : _MEMBERS * width].reshape(num_rows, _MEMBERS, width)
    chosen = tf.math.top_k(grouped.max(axis=1), count).indices.numpy()[:, np.newaxis]
    places = (chosen + width * np.arange(_MEMBERS)[:, np.newaxis]).reshape(num_rows, -1)
    rest = np.tile(np.arange(_MEMBERS * width, num_columns), (num_rows, 1))
    places = np.concatenate([places, rest], axis=1)
    found = tf.math.top_k(np.take_along_axis(values, places, axis=1), count)
    return found.values.numpy(), np.take_along_axis(places, found.indices.numpy(), axis=1)


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


def separation(indices: np.ndarray, labels: np.ndarray, worth: float) -> float:
    """Computes the share of edges within clusters plus `worth` times their entropy, in nats.

    Edges lead to neighbours `[N, k]`. Two clusters of equal size are better one if more than
    `worth log 2` of their edges go between them, however many others there are.
    """
    shares = np.bincount(labels) / len(labels)
    within = (labels[indices] == labels[:, np.newaxis]).mean()
    return float(within + worth * scipy.stats.entropy(shares))


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
    in graph and layout. Edges are drawn by their weights, and points are pushed from random ones in
    proportion; steps shrink to zero. An epoch draws an edge of weight one once, and `on_epoch` is
    called with the numbers done and in all.
    """
    curve = closeness_curve(min_dist=0.0)
    generator = np.random.default_rng([seed, 11])
    num_points, dim = start.shape
    # In a random order, points that follow each other are a random group; the last one is filled
    # up with points that are neither moved nor drawn.
    order = generator.permutation(num_points)
    rank = np.argsort(order)
    places = np.zeros((-(-num_points // _GROUP), _GROUP, dim), np.float32)
    rows = places.reshape(-1, dim)
    rows[:num_points] = start[order]
    edges = graph.tocoo()
    share = (edges.data / edges.data.max()).astype(np.float32)
    is_kept = share >= 1.0 / epochs
    heads, tails, share = rank[edges.row[is_kept]], rank[edges.col[is_kept]], share[is_kept]
    # About one edge per point at once, so that steps of a point see each other.
    num_parts = max(1, int(share.sum()) // num_points)
    weights = np.bincount(heads, share, minlength=len(rows)).astype(np.float32) / num_parts
    weights = weights.reshape(*places.shape[:2], 1)
    # A second core, where there is one, pulls while the first one pushes.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for epoch in range(epochs):
            rate = np.float32(1.0 - epoch / epochs)
            drawn = np.flatnonzero(generator.random(len(share), np.float32) < share)
            part_of = generator.integers(num_parts, size=len(drawn))
            for part in range(num_parts):
                chosen = drawn[part_of == part]
                pulls = pool.submit(_pulls, rows, heads[chosen], tails[chosen], *curve)
                others = generator.integers(num_points, size=(len(places), _NEGATIVES))
                force = _pushes(places, weights, rows[others], *curve).reshape(-1, dim)
                force += pulls.result()
                rows += rate * force
            if on_epoch is not None:
                on_epoch(epoch + 1, epochs)
    return rows[rank]


def _pulls(places, heads, tails, a: float, b: float) -> np.ndarray:
    """Steps `[N, d]` of points at `places [N, d]` that edges pull together at both ends."""
    # The gradient at a place, d = its distance to the other: -2 a b d^(2b - 2) / (1 + a d^(2b)).
    apart = places.take(heads, axis=0) - places.take(tails, axis=0)
    squared = np.maximum(np.einsum("ed,ed->e", apart, apart), np.float32(1e-12))
    power = squared ** np.float32(b)
    apart *= (np.float32(-2.0 * a * b) * power / (squared * (1.0 + np.float32(a) * power)))[:, None]
    np.clip(apart, -_LARGEST_STEP, _LARGEST_STEP, out=apart)
    edges = np.arange(len(heads))
    signs = np.repeat(np.array([1.0, -1.0], np.float32), len(heads))
    ends = (np.concatenate([heads, tails]), np.concatenate([edges, edges]))
    total = scipy.sparse.coo_matrix((signs, ends), shape=(len(places), len(heads)))
    return total @ apart


def _pushes(places, weights, others, a: float, b: float) -> np.ndarray:
    """Steps `[G, n, d]` of groups of points that are pushed from `others [G, m, d]`, by weights.

    The weights are `[G, n, 1]`. A point that is one of its others is not pushed from itself.
    """
    # The gradient: 2 b / ((0.001 + d^2) (1 + a d^(2b))) times the difference. All distances, and
    # all sums of differences, are products of matrices.
    squared = places @ np.swapaxes(others, 1, 2)
    squared *= -2.0
    squared += np.einsum("gnd,gnd->gn", places, places)[:, :, None]
    squared += np.einsum("gmd,gmd->gm", others, others)[:, None, :]
    np.maximum(squared, 0.0, out=squared)
    push = squared ** np.float32(b)
    push *= np.float32(a)
    push += 1.0
    squared += np.float32(1e-3)
    push *= squared
    np.divide(np.float32(2.0 * b), push, out=push)
    longest = _LARGEST_STEP * np.sqrt(places.shape[-1], dtype=np.float32)
    np.minimum(push, longest / np.sqrt(squared), out=push)
    push *= weights
    return push.sum(axis=2, keepdims=True) * places - push @ others


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
