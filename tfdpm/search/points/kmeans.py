"""K-means: of all points, and within many groups at once."""

from __future__ import annotations

import math
import threading
import warnings

import numpy as np
import scipy.spatial.distance
import sklearn.cluster
import sklearn.exceptions
from sklearn.decomposition import PCA

from tfdpm.threads import THREADS, map_in_threads

_MOST_QUERIES = 200  # points whose neighbours say whether points come in clumps
_GAP = 0.5  # least fall of the growth from clumps to beyond them, as a share of its peak
_TILES_AT_ONCE = 160  # 5,120 points: of fewer, threads take longer to begin than to multiply
_LOCK = threading.Lock()
_TILE_ROWS = 32  # of the tiles into which `grouped_kmeans` divides groups


def kmeans_labels(
    features: np.ndarray,
    num_clusters: int,
    seed: int,
    max_iterations: int = 100,
    num_starts: int = 1,
) -> np.ndarray:
    """Labels `[N]` of K-means, numbered without gaps; fewer clusters if points coincide.

    Of several starts the most compact clusters are kept. The same seed gives the same labels.
    """
    if num_clusters == 1:
        return np.zeros(len(features), np.int32)
    estimator = sklearn.cluster.KMeans(
        num_clusters, n_init=num_starts, max_iter=max_iterations, random_state=seed
    )
    # One thread: as fast for samples, and sums do not depend on how threads divide the points.
    # One call at a time, since warnings are caught for all threads of the program.
    with _LOCK, THREADS.limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        labels = estimator.fit_predict(features)
    return np.unique(labels, return_inverse=True)[1].ravel().astype(np.int32)


