from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from tests.reference import niw as reference
from tests.reference import samples
from tfdpm.distributions import MultivariateStudentT, NormalInverseWishart
from tfdpm.mixture import evidence, niw
from tfdpm.mixture.distributions import MeanAndCovariance


def random_distribution(feature_dim, seed=0, dtype=np.float64):
    return NormalInverseWishart(
        *(np.asarray(part, dtype) for part in samples.prior(feature_dim, seed))
    )


@pytest.mark.parametrize("feature_dim", [1, 2, 5])
def test_log_prob_is_scipys(feature_dim):
    prior = samples.prior(feature_dim)
    covariances = [samples.positive_definite(feature_dim, seed) for seed in (50, 51, 52)]
    means = samples.points(3, feature_dim, seed=1)
    actual = NormalInverseWishart(*prior).log_prob(MeanAndCovariance(np.stack(covariances), means))
    truth = [reference.log_prob(prior, *theta) for theta in zip(means, covariances, strict=True)]
    np.testing.assert_allclose(actual, truth, rtol=1e-9)


def test_log_prob_takes_the_parts_by_name():
    distribution, covariance = random_distribution(2), np.eye(2)
    by_name = distribution.log_prob(covariance=covariance, mean=np.ones(2))
    whole = distribution.log_prob(MeanAndCovariance(covariance=covariance, mean=np.ones(2)))
    np.testing.assert_allclose(by_name, whole, rtol=1e-12)


@pytest.fixture(scope="module")
def many_samples():
    """A two-dimensional prior whose moments exist, and 20 000 samples."""
    loc, _, _, scale = samples.prior(2)
    prior = loc, 0.7, 14.0, scale
    return prior, NormalInverseWishart(*prior).sample(20_000, seed=(1, 2))


def test_samples_have_the_stated_means_and_spread(many_samples):
    (loc, mean_precision, df, scale), drawn = many_samples
    expected = scale / (df - 2 - 1)
    # Standard errors are 0.3 % of a deviation here; being off by one in a degree of freedom is 9 %.
    np.testing.assert_allclose(np.mean(drawn.covariance, axis=0), expected, rtol=0.03)
    variances = 2 * np.diag(scale) ** 2 / ((df - 3) ** 2 * (df - 5))
    spread = np.var(drawn.covariance, axis=0).diagonal()
    np.testing.assert_allclose(spread, variances, rtol=0.15)
    error = 5 * np.sqrt(np.diag(expected) / mean_precision / 20_000)
    assert (np.abs(np.mean(drawn.mean, axis=0) - loc) < error).all()
    actual, truth = np.cov(drawn.mean.numpy().T), expected / mean_precision
    np.testing.assert_allclose(actual, truth, rtol=0, atol=0.05 * np.diag(truth).min())


def test_samples_have_the_stated_distributions_not_only_moments(many_samples):
    (loc, mean_precision, df, scale), drawn = many_samples
    # scale_11 / Sigma_11 ~ chi2(df - D + 1), and kappa (mu - m)' Sigma^-1 (mu - m) ~ chi2(D).
    ratio = scale[0, 0] / drawn.covariance[:, 0, 0].numpy()
    assert stats.kstest(ratio, stats.chi2(df - 1).cdf).pvalue > 1e-3
    offset = drawn.mean.numpy() - loc
    whitened = np.linalg.solve(drawn.covariance.numpy(), offset[..., None])[..., 0]
    distance = mean_precision * np.sum(offset * whitened, axis=1)
    assert stats.kstest(distance, stats.chi2(2).cdf).pvalue > 1e-3


def test_variances_are_scipys_and_the_sample_s(many_samples):
    (loc, mean_precision, df, scale), drawn = many_samples
    prior = NormalInverseWishart(loc, mean_precision, df, scale)
    variance = prior.variance()
    np.testing.assert_allclose(variance.covariance, stats.invwishart(df, scale).var(), rtol=1e-10)
    np.testing.assert_allclose(variance.mean, np.var(drawn.mean, axis=0), rtol=0.05)
    np.testing.assert_allclose(prior.stddev().mean, np.sqrt(variance.mean), rtol=1e-12)
    few = NormalInverseWishart(loc, mean_precision, 4.0, scale).variance()
    assert np.isnan(few.covariance).all() and np.isfinite(few.mean).all()


