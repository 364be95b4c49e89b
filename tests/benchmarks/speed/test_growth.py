"""Costs by size: arithmetic, exponents, and that what is measured is what is named."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.benchmarks.speed import growth


def test_points_lie_around_as_many_means_and_follow_the_seed() -> None:
    x = growth.draw_gaussians(12_000, 3, 2, seed=0)  # more than one block
    assert x.shape == (12_000, 3)
    assert x.dtype == np.float32
    first = np.linalg.norm(x - x[0], axis=1) < 6
    assert 0.4 < first.mean() < 0.6
    np.testing.assert_allclose(x[first].std(axis=0), 1, atol=0.05)
    np.testing.assert_array_equal(x, growth.draw_gaussians(12_000, 3, 2, seed=0))
    assert np.any(x != growth.draw_gaussians(12_000, 3, 2, seed=1))


def test_arithmetic_by_a_count_of_every_product() -> None:
    num_points, dim, clusters, hidden = 3, 2, 4, 5
    per_point = 0
    for _ in range(clusters):
        entries = sum(1 for i in range(dim) for j in range(i + 1)) + dim + 1
        per_point += 2 * entries  # quadratic form and linear terms
        per_point += 2 * entries  # their weighted sums
    clustering = dim * hidden + hidden * clusters
    subclustering = dim * hidden + hidden * 2
    per_point += 8 * (clustering + subclustering)
    counted = growth.count_epoch_operations(num_points, dim, clusters, hidden)
    assert counted == num_points * per_point


def test_exponent_of_a_power_law() -> None:
    sizes = np.array([10, 100, 1000])
    assert growth.fit_exponent(sizes, 0.3 * sizes**1.7) == pytest.approx(1.7)
    assert growth.fit_exponent([10], [1.0]) is None
    assert growth.fit_exponent([], []) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_rate_is_of_this_planet(dtype: str) -> None:
    assert 1e8 < growth.measure_matmul_rate(dtype, seconds=0.01) < 1e15


def test_an_epoch_is_timed_at_the_k_that_is_asked_for() -> None:
    row = growth.measure_epoch(400, 2, 3, seed=0)
    assert (row["num_points"], row["dim"], row["clusters"]) == (400, 2, 3)
    assert row["operations"] == growth.count_epoch_operations(400, 2, 3, 50)
    assert row["operations_per_second"] == pytest.approx(row["operations"] / row["cpu_seconds"])
    assert row["traces"] <= 4


@pytest.mark.slow
def test_a_fit_of_its_own_process_tells_its_peak() -> None:
    row = growth.measure_alone(growth.measure_fit_growth, 2000, 2, 3, 0)
    assert (row["num_points"], row["true_clusters"], row["clusters"]) == (2000, 3, 3)
    assert row["data_mib"] == pytest.approx(2000 * 2 * 4 / 2**20)
    assert 0 <= row["peak_above_data_mib"] < 4096