def clump_cells(points: np.ndarray, seed: int, fewest: int) -> np.ndarray | None:
    """K-means cells `[n]`, one or more for each clump that points come in; `None` for few clumps.

    Clumps of a grid are round where the points have unit variance in every direction. In units in
    which wrong clusters were round, gaps between them vanish. So both are looked at.

    Args:
        points: `[n, D]`.
        seed: random seed.
        fewest: number of clumps that is worth cells.
    """
    if not np.ptp(points, axis=0).any():  # which has no unit
        return None
    views = points, PCA(whiten=True).fit_transform(points)
    counts = [num_clumps(view, seed) for view in views]
    most = max(counts)
    if most < fewest:
        return None
    return kmeans_labels(views[counts.index(most)], min(most, len(points) // 8), seed)


def num_clumps(points: np.ndarray, seed: int) -> int:
    """About how many clumps of equal size the points come in; 1 for none.

    Within a clump, and again far beyond it, the number of neighbours grows with the radius to the
    power of the dimension. Between, a sphere has to reach the next clump before it holds more.
    `seed` chooses those of `points [n, D]` whose neighbours are counted.
    """
    num_points = len(points)
    ranks = 2 ** np.arange(2, max(3, int(np.log2(num_points / 4)) + 1))
    if len(ranks) < 4:
        return 1
    generator = np.random.default_rng([seed, 15])
    queries = points[generator.permutation(num_points)[:_MOST_QUERIES]]
    squares = scipy.spatial.distance.cdist(queries, points, "sqeuclidean")
    nearest = np.partition(squares, ranks, axis=1)[:, ranks]
    radii = np.log(np.maximum(nearest, np.finfo(np.float64).tiny))
    # How much radii grow while the number of neighbours becomes four times as large.
    growth = np.median(radii[:, 2:] - radii[:, :-2], axis=0)
    peak = int(growth.argmax())
    has_gap = growth[peak:].min() < _GAP * growth[peak]
    return max(1, num_points // int(ranks[1 + peak])) if has_gap else 1


def grouped_kmeans(
    points: np.ndarray,
    starts: np.ndarray,
    num_clusters: int,
    generator: np.random.Generator,
    max_iterations: int,
) -> np.ndarray:
    """K-means within many groups of points at once.

    Lloyd's iterations start from greedy k-means++ centres ([Arthur and Vassilvitskii 2007]). Each
    group is laid out in tiles of equal height. One stack of small matrix products then serves all
    groups, whatever their number and sizes.

    Args:
        points: `[n, D]` float64, group by group.
        starts: `[G + 1]` first row of each group, and n; no group is empty.
        num_clusters: number of clusters S in each group.
        generator: generator of the initial centres.
        max_iterations: largest number of iterations.

    Returns:
        Cluster `[n]` within its group of each point, in [0, S). Clusters may be empty.
    """
    tiles = _Tiles(points, starts)
    centres = _greedy_centres(tiles, num_clusters, generator)
    is_own: np.ndarray | None = None
    for _ in range(max_iterations):
        previous, nearness = is_own, tiles.nearness(centres)
        # Of a point between two equal centres both get a share, which leaves them equal.
        is_own = nearness == nearness.max(axis=1, keepdims=True)
        if previous is not None and np.array_equal(previous, is_own):
            break
        weights = np.where(tiles.is_point[:, np.newaxis, :], is_own, 0.0)
        counts = tiles.group_sums(weights.sum(axis=2))[..., np.newaxis]
        sums = tiles.group_sums(weights @ tiles.points)
        centres = np.where(counts > 0, sums / np.maximum(counts, 1.0), centres)
    return np.asarray(np.take(nearness.argmax(axis=1), tiles.places))


class _Tiles:
    """Points of G groups in T tiles of B rows each; the last rows of a group may be empty.

    Attributes:
        points: `[T, B, D]`, zeros where there is none.
        is_point: `[T, B]` bool.
        owners: `[T]` group of each tile.
        places: `[n]` row of each point among the `T B` rows.
        squares: `[T, B]` squared norms.
    """

    def __init__(self, points: np.ndarray, starts: np.ndarray):
        sizes = np.diff(starts)
        counts = -(-sizes // _TILE_ROWS)
        self._first_tiles = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.owners = np.repeat(np.arange(len(sizes)), counts)
        self.first_rows = self._first_tiles * _TILE_ROWS
        self.sizes = sizes
        shifts = self.first_rows - starts[:-1]
        self.places = np.arange(len(points)) + np.repeat(shifts, sizes)
        num_tiles = int(counts.sum())
        padded = np.zeros((num_tiles * _TILE_ROWS, points.shape[1]))
        padded[self.places] = points
        self.points = padded.reshape(num_tiles, _TILE_ROWS, -1)
        is_point = np.zeros(num_tiles * _TILE_ROWS, bool)
        is_point[self.places] = True
        self.is_point = is_point.reshape(num_tiles, _TILE_ROWS)
        self.squares = np.einsum("tbd,tbd->tb", self.points, self.points)

    def nearness(self, centres: np.ndarray) -> np.ndarray:
        """`x^T c - |c|^2 / 2` of every row with the centres `[G, S, D]` of its group, `[T, S, B]`.

        Largest for the nearest centre: half of `|x|^2 - |x - c|^2`.
        """
        constants = 0.5 * np.einsum("gsd,gsd->gs", centres, centres)
        num_tiles, num_rows, _ = self.points.shape
        products = np.empty((num_tiles, centres.shape[1], num_rows))

        def multiply(start: int) -> None:
            some = slice(start, start + _TILES_AT_ONCE)
            own = self.owners[some]
            np.matmul(centres[own], np.swapaxes(self.points[some], 1, 2), out=products[some])
            products[some] -= constants[own][..., np.newaxis]

        map_in_threads(multiply, range(0, num_tiles, _TILES_AT_ONCE))
        return products

    def squared_distances(self, centres: np.ndarray) -> np.ndarray:
        """Distances to the centres `[G, S, D]` of the row's group, `[T, S, B]`; 0 for no point."""
        distances = self.squares[:, np.newaxis, :] - 2.0 * self.nearness(centres)
        return np.where(self.is_point[:, np.newaxis, :], np.maximum(distances, 0.0), 0.0)

    def group_sums(self, values: np.ndarray) -> np.ndarray:
        """Sums `[G, ...]` over the tiles of each group of `values [T, ...]`."""
        return np.add.reduceat(values, self._first_tiles, axis=0)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Points by row, `[..., D]`."""
        return np.take(self.points.reshape(-1, self.points.shape[-1]), index, axis=0)


def _greedy_centres(tiles: _Tiles, num_clusters: int, generator: np.random.Generator) -> np.ndarray:
    """k-means++ centres `[G, S, D]`: the best one of a few candidates each."""
    num_groups = len(tiles.sizes)
    num_candidates = 2 + int(math.log(num_clusters))
    last_rows = tiles.first_rows + tiles.sizes - 1
    first = tiles.first_rows + (generator.uniform(size=num_groups) * tiles.sizes).astype(int)
    centres = [tiles.rows(np.minimum(first, last_rows))]
    closest = tiles.squared_distances(centres[0][:, np.newaxis])[:, 0]
    for _ in range(1, num_clusters):
        # One cumulative sum over all groups; each draws within its own part of it.
        cumulative = np.cumsum(closest)
        ends = cumulative[last_rows]
        begins = np.concatenate([[0.0], ends[:-1]])
        uniforms = generator.uniform(size=(num_groups, num_candidates))
        draws = begins[:, np.newaxis] + uniforms * (ends - begins)[:, np.newaxis]
        drawn = np.searchsorted(cumulative, draws)
        drawn = np.clip(drawn, tiles.first_rows[:, np.newaxis], last_rows[:, np.newaxis])
        candidates = tiles.rows(drawn)
        distances = np.minimum(tiles.squared_distances(candidates), closest[:, np.newaxis])
        best = tiles.group_sums(distances.sum(axis=2)).argmin(axis=1)
        centres.append(candidates[np.arange(num_groups), best])
        closest = distances[np.arange(len(distances)), best[tiles.owners]]
    return np.stack(centres, axis=1)
