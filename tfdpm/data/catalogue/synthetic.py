"""Random Gaussian mixtures: points and the components from which they were drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks

_PLACEMENT_TRIES = 200  # draws of one mean before the box grows
_BOX_GROWTH = 1.1

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


def gaussian_mixture(
    num_components: int = 5,
    dim: int = 2,
    num_points: int = 10_000,
    *,
    imbalance: float = 1.0,
    separation: float = 4.0,
    anisotropy: float = 3.0,
    seed: int = 0,
) -> Labelled:
    """Draws points from a random Gaussian mixture.

    The means of two components lie at least `separation * (std_a + std_b)` apart, with the standard
    deviations along the line through the means. So a hyperplane exists beyond which at most a share
    `Phi(-separation)` of either component lies: 2.3 % at 2, 0.13 % at 3, 0.003 % at 4.

    Args:
        num_components: K, number of components, from 1 to `num_points`.
        dim: D, number of features, >= 1.
        num_points: N, number of points. The arguments fix the sizes of the components.
        imbalance: ratio of the largest to the smallest component, >= 1; the sizes are a geometric
            series, and every component has at least one point.
        separation: smallest separation as above, in standard deviations, >= 0.
        anisotropy: largest ratio of a component's standard deviations along its own axes, which are
            random, >= 1; 1 makes every component a unit sphere.
        seed: random seed, >= 0; the same seed gives the same points.
    Returns:
        `x` `[N, D]` float32 and `y` `[N]` int64 in `0..K-1`, in random order.
    Raises:
        ValueError: if an argument is out of range.
    """
    num_points = checks.integer(num_points, "num_points", minimum=1)
    num_components = checks.integer(num_components, "num_components", minimum=1, maximum=num_points)
    dim = checks.integer(dim, "dim", minimum=1)
    imbalance = checks.number(imbalance, "imbalance", minimum=1.0)
    separation = checks.number(separation, "separation", minimum=0.0)
    anisotropy = checks.number(anisotropy, "anisotropy", minimum=1.0)
    rng = np.random.default_rng(checks.integer(seed, "seed", minimum=0))

    # Matrices F `[K, D, D]` with covariances F F', random axes and spreads around 1.
    axes, _ = np.linalg.qr(rng.standard_normal((num_components, dim, dim)))
    factors = axes * anisotropy ** rng.uniform(-0.5, 0.5, (num_components, 1, dim))
    means = _draw_means(factors, separation, rng)
    sizes = rng.permutation(_compute_sizes(num_components, num_points, imbalance))
    labels = rng.permutation(np.repeat(np.arange(num_components), sizes))
    noise = rng.standard_normal((num_points, dim))
    points = means[labels]
    for k, factor in enumerate(factors):
        own = labels == k
        points[own] += noise[own] @ factor.T
    return points.astype(np.float32), labels.astype(np.int64)


def gaussians15(seed: int = 0) -> Labelled:
    """Draws the authors' demonstration: `x [10000, 2]` of 15 Gaussians, and `y [10000]`."""
    return gaussian_mixture(15, 2, 10_000, separation=3.0, seed=seed)


def blobs(seed: int = 0) -> Labelled:
    """Draws five round Gaussians that lie apart: `x [1500, 2]`, and their numbers `y [1500]`."""
    return gaussian_mixture(5, 2, 1500, anisotropy=1.0, seed=seed)


def _compute_sizes(num_components: int, num_points: int, imbalance: float) -> NDArray[np.int64]:
    """Returns sizes `[K]` in a geometric series, summing to `num_points`, each at least 1."""
    shares = imbalance ** -np.linspace(0.0, 1.0, num_components)
    cumulative = np.cumsum(shares) / shares.sum()
    sizes = np.diff(np.rint(cumulative * num_points), prepend=0.0)
    if sizes.min() < 1:  # too few points for the imbalance: each component gets one point first
        sizes = 1 + np.diff(np.rint(cumulative * (num_points - num_components)), prepend=0.0)
    return sizes.astype(np.int64)


def _draw_means(
    factors: NDArray[np.float64], separation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draws means `[K, D]` by rejection in a box, which grows where a mean finds no place."""
    num_components, dim, _ = factors.shape
    side = 2.0 * max(separation, 1.0)
    while True:
        means = np.empty((num_components, dim))
        for k in range(num_components):
            for _ in range(_PLACEMENT_TRIES):
                means[k] = rng.uniform(-side / 2, side / 2, dim)
                if np.all(_measure_separations(means[: k + 1], factors[: k + 1]) >= separation):
                    break
            else:
                break
        else:
            return means
        side *= _BOX_GROWTH


def _measure_separations(
    means: NDArray[np.float64], factors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns separations `[K - 1]` of the last component from each other one.

    |mean_a - mean_b| / (std_a + std_b), with standard deviations `|F' u|` along the unit vector u.
    """
    offsets = means[:-1] - means[-1]
    distances = np.linalg.norm(offsets, axis=1)
    lines = offsets / np.maximum(distances, np.finfo(np.float64).tiny)[:, np.newaxis]
    own = np.linalg.norm(lines @ factors[-1], axis=1)
    other = np.linalg.norm(np.einsum("kd,kde->ke", lines, factors[:-1]), axis=1)
    return distances / (own + other)