def test_entropy_and_divergence_are_means_over_samples(many_samples):
    (loc, mean_precision, df, scale), drawn = many_samples
    prior = NormalInverseWishart(loc, mean_precision, df, scale)
    others = NormalInverseWishart(
        loc + [[0.5, -0.3], [0.0, 0.0]], [0.4, 1.5], [9.0, 20.0], scale * [[[0.8]], [[1.3]]]
    )
    log_density = prior.log_prob(drawn)
    np.testing.assert_allclose(prior.entropy(), -np.mean(log_density), atol=0.05)
    each = NormalInverseWishart(loc, mean_precision, df, scale)
    differences = log_density[:, tf.newaxis] - others.log_prob(
        tf.nest.map_structure(lambda part: part[:, tf.newaxis], drawn)
    )
    divergence = tfp.distributions.kl_divergence(prior, others)
    assert divergence.shape == [2] and divergence.numpy().min() > 0.1
    error = np.std(differences, axis=0) / np.sqrt(20_000)
    assert (np.abs(divergence - np.mean(differences, axis=0)) < 4.0 * error).all()
    np.testing.assert_allclose(prior.cross_entropy(others), prior.entropy() + divergence)
    np.testing.assert_allclose(prior.kl_divergence(each), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="`other`: got 3 features, wanted 2"):
        prior.kl_divergence(random_distribution(3))


def test_divergence_in_one_dimension_is_that_of_gamma_and_normal():
    # The precision is Gamma(nu / 2, scale / 2), and Gaussians differ by their mean precision.
    one, other = (0.2, 0.7, 3.0, 1.5), (-0.4, 1.9, 5.0, 0.8)
    gammas = [tfp.distributions.Gamma(np.float64(p[2] / 2), p[3] / 2) for p in (one, other)]
    ratio = other[1] / one[1]
    normals = 0.5 * (ratio - 1 - np.log(ratio) + other[1] * (3.0 / 1.5) * 0.6**2)
    ours = NormalInverseWishart([0.2], 0.7, 3.0, [[1.5]]).kl_divergence(
        NormalInverseWishart([-0.4], 1.9, 5.0, [[0.8]])
    )
    np.testing.assert_allclose(ours, gammas[0].kl_divergence(gammas[1]) + normals, rtol=1e-10)


def test_samples_follow_the_seed_and_are_positive_definite():
    distribution = random_distribution(3)
    first, again = (distribution.sample(50, seed=(3, 4)) for _ in range(2))
    np.testing.assert_array_equal(first.covariance, again.covariance)
    np.testing.assert_array_equal(first.mean, again.mean)
    assert not np.allclose(first.mean, distribution.sample(50, seed=(3, 5)).mean)
    assert np.linalg.eigvalsh(first.covariance.numpy()).min() > 0.0


def test_mean_is_stated_and_missing_where_it_does_not_exist():
    loc, mean_precision, _, scale = samples.prior(3)
    mean = NormalInverseWishart(loc, mean_precision, [4.0, 7.0], scale).mean()
    assert np.isnan(mean.covariance[0]).all()
    np.testing.assert_allclose(mean.covariance[1], scale / 3.0, rtol=1e-12)
    np.testing.assert_array_equal(mean.mean, [loc, loc])


