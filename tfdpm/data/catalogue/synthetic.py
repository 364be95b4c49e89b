"""Gaussian mixtures with known truth, seeded: points to cluster and the components they came from.

Nothing here is downloaded or fitted; real data sets are in `datasets.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfdpm import checks

__all__ = ["blobs", "gaussian_mixture", "gaussians15"]

_PLACEMENT_TRIES = 200  # draws of one mean before the box is enlarged
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
    """Points of a random Gaussian mixture and the component that each was drawn from.

    On the line through the means of any two components, the means lie at least
    `separation * (std_a + std_b)` apart, the standard deviations being those along that line. So
    a hyperplane exists beyond which at most a share `Phi(-separation)` of either component lies:
    2.3 % at 2, 0.13 % at 3, 0.003 % at 4.

    Args:
        num_components: K, from 1 to `num_points`.
        dim: D, >= 1.
        num_points: N. Component sizes are fixed by the arguments, not drawn.
        imbalance: size of the largest component over that of the smallest, >= 1; sizes between
            them follow a geometric series, and every component has at least one point.
        separation: smallest separation as above, in standard deviations, >= 0.
        anisotropy: largest over smallest standard deviation that a component may have along its
            own axes, >= 1; 1 makes every component a unit sphere. The axes are random.
        seed: seed of everything random, >= 0.
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

    factors = _covariance_factors(num_components, dim, anisotropy, rng)
    means = _separated_means(factors, separation, rng)
    sizes = rng.permutation(_component_sizes(num_components, num_points, imbalance))
    labels = rng.permutation(np.repeat(np.arange(num_components), sizes))
    noise = rng.standard_normal((num_points, dim))
    points = means[labels]
    for k, factor in enumerate(factors):
        own = labels == k
        points[own] += noise[own] @ factor.T
    return points.astype(np.float32), labels.astype(np.int64)


def gaussians15(seed: int = 0) -> Labelled:
    """The authors' demonstration: 10,000 points of 15 Gaussians in the plane, `([N, 2], [N])`."""
    return gaussian_mixture(15, 2, 10_000, separation=3.0, seed=seed)


def blobs(seed: int = 0) -> Labelled:
    """A first thing to try: 1,500 points of five round, well separated blobs, `([N, 2], [N])`."""
    return gaussian_mixture(5, 2, 1500, anisotropy=1.0, seed=seed)


def _covariance_factors(
    num_components: int, dim: int, anisotropy: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`[K, D, D]` matrices F with covariances F F': random axes, spreads around 1."""
    axes, _ = np.linalg.qr(rng.standard_normal((num_components, dim, dim)))
    spreads = anisotropy ** rng.uniform(-0.5, 0.5, (num_components, 1, dim))
    return axes * spreads


def _component_sizes(num_components: int, num_points: int, imbalance: float) -> NDArray[np.int64]:
    """`[K]` sizes in a geometric series, summing to `num_points`, each at least 1."""
    shares = imbalance ** -np.linspace(0.0, 1.0, num_components)
    cumulative = np.cumsum(shares) / shares.sum()
    sizes = np.diff(np.rint(cumulative * num_points), prepend=0.0)
    if sizes.min() < 1:  # too few points for the imbalance: give each its one point first
        sizes = 1 + np.diff(np.rint(cumulative * (num_points - num_components)), prepend=0.0)
    return sizes.astype(np.int64)


def _separated_means(
    factors: NDArray[np.float64], separation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`[K, D]` means by rejection in a box, enlarged whenever a mean finds no place in it."""
    num_components, dim, _ = factors.shape
    side = 2.0 * max(separation, 1.0)
    while True:
        means = np.empty((num_components, dim))
        for k in range(num_components):
            for _ in range(_PLACEMENT_TRIES):
                means[k] = rng.uniform(-side / 2, side / 2, dim)
                if np.all(_separations(means[: k + 1], factors[: k + 1]) >= separation):
                    break
            else:
                break
        else:
            return means
        side *= _BOX_GROWTH


def _separations(means: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[K - 1]` separations of the last component from each other one; see `gaussian_mixture`."""
    offsets = means[:-1] - means[-1]
    distances = np.linalg.norm(offsets, axis=1)
    lines = offsets / np.maximum(distances, np.finfo(np.float64).tiny)[:, np.newaxis]
    own = np.linalg.norm(lines @ factors[-1], axis=1)
    other = np.linalg.norm(np.einsum("kd,kde->ke", lines, factors[:-1]), axis=1)
    return distances / (own + other)
