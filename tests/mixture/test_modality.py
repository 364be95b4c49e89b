from __future__ import annotations

import numpy as np
import pytest

from tfdpm.mixture.modality import dip, dip_p_value


def slow_dip(values):
    """Half the largest gain by a second interval in excess mass, interval by interval."""
    x = np.sort(values)
    count = len(x)
    # The gain is piecewise linear in the density, with knots where intervals trade places.
    gaps = np.abs(np.subtract.outer(x, x))
    steps = np.arange(1, count + 1)[:, np.newaxis] / count
    distinct = np.unique(gaps[gaps > 0])
    densities = np.unique(np.concatenate([(steps / distinct).ravel(), np.geomspace(0.05, 50, 500)]))
    best = 0.0
    for density in densities:
        excess = [
            [
                (j - i + 1) / count - density * (x[j] - x[i]) if j >= i else -1.0
                for j in range(count)
            ]
            for i in range(count)
        ]
        excess = np.array(excess)
        one = excess.max()
        two = max(excess[: k + 1, : k + 1].max() + excess[k + 1 :].max() for k in range(count - 1))
        best = max(best, two - one)
    return 0.5 * best


@pytest.mark.parametrize("seed", range(4))
def test_dips_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=12) + 4.0 * rng.integers(0, 2, 12)
    assert dip(values) == pytest.approx(slow_dip(values), rel=0.02)


def test_two_equal_spikes_have_the_largest_dip_and_one_has_none():
    assert dip(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.25, abs=0.011)
    assert dip(np.zeros(10)) == 0.0 and dip(np.zeros(0)) == 0.0
    assert dip_p_value(np.zeros(10)) == 1.0


@pytest.mark.parametrize("count", [300, 5000])
def test_dips_do_not_depend_on_units_or_direction(count):
    rng = np.random.default_rng(0)
    values = rng.normal(size=count) + 3.0 * rng.integers(0, 2, count)
    wanted = pytest.approx(dip(values), rel=1e-3)
    assert dip(-values) == wanted
    assert dip(5.0 + 1e-3 * values) == wanted
    assert dip(rng.permutation(values)) == wanted


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_values_of_even_density_have_as_large_a_dip_as_the_probability_says(level):
    rng = np.random.default_rng(0)
    found = [dip_p_value(rng.uniform(size=800)) < level for _ in range(400)]
    # Three standard errors.
    assert abs(np.mean(found) - level) < 3.0 * np.sqrt(level * (1 - level) / 400)
    assert min(dip_p_value(rng.normal(size=400)) for _ in range(100)) > 0.2


def test_two_modes_are_found():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sides = rng.integers(0, 2, 500)
        assert dip_p_value(rng.normal(size=500) + 4.0 * sides) < 0.01