def test_mode_is_where_the_gradient_vanishes_and_nothing_nearby_is_denser():
    distribution = random_distribution(3)
    mode = distribution.mode()
    with tf.GradientTape() as tape:
        tape.watch(mode)
        peak = distribution.log_prob(mode)
    gradient = tape.gradient(peak, mode)
    np.testing.assert_allclose(gradient.mean, 0.0, atol=1e-10)
    slope = gradient.covariance + tf.transpose(gradient.covariance)
    np.testing.assert_allclose(slope, 0.0, atol=1e-9)
    rng = np.random.default_rng(0)
    tilts = np.eye(3) + 0.02 * rng.normal(size=(20, 3, 3))
    nearby = tilts @ mode.covariance.numpy() @ np.swapaxes(tilts, -1, -2)
    moved = mode.mean + 0.01 * rng.normal(size=(20, 3))
    assert (distribution.log_prob(mode._replace(covariance=nearby)) < peak).numpy().all()
    everywhere = tf.broadcast_to(mode.covariance, [20, 3, 3])
    assert (distribution.log_prob(MeanAndCovariance(everywhere, moved)) < peak).numpy().all()


def test_mode_of_the_posterior_is_the_m_steps_estimate():
    distribution, points = random_distribution(2), samples.points(10, 2)
    mode = distribution.posterior(distribution.statistics(points)).mode()
    after = evidence.posterior(
        niw.niw_parameters(*samples.prior(2)), distribution.statistics(points)
    )
    means, covariances = evidence.map_components(after, "joint_mode")
    np.testing.assert_allclose(mode.mean, means, rtol=1e-12)
    np.testing.assert_allclose(mode.covariance, covariances, rtol=1e-12)


@pytest.mark.parametrize("feature_dim", [1, 2, 4])
def test_evidence_is_the_chain_of_predictives_through_tfp(feature_dim):
    prior, points = random_distribution(feature_dim), samples.points(8, feature_dim, loc=0.3)
    chain = prior.posterior_predictive().log_prob(points[0])
    for i in range(1, 8):
        predictive = prior.posterior_predictive(prior.statistics(points[:i]))
        assert isinstance(predictive, tfp.distributions.MultivariateStudentTLinearOperator)
        chain += predictive.log_prob(points[i])[0]
    evidence = prior.log_evidence(prior.statistics(points))
    assert evidence.dtype == tf.float64
    np.testing.assert_allclose(evidence, [chain], rtol=1e-10)
    truth = reference.log_evidence(samples.prior(feature_dim), points)
    np.testing.assert_allclose(evidence, [truth], rtol=1e-10)


def test_evidence_is_bayes_theorem_at_any_mean_and_covariance():
    # log f(X) = log p(X | theta) + log p(theta) - log p(theta | X), whatever theta.
    prior, points = random_distribution(3), samples.points(12, 3)
    statistics = prior.statistics(points)
    theta = MeanAndCovariance(samples.positive_definite(3, 9), np.array([0.3, -0.2, 0.9]))
    likelihood = stats.multivariate_normal(theta.mean, theta.covariance).logpdf(points).sum()
    bayes = likelihood + prior.log_prob(theta) - prior.posterior(statistics).log_prob(theta)
    np.testing.assert_allclose(prior.log_evidence(statistics), bayes, rtol=1e-10)


def test_evidence_ignores_order_and_batches():
    prior, points = random_distribution(3), samples.points(20, 3)
    whole = prior.log_evidence(prior.statistics(points))
    np.testing.assert_allclose(
        prior.log_evidence(prior.statistics(points[::-1])), whole, rtol=1e-12
    )
    in_batches = prior.statistics(points[:3]).plus(prior.statistics(points[3:]))
    np.testing.assert_allclose(prior.log_evidence(in_batches), whole, rtol=1e-12)


def test_posterior_and_predictive_have_one_batch_member_per_component():
    prior, points, weights = samples.prior(3), samples.points(20, 3), samples.weights(20, 4)
    distribution = NormalInverseWishart(*prior)
    statistics = distribution.statistics(points, weights)
    after = distribution.posterior(statistics)
    predictive = distribution.posterior_predictive(statistics)
    assert after.batch_shape == predictive.batch_shape == [4]
    for k in range(4):
        truth = reference.posterior(prior, points, weights[:, k])
        actual = after.loc[k], after.mean_precision[k], after.df[k], after.scale[k]
        for part, expected in zip(actual, truth, strict=True):
            np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-12)
        density = reference.predictive(truth).logpdf(points[0])
        np.testing.assert_allclose(predictive.log_prob(points[0])[k], density, rtol=1e-9)


