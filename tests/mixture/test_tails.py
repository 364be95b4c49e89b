from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfdpm.mixture.tails import log_flatness_gain, log_tail_gain


def distances_of(x):
    """Squared Mahalanobis distances under the sample covariance."""
    offsets = x - x.mean(axis=0)
    return np.einsum(
        "nd,de,ne->n", offsets, np.linalg.inv(np.atleast_2d(np.cov(x.T, bias=True))), offsets
    )


def gain_of(x):
    return log_tail_gain(distances_of(x), np.zeros(len(x), int), 1, x.shape[1])[0]


def slow_gain(x):
    """Best t of a scan over degrees of freedom and scales, with the covariance's shape."""
    mean, covariance = x.mean(axis=0), np.cov(x.T, bias=True)
    gaussian = stats.multivariate_normal(mean, covariance).logpdf(x).sum()
    best = max(
        stats.multivariate_t(mean, scale * covariance, df=df).logpdf(x).sum()
        for df in (1, 2, 3, 4, 6, 10, 20, 50)
        for scale in np.geomspace(0.01, 1.5, 120)
    )
    return best - gaussian - np.log(len(x))


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_gaussian_gains_nothing(dim, seed):
    x = np.random.default_rng(seed).multivariate_normal(
        np.ones(dim), np.diag(1.0 + np.arange(dim)), 3000
    )
    assert gain_of(x) < 2.0


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("df", [3, 8])
def test_a_heavy_tail_gains_what_a_t_fitted_by_scipy_does(dim, df):
    x = stats.multivariate_t(np.zeros(dim), np.eye(dim) + 0.5, df=df, seed=dim).rvs(2000)
    expected = slow_gain(x)
    assert expected > {3: 500.0, 8: 20.0}[df]
    # Distances are binned and the scan is coarse: a percent, and a nat.
    np.testing.assert_allclose(gain_of(x), expected, rtol=0.03, atol=2.0)


def test_heavier_tails_gain_more():
    gains = [
        gain_of(stats.multivariate_t(np.zeros(3), np.eye(3), df=df, seed=0).rvs(2000))
        for df in (2, 4, 10)
    ]
    assert gains[0] > 2 * gains[1] > 4 * gains[2] > 0


def test_light_tails_gain_nothing():
    assert gain_of(np.random.default_rng(0).uniform(-1, 1, size=(3000, 3))) == 0.0


def test_components_are_judged_each_on_its_own():
    rng = np.random.default_rng(0)
    heavy = stats.multivariate_t(np.zeros(2), np.eye(2), df=3, seed=1).rvs(900)
    light = rng.normal(size=(700, 2)) * 100.0
    distances = np.concatenate([distances_of(heavy), distances_of(light)])
    labels = np.repeat([2, 0], [900, 700])
    order = rng.permutation(1600)
    gains = log_tail_gain(distances[order], labels[order], 4, 2)
    np.testing.assert_allclose(gains[[2, 0]], [gain_of(heavy), gain_of(light)], rtol=1e-9)
    assert gains[1] == gains[3] == 0.0  # without points


def test_units_of_the_distances_do_not_matter():
    x = stats.multivariate_t(np.zeros(2), np.eye(2), df=3, seed=1).rvs(500)
    labels = np.zeros(500, int)
    gains = [log_tail_gain(f * distances_of(x), labels, 1, 2)[0] for f in (1.0, 1e6)]
    np.testing.assert_allclose(gains[0], gains[1], rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_points_gain_nothing(count):
    assert log_tail_gain(np.zeros(count), np.zeros(count, int), 1, 2)[0] == 0.0


def slow_flatness_gain(x):
    """Best generalised normal distribution with the likeliest scale, over the Gaussian."""
    centred = x - x.mean()
    gaussian = stats.norm(0, centred.std()).logpdf(centred).sum()
    best = -np.inf
    for power in (1.25, 1.5, 2.0, 3.0, 5.0, 8.0):
        shape = 2 * power
        scale = (shape * np.mean(np.abs(centred) ** shape)) ** (1 / shape)
        best = max(best, stats.gennorm(shape, scale=scale).logpdf(centred).sum())
    return best - gaussian - np.log(len(x))


@pytest.mark.parametrize("draw", ["uniform", "normal", "laplace"])
def test_gains_by_a_flat_top_are_those_of_the_generalised_normal(draw):
    x = getattr(np.random.default_rng(0), draw)(size=(700, 1))
    wanted = slow_flatness_gain(x[:, 0])
    assert log_flatness_gain(distances_of(x), 1) == pytest.approx(wanted, rel=1e-9)
    assert (wanted > 0) == (draw == "uniform")


def test_a_disc_gains_what_its_density_tells():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 2))
    x *= np.sqrt(rng.uniform(size=(5000, 1))) / np.linalg.norm(x, axis=1, keepdims=True)
    # The Gaussian's entropy is log(2 pi e / 4) and the disc's log(pi).
    most = 5000 * (np.log(np.e / 2.0))
    assert 0.85 * most < log_flatness_gain(distances_of(x), 2) < 1.02 * most
    assert log_flatness_gain(np.zeros(5), 2) == -np.inf
