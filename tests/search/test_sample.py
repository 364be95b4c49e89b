from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from tests.reference import mixture as reference
from tests.reference import samples
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.search.points.groups import distinct_rows, sample_moments, without_gaps
from tfdpm.search.points.sample import Sample

NUM_COMPONENTS = 4
# Below and above the number of features up to which products are kept.
DIMS = pytest.mark.parametrize("dim", [3, 30])


def sample_of(dim, num_points=50):
    points = samples.points(num_points, dim, seed=dim)
    return points, Sample(points)


def assert_statistics(actual, expected, atol=1e-9):
    for part, wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(part, wanted, atol=atol)


@DIMS
@pytest.mark.parametrize("some", [False, True])
def test_hard_statistics_are_those_of_a_loop(dim, some):
    points, sample = sample_of(dim)
    rows = np.array([3, 7, 7, 20, 41, 0]) if some else np.arange(50)
    labels = np.random.default_rng(0).choice([0, 1, 3], size=len(rows))  # 2 stays empty
    expected = reference.moments(points[rows], np.eye(NUM_COMPONENTS)[labels])
    actual = sample.hard_statistics(labels, NUM_COMPONENTS, rows if some else None)
    assert_statistics(actual, expected)
    assert actual.counts[2] == 0.0


def test_hard_statistics_of_many_groups_are_those_of_a_loop():
    points, sample = sample_of(3)
    labels = np.random.default_rng(0).integers(100, size=50)
    expected = reference.moments(points, np.eye(100)[labels])
    assert_statistics(sample.hard_statistics(labels, 100), expected)
    rows = np.arange(0, 50, 3)
    expected = reference.moments(points[rows], np.eye(100)[labels[rows]])
    assert_statistics(sample.hard_statistics(labels[rows], 100, rows), expected)


@DIMS
def test_the_e_step_and_its_statistics_are_those_of_a_loop(dim):
    points, sample = sample_of(dim, num_points=600)  # more than a block
    parameters = (
        np.array([0.1, 0.2, 0.7]),
        samples.points(3, dim, seed=9),
        np.stack([samples.positive_definite(dim, seed) for seed in range(3)]),
    )
    expected = reference.responsibilities(*parameters, points)
    labels, statistics = sample.expectation(MixtureParameters(*parameters))
    np.testing.assert_array_equal(labels, expected.argmax(axis=1))
    np.testing.assert_array_equal(sample.labels(MixtureParameters(*parameters)), labels)
    assert_statistics(statistics, reference.moments(points, expected), atol=1e-6)


