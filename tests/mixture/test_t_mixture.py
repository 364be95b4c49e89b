from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats

from tests.reference import mixture as reference
from tests.reference import samples
from tfdpm.mixture.parameters import TMixtureParameters
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.t_mixture import gaussian_share, map_t_mixture
from tfdpm.search.points.sample import Sample

DIM = 3
BEFORE = TMixtureParameters(
    np.array([0.3, 0.7]),
    samples.points(2, DIM, seed=1),
    np.stack([samples.positive_definite(DIM, seed) for seed in range(2)]),
    np.array([1.5, 20.0]),
)
# The mean's prior is so weak that the weighted sample mean can be compared with.
PRIOR = PartitionPrior(samples.positive_definite(DIM, 7), DIM + 2.5, 1e-9, 10.0, 1.0)


def t_points(df, count, dim=DIM, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, dim)) / np.sqrt(
        generator.chisquare(df, size=(count, 1)) / df
    )


def converged(points, prior, mixture, iterations=150):
    sample = Sample(points)
    for _ in range(iterations):
        mixture = map_t_mixture(prior, sample.t_expectation(mixture)[1], mixture)
    return mixture


def test_the_m_step_is_that_of_a_loop_over_components():
    points = samples.points(80, DIM, seed=3)
    after = map_t_mixture(PRIOR, Sample(points).t_expectation(BEFORE)[1], BEFORE)
    joint = reference.t_log_joint(*BEFORE, points)
    responsibilities = np.exp(joint - special.logsumexp(joint, axis=1, keepdims=True))
    counts = responsibilities.sum(axis=0)
    np.testing.assert_allclose(after.mixture_weights, (counts + 0.5) / (80 + 1.0))
    for k in range(2):
        offsets = points - BEFORE.means[k]
        distances = np.einsum("na,ab,nb->n", offsets, np.linalg.inv(BEFORE.scales[k]), offsets)
        u = (BEFORE.df[k] + DIM) / (BEFORE.df[k] + distances)
        weights = responsibilities[:, k] * u
        mean = np.average(points, axis=0, weights=weights)
        np.testing.assert_allclose(after.means[k], mean, atol=1e-7)
        scatter = (weights[:, np.newaxis] * (points - mean)).T @ (points - mean)
        share = stats.chi2.median(DIM) / (DIM * stats.f.median(DIM, after.df[k]))
        scale = (share * PRIOR.scale + scatter) / (PRIOR.df + counts[k] + DIM + 2.0)
        np.testing.assert_allclose(after.scales[k], scale, atol=1e-7)


def test_degrees_of_freedom_are_the_root_of_the_likelihoods_derivative():
    points = t_points(4.0, 500)
    before = TMixtureParameters(np.ones(1), np.zeros((1, DIM)), np.eye(DIM)[np.newaxis], [6.0])
    before = before._replace(df=np.array([6.0]))
    df = map_t_mixture(PRIOR, Sample(points).t_expectation(before)[1], before).df[0]
    u = (6.0 + DIM) / (6.0 + (points**2).sum(axis=1))

    def negative(df):  # the part of the expected log likelihood with df in it
        latent = np.mean(np.log(u) - u) + special.digamma(4.5) - np.log(4.5)
        half = 0.5 * df
        return -(half * np.log(half) - special.gammaln(half) + half * latent)

    found = optimize.minimize_scalar(negative, bounds=(0.2, 200.0), method="bounded")
    assert df == pytest.approx(found.x, rel=1e-4)


@pytest.mark.parametrize("df", [1.0, 3.0, 10.0])
def test_em_finds_the_tail_of_a_t_and_its_scale(df):
    points = 2.0 * t_points(df, 20_000)
    start = TMixtureParameters(
        np.ones(1), np.zeros((1, DIM)), np.eye(DIM)[np.newaxis], np.array([8.0])
    )
    found = converged(points, PRIOR, start)
    assert found.df[0] == pytest.approx(df, rel=0.1)
    np.testing.assert_allclose(found.scales[0], 4.0 * np.eye(DIM), atol=0.3)


def test_of_gaussian_points_a_gaussian_is_left():
    points = np.random.default_rng(0).normal(size=(20_000, DIM))
    start = TMixtureParameters(
        np.ones(1), np.zeros((1, DIM)), 2.0 * np.eye(DIM)[np.newaxis], np.array([8.0])
    )
    found = converged(points, PRIOR, start, iterations=1000)
    assert found.df[0] > 50.0
    np.testing.assert_allclose(found.scales[0], np.eye(DIM), atol=0.05)


def test_each_step_raises_the_posterior_where_df_is_as_it_was(monkeypatch):
    monkeypatch.setattr("tfdpm.mixture.t_mixture._likeliest_df", lambda _, before, dim: before)
    points = np.concatenate([t_points(2.0, 150), 3.0 + t_points(5.0, 250, seed=1)])
    sample, mixture, before = Sample(points), BEFORE, -np.inf
    for _ in range(20):
        joint = reference.t_log_joint(*mixture, points)
        after = special.logsumexp(joint, axis=1).sum() + _log_prior(mixture)
        assert after > before - 1e-6
        before = after
        mixture = map_t_mixture(PRIOR, sample.t_expectation(mixture)[1], mixture)


def _log_prior(mixture):
    total = 0.5 * np.log(mixture.mixture_weights).sum()  # Dirichlet, one pseudo-point for all
    shares = gaussian_share(DIM, mixture.df)
    for mean, scale, share in zip(mixture.means, mixture.scales, shares, strict=True):
        prior = stats.invwishart(PRIOR.df, share * PRIOR.scale)
        normal = stats.multivariate_normal(np.zeros(DIM), scale / PRIOR.mean_precision)
        total += prior.logpdf(scale) + normal.logpdf(mean)
    return total


@pytest.mark.parametrize("dim", [1, 2, 9, 64])
def test_half_of_the_points_lie_as_far_out_as_those_of_a_gaussian_of_that_share(dim):
    df = np.array([0.2, 1.0, 4.0, 200.0])
    share = gaussian_share(dim, df)
    expected = [stats.chi2.median(dim) / (dim * stats.f.median(dim, each)) for each in df]
    np.testing.assert_allclose(share, expected, rtol=1e-6)
    assert (np.diff(share) > 0).all() and share[-1] == pytest.approx(1.0, abs=0.01)


def test_a_component_without_points_stays_as_it_was():
    far = BEFORE._replace(means=np.stack([BEFORE.means[0], np.full(DIM, 1e6)]))
    far = far._replace(df=np.array([1.5, 200.0]))
    points = samples.points(50, DIM, seed=3)
    after = map_t_mixture(PRIOR, Sample(points).t_expectation(far)[1], far)
    np.testing.assert_array_equal(after.means[1], far.means[1])
    np.testing.assert_array_equal(after.scales[1], far.scales[1])
    assert after.df[1] == 200.0 and after.mixture_weights[1] == pytest.approx(0.5 / 51.0, rel=0.1)
    assert np.isfinite(after.scales).all() and (after.means[0] != far.means[0]).all()


def test_equal_points_have_finite_parameters():
    start = TMixtureParameters(
        np.ones(1), np.zeros((1, DIM)), np.eye(DIM)[np.newaxis], np.array([8.0])
    )
    found = converged(np.full((30, DIM), 2.0), PRIOR, start, iterations=30)
    assert all(np.isfinite(part).all() for part in found)
    assert (np.linalg.eigvalsh(found.scales[0]) > 0).all()