def test_conjugate_updates_are_the_same_in_a_graph():
    distribution, points = random_distribution(3), samples.points(20, 3)
    statistics = distribution.statistics(points, samples.weights(20, 4))

    def update(statistics):
        after = distribution.posterior(statistics)
        predictive = distribution.posterior_predictive(statistics)
        alone = distribution.posterior_predictive()
        return (
            distribution.log_evidence(statistics),
            (after.loc, after.mean_precision, after.df, after.scale, after.mode()),
            predictive.log_prob(points[0]),
            alone.log_prob(points[0]),
        )

    graph = tf.function(update)
    assert graph.get_concrete_function(statistics).output_shapes[0] == [4]
    for actual, wanted in zip(
        tf.nest.flatten(graph(statistics)), tf.nest.flatten(update(statistics)), strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    "shapes, batch",
    [
        (([], [], [], []), []),
        (([3], [3], [3], [3]), [3]),
        (([3], [], [], []), [3]),
        (([], [], [3], []), [3]),
        (([2, 1], [3], [], [1]), [2, 3]),
    ],
)
def test_parameters_broadcast_to_one_batch_shape(shapes, batch):
    rng = np.random.default_rng(0)
    loc_shape, precision_shape, df_shape, scale_shape = shapes
    parts = [
        rng.normal(size=[*loc_shape, 2]),
        rng.uniform(0.5, 2.0, precision_shape),
        rng.uniform(4.0, 9.0, df_shape),
        np.eye(2) * rng.uniform(0.5, 2.0, [*scale_shape, 1, 1]),
    ]
    distribution = NormalInverseWishart(*parts)
    assert distribution.batch_shape == batch
    drawn = distribution.sample(5, seed=(0, 1))
    assert drawn.mean.shape == [5, *batch, 2] and drawn.covariance.shape == [5, *batch, 2, 2]
    for structure in (distribution.mean(), distribution.mode()):
        assert structure.mean.shape == [*batch, 2]
        assert structure.covariance.shape == [*batch, 2, 2]
    log_density = distribution.log_prob(drawn)
    assert log_density.shape == [5, *batch]
    full = [
        np.broadcast_to(part, [*batch, *shape])
        for part, shape in zip(parts, ([2], [], [], [2, 2]), strict=True)
    ]
    for index in np.ndindex(*batch):
        mean, covariance = drawn.mean.numpy()[(2, *index)], drawn.covariance.numpy()[(2, *index)]
        truth = reference.log_prob(tuple(part[index] for part in full), mean, covariance)
        np.testing.assert_allclose(log_density[(2, *index)], truth, rtol=1e-9)


def test_float32_flows_through_and_evidence_stays_float64():
    single, double = random_distribution(3, dtype=np.float32), random_distribution(3)
    points = samples.points(15, 3).astype(np.float32)
    drawn = single.sample(4, seed=(0, 1))
    assert drawn.mean.dtype == drawn.covariance.dtype == tf.float32
    theta = MeanAndCovariance(*(tf.cast(part, tf.float64) for part in drawn))
    np.testing.assert_allclose(single.log_prob(drawn), double.log_prob(theta), rtol=1e-3)
    statistics = single.statistics(points)
    assert single.posterior(statistics).loc.dtype == tf.float32
    assert single.posterior_predictive(statistics).dtype == tf.float32
    evidence = single.log_evidence(statistics)
    assert evidence.dtype == tf.float64
    np.testing.assert_allclose(evidence, double.log_evidence(double.statistics(points)), rtol=1e-6)


def test_copy_overrides_this_classes_arguments():
    prior = samples.prior(2)
    copy = NormalInverseWishart(*prior).copy(df=9.0)
    truth = reference.log_prob((prior[0], prior[1], 9.0, prior[3]), np.zeros(2), np.eye(2))
    np.testing.assert_allclose(copy.log_prob((np.eye(2), np.zeros(2))), truth, rtol=1e-10)


