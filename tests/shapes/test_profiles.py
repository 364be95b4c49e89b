from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.mixture import GaussianMixture

from tfdpm.shapes import profiles
from tfdpm.shapes.profiles import log_evidence_for_one

NUM_BINS = profiles._SETTINGS.num_bins


def halves(values, border):
    return values[values <= border], values[values > border]


def evidence(profile, may_step=False):
    return log_evidence_for_one([profile], may_step=may_step)[0]


def two_gaussians(count, distance, rng):
    return rng.normal(size=count), distance + rng.normal(size=count)


def test_two_gaussians_are_those_of_another_library():
    rng = np.random.default_rng(0)
    first, second = two_gaussians(4000, 4.0, rng)
    values = np.concatenate([first, second])
    found = profiles._two_gaussians(np.array([profiles._histogram(first, second)]))[0]
    edges = np.linspace(values.min(), values.max(), NUM_BINS + 1)
    mixture = GaussianMixture(2, means_init=[[0.0], [4.0]], random_state=0).fit(values[:, None])
    centres = 0.5 * (edges[1:] + edges[:-1])[:, np.newaxis]
    # Densities of the two differ by a constant, the width of a bin and the missing 2 pi.
    apart = found - mixture.score_samples(centres)
    inside = slice(NUM_BINS // 8, -NUM_BINS // 8)
    assert np.ptp(apart[inside]) < 0.05


def test_the_log_linear_density_is_the_likeliest():
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.geomspace(2.0, 20.0, NUM_BINS)).astype(float)
    medians = np.array([[10, 120]])
    bins = np.arange(NUM_BINS)
    is_between = (bins >= 10) & (bins <= 120)
    between = np.where(is_between, counts, 0.0)
    found = profiles._log_linear(between[np.newaxis], is_between[np.newaxis], medians)[0]

    def loss(slope):
        logs = slope * bins[10:121]
        return -(between[10:121] * (logs - np.log(np.exp(logs).sum()))).sum()

    best = minimize_scalar(loss, bounds=(-0.2, 0.2), method="bounded")
    assert -(between * found).sum() == pytest.approx(best.fun, abs=1e-3)
    assert np.exp(found[is_between]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_evidence_tells_two_gaussians_from_halves_of_an_even_line_and_of_a_slope(seed):
    rng = np.random.default_rng(seed)
    assert evidence(two_gaussians(400, 4.0, rng)) < -15.0
    assert evidence(halves(rng.uniform(size=800), 0.5)) > 1.0
    # A density that falls by a factor of two.
    values = rng.uniform(size=1500)
    values = values[2.0 * rng.uniform(size=1500) < 2.0 - values]
    assert evidence(halves(values, 0.45)) > 1.0


def test_evidence_does_not_depend_on_units_direction_or_order():
    rng = np.random.default_rng(0)
    first, second = two_gaussians(300, 3.0, rng)
    wanted = pytest.approx(evidence((first, second)), abs=0.1)
    assert evidence((second, first)) == wanted
    assert evidence((100.0 * first - 7.0, 100.0 * second - 7.0)) == wanted
    assert evidence((-first, -second)) == pytest.approx(evidence((first, second)), abs=1.0)


def test_evidence_is_of_at_most_so_many_points():
    few, many = (
        np.mean([evidence(two_gaussians(n, 3.5, np.random.default_rng(s))) for s in range(8)])
        for n in (400, 4000)
    )
    assert many == pytest.approx(few, rel=0.35)


def test_a_step_of_one_mode_is_excused_and_a_valley_is_not():
    rng = np.random.default_rng(0)
    step = rng.uniform(0.0, 1.0, 400), rng.uniform(1.0, 2.0, 120)
    assert evidence(step, may_step=False) < 0.0
    assert evidence(step, may_step=True) == 0.0
    # So far apart that no dip is looked for.
    for distance in (3.5, 6.0):
        profile = two_gaussians(1200, distance, rng)
        assert evidence(profile, may_step=True) == evidence(profile, may_step=False) < -5.0


def test_layers_about_one_centre_have_little_evidence_against_one():
    rng = np.random.default_rng(0)
    layers = rng.normal(size=400), 0.3 + 3.0 * rng.normal(size=400)
    assert evidence(layers) == profiles._SETTINGS.no_claim
