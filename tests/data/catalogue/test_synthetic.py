"""Mixtures have the sizes, separations and moments that their arguments promise."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.data import blobs, gaussian_mixture, gaussians15


def separations(x, y) -> list[float]:
    """Separation of each pair of components along the line of their means, from the points."""
    groups = [x[y == k].astype(np.float64) for k in np.unique(y)]
    result = []
    for i, a in enumerate(groups):
        for b in groups[:i]:
            line = a.mean(axis=0) - b.mean(axis=0)
            distance = np.linalg.norm(line)
            line /= distance
            result.append(distance / ((a @ line).std() + (b @ line).std()))
    return result


@pytest.mark.parametrize(("num_components", "dim"), [(1, 3), (3, 1), (5, 2), (15, 2), (12, 16)])
def test_shapes_dtypes_and_labels(num_components, dim) -> None:
    x, y = gaussian_mixture(num_components, dim, 1000, seed=1)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1000, dim), np.float32, (1000,), np.int64)
    np.testing.assert_array_equal(np.unique(y), np.arange(num_components))
    assert np.ptp(np.bincount(y)) <= 1  # balanced


@pytest.mark.parametrize("separation", [2.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_components_are_at_least_as_separated_as_asked(separation, seed) -> None:
    x, y = gaussian_mixture(6, 2, 30_000, separation=separation, seed=seed)
    measured = min(separations(x, y))
    assert measured > 0.97 * separation  # 3 %: the moments are estimated from 5,000 points
    assert measured < 3.0 * separation  # and not trivially far apart


def test_share_beyond_the_halfway_plane_is_as_documented() -> None:
    x, y = gaussian_mixture(2, 2, 100_000, separation=2.0, seed=0)
    means = np.stack([x[y == k].mean(axis=0) for k in range(2)])
    line = means[1] - means[0]
    spread = [(x[y == k] @ line).std() for k in range(2)]
    positions = (x - means[0]) @ line
    threshold = (means[1] - means[0]) @ line * spread[0] / sum(spread)
    wrong = np.mean((positions > threshold) != (y == 1))
    assert wrong < 0.0235


@pytest.mark.parametrize("num_components", [2, 7])
def test_imbalance_is_the_ratio_of_largest_to_smallest(num_components) -> None:
    _, y = gaussian_mixture(num_components, 2, 50_000, imbalance=20.0)
    sizes = np.bincount(y)
    assert sizes.sum() == 50_000
    assert sizes.max() / sizes.min() == pytest.approx(20.0, rel=0.01)
    ratios = np.sort(sizes)[1:] / np.sort(sizes)[:-1]
    np.testing.assert_allclose(ratios, 20.0 ** (1 / (num_components - 1)), rtol=0.01)


def test_every_component_has_a_point_however_few_there_are() -> None:
    _, y = gaussian_mixture(10, 2, 12, imbalance=1000.0)
    assert np.bincount(y).min() >= 1
    _, y = gaussian_mixture(10, 2, 10)
    assert sorted(y) == list(range(10))


def test_anisotropy_bounds_the_spreads() -> None:
    x, y = gaussian_mixture(4, 3, 40_000, anisotropy=9.0, seed=3)
    for k in range(4):
        spreads = np.sqrt(np.linalg.eigvalsh(np.cov(x[y == k].T)))
        assert 0.95 / 3 < spreads.min() and spreads.max() < 1.05 * 3
        assert spreads.max() / spreads.min() > 1.2
    x, y = gaussian_mixture(2, 3, 40_000, anisotropy=1.0)
    np.testing.assert_allclose(np.cov(x[y == 0].T), np.eye(3), atol=0.05)


def test_axes_are_not_those_of_the_coordinates() -> None:
    x, y = gaussian_mixture(5, 2, 50_000, seed=0)
    correlations = [np.corrcoef(x[y == k].T)[0, 1] for k in range(5)]
    assert np.abs(correlations).max() > 0.2


def test_the_seed_decides_everything() -> None:
    for make in (gaussian_mixture, blobs, gaussians15):
        (x, y), (x_again, y_again), (x_other, _) = make(seed=1), make(seed=1), make(seed=2)
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
        assert not np.array_equal(x, x_other)


def test_order_of_points_says_nothing_about_labels() -> None:
    _, y = gaussian_mixture(2, 2, 2000)
    assert 900 < np.sum(y[1:] != y[:-1]) < 1100


def test_named_mixtures() -> None:
    x, y = gaussians15()
    assert x.shape == (10_000, 2)
    assert len(np.unique(y)) == 15
    x, y = blobs()
    assert x.shape == (1500, 2)
    assert len(np.unique(y)) == 5


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"num_components": 0}, ValueError, "num_components"),
        ({"num_components": 11, "num_points": 10}, ValueError, "num_components"),
        ({"num_components": 2.5}, TypeError, "num_components"),
        ({"dim": 0}, ValueError, "dim"),
        ({"num_points": 0}, ValueError, "num_points"),
        ({"imbalance": 0.5}, ValueError, "imbalance"),
        ({"separation": -1.0}, ValueError, "separation"),
        ({"anisotropy": float("inf")}, ValueError, "anisotropy"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_wrong_argument_is_named(options, error, name) -> None:
    with pytest.raises(error, match=f"`{name}`: got"):
        gaussian_mixture(**options)