@pytest.mark.parametrize(
    "index", [1, slice(1, None), (Ellipsis, 0), (0, 1), (slice(None), 1), (tf.newaxis, 0)], ids=str
)
@pytest.mark.parametrize("is_traced", [False, True])
def test_an_index_of_the_batch_chooses_distributions(index, is_traced):
    scales = np.stack([samples.positive_definite(2, seed) for seed in range(6)]).reshape(3, 2, 2, 2)
    locs = samples.points(6, 2).reshape(3, 2, 2)
    whole = NormalInverseWishart(locs, [[0.5, 1.0]], 5.0, scales)
    theta = np.eye(2), np.zeros(2)

    def density():
        return whole[index].log_prob(theta)

    density = tf.function(density) if is_traced else density
    np.testing.assert_allclose(density(), whole.log_prob(theta).numpy()[index], rtol=1e-12)
    assert whole[index].batch_shape == np.zeros((3, 2))[index].shape


def test_an_index_beyond_the_batch_is_an_error():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        NormalInverseWishart(np.zeros((3, 2)), 1.0, 5.0, np.eye(2))[0, 1]


@pytest.fixture(scope="module")
def batch_of_three():
    return NormalInverseWishart(
        np.zeros((3, 2)), [0.5, 1.0, 2.0], 5.0, np.eye(2) + 0.1, validate_args=True
    )


def test_a_graph_takes_and_returns_distributions_of_unknown_batch(batch_of_three):
    known = batch_of_three._type_spec
    parts = {"loc": [2], "mean_precision": [], "df": [], "scale": [2, 2]}
    unknown = known._copy(
        param_specs={
            name: tf.TensorSpec([None, *shape], tf.float64) for name, shape in parts.items()
        }
    )
    theta = np.eye(2), np.ones(2)
    statistics = batch_of_three.statistics(samples.points(6, 2), samples.weights(6, 3))

    def update(prior):
        after = prior.posterior(statistics)
        return prior, after, prior[1:], prior.log_prob(theta), prior.sample(4, seed=(1, 2)).mean

    wanted = update(batch_of_three)
    for spec in (known, unknown):
        actual = tf.function(update, input_signature=[spec])(batch_of_three)
        for ours, eager in zip(actual[:3], wanted[:3], strict=True):
            assert isinstance(ours, NormalInverseWishart) and ours.batch_shape == eager.batch_shape
            np.testing.assert_allclose(ours.log_prob(theta), eager.log_prob(theta), rtol=1e-12)
        for ours, eager in zip(actual[3:], wanted[3:], strict=True):
            np.testing.assert_allclose(ours, eager, rtol=1e-12)


@pytest.mark.parametrize("shape", [[None, 2], None], ids=["length", "rank"])
def test_a_batch_shape_may_be_unknown_until_the_graph_runs(shape):
    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float64)])
    def evaluate(loc):
        prior = NormalInverseWishart(loc, 1.0, 5.0, np.eye(2))
        return prior.log_prob((np.eye(2), np.zeros(2))), prior.mean(), prior.batch_shape_tensor()

    loc = samples.points(3, 2)
    whole = NormalInverseWishart(loc, 1.0, 5.0, np.eye(2))
    density, mean, batch = evaluate(loc)
    np.testing.assert_allclose(density, whole.log_prob((np.eye(2), np.zeros(2))), rtol=1e-12)
    np.testing.assert_array_equal(mean.covariance, whole.mean().covariance)
    np.testing.assert_array_equal(mean.mean, loc)
    np.testing.assert_array_equal(batch, [3])


