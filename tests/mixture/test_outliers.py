"""P-values against SciPy's F distribution, sampling, and planted outliers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfdpm.mixture import evidence, niw
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.statistics import SufficientStatistics

WEIGHTS = np.array([0.5, 0.3, 0.2])
LOCS = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 5.0], [0.0, -80.0, 0.0]])
DFS = np.array([3.5, 20.0, 200.0])


def posterior(locs=LOCS, dfs=DFS):
    """NIW posteriors whose predictive has the given degrees of freedom, and its shape matrices."""
    rng = np.random.default_rng(0)
    dim = locs.shape[1]
    roots = rng.normal(size=(len(locs), dim, dim))
    scales = roots @ roots.transpose(0, 2, 1) + np.eye(dim)
    mean_precision = np.full(len(locs), 7.0)
    after = niw.NIWParameters(
        *(tf.constant(part) for part in (locs, mean_precision, dfs + dim - 1.0, scales))
    )
    return after, scales * (8.0 / (7.0 * dfs))[:, None, None]


def draw(count, shapes, locs=LOCS, dfs=DFS, seed=1):
    rng = np.random.default_rng(seed)
    owners = rng.choice(len(locs), size=count, p=WEIGHTS[: len(locs)] / WEIGHTS[: len(locs)].sum())
    return np.stack(
        [stats.multivariate_t(locs[k], shapes[k], df=dfs[k]).rvs(random_state=rng) for k in owners]
    ), owners


def test_p_value_of_one_component_is_the_tail_of_fishers_f():
    after, shapes = posterior(LOCS[:1], DFS[:1])
    points = np.random.default_rng(3).normal(scale=8.0, size=(50, 3))
    distances = np.einsum("nd,de,ne->n", points, np.linalg.inv(shapes[0]), points)
    _, p_values = PredictiveTails(tf.constant([1.0], tf.float64), after).tails(points)
    expected = stats.f(3, DFS[0]).sf(distances / 3)
    np.testing.assert_allclose(p_values, expected, rtol=1e-9)


def test_log_density_is_that_of_the_predictive():
    after, shapes = posterior()
    points, _ = draw(40, shapes)
    log_density, _ = PredictiveTails(tf.constant(WEIGHTS), after).tails(points)
    parts = zip(LOCS, shapes, DFS, strict=True)
    densities = [stats.multivariate_t(*part).pdf(points) for part in parts]
    np.testing.assert_allclose(log_density, np.log(WEIGHTS @ densities), rtol=1e-9)


def test_p_values_of_points_of_the_mixture_are_uniform():
    after, shapes = posterior()
    points, _ = draw(3000, shapes)
    _, p_values = PredictiveTails(tf.constant(WEIGHTS), after).tails(points)
    assert stats.kstest(p_values.numpy(), "uniform").pvalue > 0.01


def test_each_component_has_uniform_p_values_however_rare_and_wide():
    after, shapes = posterior()
    points, owners = draw(3000, shapes)
    _, p_values = PredictiveTails(tf.constant(WEIGHTS), after).tails(points)
    for k in range(3):
        assert stats.kstest(p_values.numpy()[owners == k], "uniform").pvalue > 0.01


def test_overlap_at_most_doubles_the_share_below_a_level():
    locs = np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
    after, shapes = posterior(locs)
    points, _ = draw(3000, shapes, locs)
    _, p_values = PredictiveTails(tf.constant(WEIGHTS), after).tails(points)
    for level in (0.01, 0.05, 0.2):
        share = (p_values.numpy() < level).mean()
        assert share <= 2 * level + 3 * np.sqrt(level / 3000)


def test_distant_points_have_p_values_near_zero_and_centres_near_one():
    after, _ = posterior()
    far = np.array([[500.0, 500.0, 500.0], [30.0, -400.0, 0.0]])
    _, p_values = PredictiveTails(tf.constant(WEIGHTS), after).tails(np.concatenate([far, LOCS]))
    assert (p_values.numpy()[:2] < 1e-3).all()
    np.testing.assert_allclose(p_values.numpy()[2:], 1.0, atol=1e-6)


@pytest.mark.parametrize("counts", [0.0, 1e7])
def test_extreme_counts_give_finite_probabilities(counts):
    prior = niw.niw_parameters(np.zeros(2), 1e-4, 4.0, np.eye(2))
    statistics = SufficientStatistics(
        tf.constant([counts], tf.float64),
        tf.zeros([1, 2], tf.float64),
        counts * tf.eye(2, batch_shape=[1], dtype=tf.float64),
    )
    tails = PredictiveTails(tf.constant([1.0], tf.float64), evidence.posterior(prior, statistics))
    _, p_values = tails.tails(np.array([[0.0, 0.0], [1.0, 1.0], [1e6, 0.0]]))
    assert np.isfinite(p_values).all() and np.all(np.diff(p_values) <= 0)
    if counts > 1:  # nearly Gaussian: the squared distance follows chi-squared
        assert float(p_values[1]) == pytest.approx(stats.chi2(2).sf(2.0), rel=1e-4)


@pytest.mark.parametrize("dim", [2, 3, 15])
def test_points_few_and_many_have_the_same_density_and_p_value(dim):
    locs = np.zeros((3, dim))
    locs[:, 0] = 0.0, 4.0, 90.0
    after, shapes = posterior(locs)
    points, _ = draw(40, shapes, locs)
    points = np.concatenate([points, 1e6 * np.eye(dim)[:1]]).astype(np.float32)
    tails = PredictiveTails(tf.constant(WEIGHTS), after)
    each = [(tails.log_density(row)[0], tails.p_values(row)[0]) for row in np.split(points, 41)]
    few_density, few_p = np.transpose(each)
    np.testing.assert_allclose(few_density, tails.log_density(points), rtol=1e-9)
    np.testing.assert_allclose(few_p, tails.p_values(points), rtol=1e-6, atol=1e-12)