@DIMS
@pytest.mark.parametrize("cores", [1, 3])
def test_the_e_step_adds_up_over_many_blocks_on_any_number_of_cores(dim, cores, monkeypatch):
    points, sample = sample_of(dim, num_points=20_000)
    gaussians = MixtureParameters(
        np.array([0.1, 0.2, 0.7]),
        samples.points(3, dim, seed=9),
        np.stack([samples.positive_definite(dim, seed) for seed in range(3)]),
    )
    mixture = TMixtureParameters(*gaussians, np.array([2.0, 5.0, 9.0]))
    parts = [Sample(piece) for piece in np.array_split(points, 40)]  # none has two blocks
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    labels, statistics = sample.expectation(gaussians)
    pieces, sums = zip(*[part.expectation(gaussians) for part in parts], strict=True)
    np.testing.assert_array_equal(labels, np.concatenate(pieces))
    np.testing.assert_array_equal(sample.labels(gaussians), labels)
    for place, part in enumerate(statistics):
        np.testing.assert_allclose(part, sum(each[place] for each in sums), rtol=1e-9, atol=1e-6)
    entropies = [part.entropy(gaussians) for part in parts]
    assert sample.entropy(gaussians) == pytest.approx(sum(entropies), rel=1e-9)
    labels, found = sample.t_expectation(mixture)
    pieces, sums = zip(*[part.t_expectation(mixture) for part in parts], strict=True)
    np.testing.assert_array_equal(labels, np.concatenate(pieces))
    for name in ("counts", "log_weights"):
        total = sum(getattr(each, name) for each in sums)
        np.testing.assert_allclose(getattr(found, name), total, rtol=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("values", [3, 10_000])
def test_distinct_rows_are_those_of_numpy(dim, values):
    generator = np.random.default_rng(0)
    rows = generator.integers(values, size=(300, dim)).astype(np.float32)
    np.testing.assert_array_equal(distinct_rows(rows), np.unique(rows, axis=0))
    rows = np.concatenate([generator.normal(size=(300, dim)), [[0.0] * dim, [-0.0] * dim]])
    np.testing.assert_array_equal(distinct_rows(rows), np.unique(rows, axis=0))
    assert len(distinct_rows(rows[:0])) == 0


def test_groups_without_members_are_left_out():
    present, labels = without_gaps(np.array([5, 2, 5, 7]))
    assert present.tolist() == [2, 5, 7]
    assert labels.tolist() == [1, 0, 1, 2]


@DIMS
def test_the_e_step_under_t_distributions_is_that_of_a_loop(dim):
    points, sample = sample_of(dim, num_points=600)
    mixture = TMixtureParameters(
        np.array([0.1, 0.2, 0.7]),
        samples.points(3, dim, seed=9),
        np.stack([samples.positive_definite(dim, seed) for seed in range(3)]),
        np.array([0.4, 3.0, 50.0]),
    )
    joint = reference.t_log_joint(*mixture, points)
    shares = np.exp(joint - special.logsumexp(joint, axis=1, keepdims=True))
    u = np.empty_like(shares)
    for k, (_, mean, scale, df) in enumerate(zip(*mixture, strict=True)):
        for n, point in enumerate(points):
            squared = (point - mean) @ np.linalg.solve(scale, point - mean)
            u[n, k] = (df + dim) / (df + squared)
    labels, statistics = sample.t_expectation(mixture)
    np.testing.assert_array_equal(labels, joint.argmax(axis=1))
    np.testing.assert_array_equal(sample.labels(mixture), labels)
    np.testing.assert_allclose(statistics.counts, shares.sum(axis=0), atol=1e-6)
    assert_statistics(statistics.weighted, reference.moments(points, shares * u), atol=1e-6)
    expected = (shares * (np.log(u) - u)).sum(axis=0)
    np.testing.assert_allclose(statistics.log_weights, expected, atol=1e-6)


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_components_that_leading_axes_rule_out_have_no_share_in_a_point(spread):
    # Clusters that overlap, and clusters of which most are ruled out by 16 of 40 axes.
    rng = np.random.default_rng(0)
    means = spread * rng.standard_normal((12, 40))
    points = means[rng.integers(12, size=900)] + rng.standard_normal((900, 40))
    covariances = np.tile(np.eye(40), (12, 1, 1))
    parameters = MixtureParameters(np.full(12, 1 / 12), means, covariances)
    expected = reference.responsibilities(*parameters, points)
    labels, statistics = Sample(points).expectation(parameters)
    np.testing.assert_array_equal(labels, expected.argmax(axis=1))
    assert_statistics(statistics, reference.moments(points, expected), atol=1e-6)
    entropy = special.entr(expected).sum()
    np.testing.assert_allclose(Sample(points).entropy(parameters), entropy, atol=1e-9)


def many_clusters(dim, count=100, num_points=600):
    """Gaussians on a line of pairs that overlap, their points, and these about the middle."""
    rng = np.random.default_rng(dim)
    means = np.zeros((count, dim))
    means[:, 0] = 2.0 * np.arange(count) + 9.0 * (np.arange(count) // 2)
    means[:, 0] -= means[:, 0].mean()
    points = means[np.arange(num_points) % count] + rng.standard_normal((num_points, dim))
    covariances = np.stack([samples.positive_definite(dim, seed) for seed in range(count)])
    return points, MixtureParameters(np.full(count, 1 / count), means, covariances)


@pytest.mark.parametrize("dim", [2, 30])
def test_components_near_the_likeliest_one_are_all_that_an_e_step_needs(dim):
    points, parameters = many_clusters(dim)
    sample = Sample(points)
    labels, near = sample.assign(parameters)
    expected = reference.responsibilities(*parameters, points)
    np.testing.assert_array_equal(labels, expected.argmax(axis=1))
    assert len(points) < near.num_pairs < 8 * len(points)  # of a hundred components
    for known in (None, near):
        labels, statistics = sample.expectation(parameters, known)
        np.testing.assert_array_equal(labels, expected.argmax(axis=1))
        assert_statistics(statistics, reference.moments(points, expected), atol=1e-5)
    mixture = TMixtureParameters(*parameters, np.full(100, 40.0))
    (labels, everyone), (others, few) = (sample.t_expectation(mixture, of) for of in (None, near))
    np.testing.assert_array_equal(labels, others)
    np.testing.assert_allclose(few.counts, everyone.counts, atol=1e-6)
    np.testing.assert_allclose(few.log_weights, everyone.log_weights, atol=1e-6)


def test_parts_and_unions_are_near_what_they_were_made_of():
    points, parameters = many_clusters(2)
    sample = Sample(points)
    labels, near = sample.assign(parameters)
    # Each second pair of neighbours becomes one, and others are cut.
    made = np.where(labels // 2 % 2, 200 + labels // 2, labels + 100 * (np.arange(600) % 3 == 0))
    made = np.unique(made, return_inverse=True)[1]
    followed = near.followed(made)
    count = made.max() + 1
    means, covariances = sample_moments(sample.hard_statistics(made, count))
    after = MixtureParameters(np.full(count, 1 / count), means, covariances + 0.1 * np.eye(2))
    wanted, found = sample.expectation(after), sample.expectation(after, followed)
    np.testing.assert_array_equal(found[0], wanted[0])
    assert_statistics(found[1], wanted[1], atol=1e-5)
    assert followed.num_pairs < 0.1 * 600 * count


def test_points_whose_components_are_all_gone_may_belong_to_any():
    points, parameters = many_clusters(2)
    near = Sample(points).assign(parameters)[1]
    is_kept = np.ones(100, bool)
    is_kept[6] = False  # its pair is still there
    assert near.chosen(is_kept).graph.shape == (100, 99)
    is_kept[7] = False
    assert near.chosen(is_kept) is None


def test_the_e_step_of_far_points_has_no_nan():
    sample = Sample(np.array([[0.0], [1e6]]))
    parameters = MixtureParameters(
        np.full(2, 0.5), np.array([[0.0], [1.0]]), np.full((2, 1, 1), 1e-4)
    )
    labels, statistics = sample.expectation(parameters)
    np.testing.assert_array_equal(labels, [0, 1])
    np.testing.assert_allclose(statistics.counts, [1.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(statistics.sums, [[0.0], [1e6]], atol=1e-6)


def test_moments_are_sample_means_and_covariances():
    points, sample = sample_of(3)
    labels = np.arange(50) % 2
    means, covariances = sample_moments(sample.hard_statistics(labels, 2))
    for k in range(2):
        rows = points[labels == k]
        np.testing.assert_allclose(means[k], rows.mean(axis=0))
        np.testing.assert_allclose(covariances[k], np.cov(rows.T, bias=True), atol=1e-12)


def test_sides_are_those_of_each_clusters_principal_axis():
    points, sample = sample_of(3)
    labels = np.arange(50) % 2
    sides = sample.principal_axis_sides(labels, sample.hard_statistics(labels, 2))
    for k in range(2):
        rows = points[labels == k]
        axis = np.linalg.eigh(np.cov(rows.T))[1][:, -1]
        expected = (rows - rows.mean(axis=0)) @ axis > 0
        agreement = np.mean(sides[labels == k] == expected)
        assert agreement in (0.0, 1.0)  # the axis has no sign


def test_two_means_is_lloyds_algorithm_in_every_cluster():
    points, sample = sample_of(3)
    labels = np.arange(50) % 2
    start = np.random.default_rng(0).integers(2, size=50)
    sides = sample.two_means_sides(labels, 2, start, iterations=50)
    for k in range(2):
        rows, expected = points[labels == k], start[labels == k]
        for _ in range(50):
            centres = np.stack([rows[expected == side].mean(axis=0) for side in (0, 1)])
            expected = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        np.testing.assert_array_equal(sides[labels == k], expected)


def test_distances_are_mahalanobis_distances_to_the_own_cluster():
    points = np.random.default_rng(1).normal(size=(50, 3)) * [1.0, 2.0, 3.0]
    sample, rows = Sample(points), np.arange(0, 50, 2)
    labels = np.random.default_rng(0).integers(2, size=len(rows))
    statistics = sample.hard_statistics(labels, 2, rows)
    actual = sample.distances_to_own(labels, statistics, rows)
    for k in range(2):
        own = points[rows[labels == k]]
        offsets = own - own.mean(axis=0)
        expected = np.einsum(
            "nd,de,ne->n", offsets, np.linalg.inv(np.cov(own.T, bias=True)), offsets
        )
        np.testing.assert_allclose(actual[labels == k], expected, rtol=1e-4)


def test_distances_are_finite_where_a_cluster_is_flat_or_single():
    points = np.zeros((6, 3))
    points[:5, 0] = np.arange(5)
    sample, labels = Sample(points), np.array([0, 0, 0, 0, 0, 1])
    statistics = sample.hard_statistics(labels, 2)
    assert isinstance(statistics, SufficientStatistics)
    distances = sample.distances_to_own(labels, statistics, np.arange(6))
    assert np.isfinite(distances).all() and distances[5] == 0.0


def test_distances_to_many_clusters_are_those_to_few():
    points, sample = sample_of(3, num_points=400)
    rows = np.arange(0, 400, 2)
    labels = np.random.default_rng(0).integers(5, size=len(rows))
    few = sample.hard_statistics(labels, 5, rows)
    many = sample.hard_statistics(labels, 100, rows)  # the other 95 have no points
    np.testing.assert_allclose(
        sample.distances_to_own(labels, many, rows),
        sample.distances_to_own(labels, few, rows),
        rtol=1e-7,
    )


def test_halves_of_a_component_are_its_two_clumps():
    generator = np.random.default_rng(0)
    centres = np.array([[-12.0, 0.0], [-8.0, 0.0], [9.0, -3.0], [9.0, 3.0]])
    points = (centres[:, np.newaxis] + 0.3 * generator.standard_normal((4, 30, 2))).reshape(-1, 2)
    parameters = MixtureParameters(
        np.full(2, 0.5), np.array([[-10.0, 0.0], [9.0, 0.0]]), np.stack([9.0 * np.eye(2)] * 2)
    )
    halves = Sample(points).two_means_halves(parameters)
    np.testing.assert_array_equal(halves.counts, np.full((2, 2), 30.0))
    means = (halves.sums / halves.counts[..., np.newaxis]).reshape(-1, 2)
    expected = points.reshape(4, 30, 2).mean(axis=1)
    # Which of the two sides of an axis comes first is the eigenvectors' choice.
    np.testing.assert_allclose(means[np.lexsort(np.round(means.T[::-1]))], expected, atol=1e-12)