@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize(
    "matrix, wanted",
    [
        ([[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([[1.0, 1.0], [1.0, 1.0]], "positive definite"),
    ],
    ids=["asymmetric", "indefinite", "singular"],
)
def test_densities_of_no_covariance_are_errors_where_asked(
    batch_of_three, matrix, wanted, is_traced
):
    for density in (batch_of_three.log_prob, batch_of_three.log_prob_parts):
        density = tf.function(density) if is_traced else density
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`covariance`: wanted {wanted}"):
            density(covariance=tf.constant(matrix, tf.float64), mean=np.zeros(2))


@pytest.mark.parametrize(
    "name, value",
    [
        ("loc", [np.nan, 0.0]),
        ("mean_precision", 0.0),
        ("df", 1.0),
        ("scale", [[1.0, 0.5], [0.0, 1.0]]),
        ("scale", [[1.0, 2.0], [2.0, 1.0]]),
    ],
)
def test_graphs_check_parameters_where_asked(name, value):
    good = {"loc": [0.0, 0.0], "mean_precision": 1.0, "df": 4.0, "scale": np.eye(2)}

    @tf.function
    def draw(part):
        return NormalInverseWishart(**(good | {name: part}), validate_args=True).sample(seed=(1, 2))

    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?i){name}"):
        draw(tf.constant(value, tf.float64))


def test_event_bijector_reaches_positive_definite_matrices_and_returns(batch_of_three):
    drawn = batch_of_three.sample(4, seed=(1, 2))
    bijector = batch_of_three.experimental_default_event_space_bijector()
    free = bijector.inverse(drawn)
    assert [part.shape for part in tf.nest.flatten(free)] == [[4, 3, 3], [4, 3, 2]]
    moved = bijector.forward(tf.nest.map_structure(lambda part: part - 3.0, free))
    assert np.linalg.eigvalsh(moved.covariance.numpy()).min() > 0.0
    again = bijector.forward(bijector.inverse(tf.nest.map_structure(tf.identity, drawn)))
    np.testing.assert_allclose(again.covariance, drawn.covariance, rtol=1e-9)


def test_constraining_bijectors_lead_to_allowed_parameters():
    properties = NormalInverseWishart.parameter_properties(tf.float64)
    assert {name: each.event_ndims for name, each in properties.items()} == {
        "loc": 1,
        "mean_precision": 0,
        "df": 0,
        "scale": 2,
    }
    shapes = {"loc": [3, 2], "mean_precision": [3], "scale": [3, 3]}
    parts = {
        name: properties[name].default_constraining_bijector_fn().forward(np.full(shape, -2.0))
        for name, shape in shapes.items()
    }
    assert NormalInverseWishart(df=5.0, **parts).batch_shape == [3]


def test_samples_follow_their_parameters_as_the_gradient_says():
    def draw(precision):
        prior = NormalInverseWishart([0.0, 0.0], precision, 6.0, np.eye(2))
        return prior.sample(3, seed=(1, 2)).mean

    precision = tf.constant(0.7, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(precision)
        total = tf.reduce_sum(draw(precision))
    difference = tf.reduce_sum(draw(precision + 1e-5) - draw(precision - 1e-5)) / 2e-5
    np.testing.assert_allclose(tape.gradient(total, precision), difference, rtol=1e-6)


@pytest.fixture
def variables():
    """A prior of which each parameter is a variable, and its values as arrays."""
    values = dict(zip(("loc", "mean_precision", "df", "scale"), samples.prior(2), strict=True))
    values = {name: np.asarray(part, np.float64) for name, part in values.items()}
    parts = {name: tf.Variable(part) for name, part in values.items()}
    return NormalInverseWishart(**parts, validate_args=True), values


@pytest.mark.parametrize("is_traced", [False, True])
def test_changes_of_variables_are_seen(variables, is_traced):
    prior, values = variables
    theta, points = (np.eye(2), np.zeros(2)), samples.points(6, 2)
    statistics = prior.statistics(points)

    def evaluate():
        predictive = prior.posterior_predictive().log_prob(points[0])
        return prior.log_prob(theta), prior.log_evidence(statistics)[0], predictive

    evaluate = tf.function(evaluate) if is_traced else evaluate
    evaluate()
    changed = {name: 1.5 * part + 0.1 * (name == "loc") for name, part in values.items()}
    for name, part in changed.items():
        getattr(prior, name).assign(part)
    after = tuple(changed.values())
    truths = (
        reference.log_prob(after, theta[1], theta[0]),
        reference.log_evidence(after, points),
        reference.predictive(after).logpdf(points[0]),
    )
    np.testing.assert_allclose(evaluate(), truths, rtol=1e-9)
    copy = prior.copy(df=9.0)
    assert copy.loc is prior.loc
    truth = reference.log_prob((after[0], after[1], 9.0, after[3]), theta[1], theta[0])
    np.testing.assert_allclose(copy.log_prob(theta), truth, rtol=1e-9)


def test_gradients_reach_each_variable(variables):
    prior, values = variables
    assert {id(each) for each in prior.trainable_variables} == {
        id(getattr(prior, name)) for name in values
    }
    mean, covariance = np.array([0.3, -0.2]), samples.positive_definite(2, 9)
    points = samples.points(6, 2)
    statistics = prior.statistics(points)
    truths = (  # SciPy takes numbers, not arrays without axes
        lambda given: reference.log_prob((*given[:2], float(given[2]), given[3]), mean, covariance),
        lambda given: reference.log_evidence(given, points),
    )
    with tf.GradientTape(persistent=True) as tape:
        ours = prior.log_prob((covariance, mean)), prior.log_evidence(statistics)
        others = prior.sample(seed=(1, 2)).mean, prior.kl_divergence(random_distribution(2, 1))
    for value, truth in zip(ours, truths, strict=True):
        for name, part in values.items():
            step = 1e-5 * (np.eye(2) if name == "scale" else np.ones_like(part))
            ends = (tuple((values | {name: part + sign * step}).values()) for sign in (1, -1))
            difference = (truth(next(ends)) - truth(next(ends))) / 2e-5
            gradient = np.sum(tape.gradient(value, getattr(prior, name)) * step / 1e-5)
            np.testing.assert_allclose(gradient, difference, rtol=1e-5)
    for value in others:
        assert None not in tape.gradient(value, prior.trainable_variables)


@pytest.mark.parametrize("name, value", [("mean_precision", -1.0), ("df", 0.5), ("loc", np.nan)])
def test_a_variable_that_leaves_its_range_is_an_error_where_asked(variables, name, value):
    prior, values = variables
    statistics = prior.statistics(samples.points(6, 2))
    getattr(prior, name).assign(np.full_like(values[name], value))
    for method in (prior.sample, prior.mean, lambda: prior.log_evidence(statistics)):
        for call in (method, tf.function(method)):
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}`: wanted"):
                call()


def test_a_variable_of_another_type_is_named():
    loc = tf.Variable([0.0, 0.0], dtype=tf.float32)
    with pytest.raises(ValueError, match="`loc`: got a variable of type float32, wanted float64"):
        NormalInverseWishart(loc, 1.0, np.float64(5.0), np.eye(2))


def test_constrained_variables_are_fitted_by_evidence():
    # Points of a far wider spread than the start: the fitted scale has to grow with theirs.
    points = 5.0 * samples.points(40, 2)
    deviation = tfp.util.TransformedVariable(np.float64(1.0), tfp.bijectors.Softplus())
    scale = tfp.util.DeferredTensor(
        deviation, lambda value: value * tf.eye(2, dtype=tf.float64), shape=[2, 2]
    )
    prior = NormalInverseWishart(np.zeros(2), 1.0, 6.0, scale)
    assert len(prior.trainable_variables) == 1
    statistics = prior.statistics(points)
    (variable,), before = prior.trainable_variables, prior.log_evidence(statistics)[0]
    with tf.GradientTape() as tape:
        value = prior.log_evidence(statistics)[0]
    variable.assign_add(tape.gradient(value, variable))
    assert prior.log_evidence(statistics)[0] > before + 1.0


@pytest.mark.parametrize("is_compiled", [False, True])
def test_variables_go_into_graphs_with_their_distribution(variables, is_compiled):
    prior, _ = variables
    plain = prior.copy(validate_args=False)
    density = tf.function(lambda each, theta: each.log_prob(theta), jit_compile=is_compiled)
    theta = MeanAndCovariance(tf.eye(2, dtype=tf.float64), tf.zeros(2, tf.float64))
    np.testing.assert_allclose(density(plain, theta), prior.log_prob(theta), rtol=1e-12)
    plain.df.assign_add(1.0)
    np.testing.assert_allclose(density(plain, theta), prior.log_prob(theta), rtol=1e-12)


def test_it_is_a_part_of_joint_distributions(batch_of_three):
    tfd = tfp.distributions

    def gaussian(prior):
        return tfd.MultivariateNormalTriL(prior.mean, tf.linalg.cholesky(prior.covariance))

    joint = tfd.JointDistributionNamed(
        {"prior": batch_of_three, "x": gaussian}, batch_ndims=1, use_vectorized_map=False
    )
    drawn = joint.sample(4, seed=(1, 2))
    given = stats.multivariate_normal(drawn["prior"].mean[2, 1], drawn["prior"].covariance[2, 1])
    truth = batch_of_three.log_prob(drawn["prior"])[2, 1] + given.logpdf(drawn["x"][2, 1])
    np.testing.assert_allclose(joint.log_prob(drawn)[2, 1], truth, rtol=1e-10)


def test_shapes_are_also_tensors_and_densities_come_with_samples(batch_of_three):
    np.testing.assert_array_equal(batch_of_three.batch_shape_tensor(), [3])
    event = batch_of_three.event_shape_tensor()
    np.testing.assert_array_equal(event.covariance, [2, 2])
    np.testing.assert_array_equal(event.mean, [2])
    assert batch_of_three.event_shape == MeanAndCovariance(
        tf.TensorShape([2, 2]), tf.TensorShape([2])
    )
    drawn, log_density = batch_of_three.experimental_sample_and_log_prob(5, seed=(1, 2))
    np.testing.assert_allclose(log_density, batch_of_three.log_prob(drawn), rtol=1e-10)


def test_tfp_makes_it_trainable_from_its_parameters_properties():
    shape = MeanAndCovariance(tf.TensorShape([3, 2, 2]), tf.TensorShape([3, 2]))
    prior = tfp.experimental.util.make_trainable(
        NormalInverseWishart, batch_and_event_shape=shape, parameter_dtype=tf.float64, df=6.0
    )
    assert prior.batch_shape == [3] and len(prior.trainable_variables) == 3
    assert np.isfinite(prior.log_prob(prior.sample(seed=(1, 2)))).all()


def test_public_module_names_the_predictive():
    assert MultivariateStudentT is tfp.distributions.MultivariateStudentTLinearOperator


@pytest.mark.parametrize(
    "name, arguments, wanted",
    [
        ("loc", (0.0, 1.0, 4.0, [[1.0]]), "shape [..., D]"),
        ("loc", ([0.0, np.nan], 1.0, 4.0, np.eye(2)), "finite numbers"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.eye(3)), "shape [..., 2, 2]"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, 1.0), "shape [..., 2, 2]"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.full((2, 2), np.nan)), "finite numbers"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        ("mean_precision", ([0.0, 0.0], [1.0, 0.0], 4.0, np.eye(2)), "positive"),
        ("df", ([0.0, 0.0], 1.0, [4.0, 1.0], np.eye(2)), "above D - 1 = 1"),
        ("loc, mean_precision, df, scale", (np.zeros((2, 2)), [1.0] * 3, 4.0, np.eye(2)), "one"),
    ],
)
def test_bad_parameters_are_named(name, arguments, wanted):
    with pytest.raises(ValueError) as raised:
        NormalInverseWishart(*arguments)
    assert str(raised.value).startswith(f"`{name}`: got ")
    assert wanted in str(raised.value).split("wanted")[1]


@pytest.mark.parametrize("points", [np.zeros(2), np.zeros((4, 3))], ids=["vector", "features"])
def test_points_of_another_shape_are_named(points):
    with pytest.raises(ValueError, match=r"`points`: got shape .*, wanted shape \[N, 2\]"):
        random_distribution(2).statistics(points)
