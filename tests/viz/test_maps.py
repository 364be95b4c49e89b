"""Planes against closed forms, ellipses against Mahalanobis distances, regions against rules."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import erf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import tfdpm
from tests.reference.joined import join
from tfdpm.viz import maps
from tfdpm.viz.samples import PointSample, sample_points


def test_principal_plane_is_that_of_largest_variance():
    features = np.random.default_rng(0).normal(size=(500, 4)) * [0.1, 5.0, 0.2, 2.0]
    plane = maps.principal_plane(features)
    np.testing.assert_allclose(np.abs(plane), np.eye(4)[:, [1, 3]], atol=0.05)
    np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(maps.principal_plane(features[:, :1]), [[1.0, 0.0]])


def test_discriminant_plane_of_two_clusters_has_the_axis_of_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 600)
    features = (
        rng.normal(size=(600, 5)) @ rng.normal(size=(5, 5)) + 3 * rng.normal(size=(2, 5))[labels]
    )
    ours = features @ maps.discriminant_plane(features, labels)
    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=1).fit(features, labels)
    axis = theirs.transform(features)[:, 0]
    assert abs(np.corrcoef(ours[:, 0], axis)[0, 1]) > 0.9999


def test_discriminant_plane_has_the_largest_sum_over_pairs_of_clusters():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 6, 3000)
    centers = 4 * rng.normal(size=(6, 5))
    features = rng.normal(size=(3000, 5)) + centers[labels]  # as wide in every direction
    means = np.stack([features[labels == k].mean(axis=0) for k in range(6)])
    shares = np.bincount(labels) / 3000

    def shown(plane):  # of what pairs tell apart, in a slow loop
        axes, total = np.linalg.qr(plane)[0], 0.0
        for i in range(6):
            for j in range(i):
                gap = means[i] - means[j]
                far = np.linalg.norm(gap)
                share = shares[i] * shares[j] * erf(far / (2 * np.sqrt(2))) / (2 * far**2)
                total += share * np.sum((axes.T @ gap) ** 2)
        return total

    others = [shown(rng.normal(size=(5, 2))) for _ in range(300)]
    fisher = LinearDiscriminantAnalysis(solver="eigen", n_components=2).fit(features, labels)
    ours = shown(maps.discriminant_plane(features, labels))
    assert ours > max(others) and ours >= shown(fisher.scalings_[:, :2])


def test_clusters_far_from_all_others_do_not_stack_the_rest():
    rng = np.random.default_rng(5)
    angles = np.arange(10) * np.pi / 5
    ring = 12 * np.stack([np.zeros(10), np.zeros(10), np.cos(angles), np.sin(angles)], axis=1)
    centers = np.concatenate([ring, 300 * np.eye(4)[:2]])
    labels = rng.integers(0, 12, 1600)
    features = rng.normal(size=(1600, 4)) + centers[labels]
    weighted = features @ maps.discriminant_plane(features, labels)
    fisher = LinearDiscriminantAnalysis(n_components=2).fit_transform(features, labels)
    of_both = [maps.neighbours_within(points, labels) for points in (weighted, fisher)]
    assert of_both[0] > 0.85 > 0.5 > of_both[1]


def test_neighbours_within_counts_each_cluster_alike():
    points = np.concatenate([np.arange(30.0), 100 + np.arange(4.0), [500.0]])[:, np.newaxis]
    labels = np.repeat([7, 3, 5], [30, 4, 1])
    assert maps.neighbours_within(points, labels) == 1.0  # three neighbours are all there are
    labels[0] = 3
    few = maps.neighbours_within(points, labels)
    assert 0.5 < few < 0.95 * 1.0
    assert maps.neighbours_within(points[:2], np.array([0, 1])) == 0.0


def test_a_layout_is_taken_where_no_plane_keeps_clusters_apart(solid_data, solid_model):
    x, y = tfdpm.data.gaussian_mixture(40, 12, 1200, separation=6.0, seed=3)
    responsibilities = np.eye(40)[y]
    sample = PointSample(np.arange(len(x)), x, x, responsibilities, None, len(x))
    mixture = (np.ones(40) / 40, np.zeros((40, 12)), np.tile(np.eye(12), (40, 1, 1)))
    model = SimpleNamespace(mixture_=mixture, cluster_of_component_=np.arange(40), encoder=None)
    plane = maps.cluster_map(model, sample)
    assert "UMAP" in plane.title and plane.axis_names == ("UMAP 1", "UMAP 2")
    assert maps.neighbours_within(plane.points, y) > 0.95
    assert maps.neighbours_within(maps.cluster_map(model, sample, "lda").points, y) < 0.7
    for k in range(40):
        own = plane.points[y == k]
        np.testing.assert_allclose(plane.means[k], own.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(plane.covariances[k], np.cov(own.T, bias=True), atol=1e-4)
    sample = sample_points(solid_model, solid_data[0])
    assert "UMAP" not in maps.cluster_map(solid_model, sample).title


def test_two_clusters_get_a_second_axis_that_is_not_the_first():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 100)
    features = rng.normal(size=(200, 3)) * [1.0, 1.0, 4.0] + 20.0 * labels[:, None] * [1, 0, 0]
    axes = maps.discriminant_plane(features, labels)
    assert abs(axes[0, 0]) > 0.99
    assert abs(axes[2, 1]) > 0.99


def test_ellipses_lie_so_many_standard_deviations_from_the_mean():
    mean, root = np.array([3.0, -1.0]), np.array([[2.0, 0.0], [1.5, 0.5]])
    for deviations in (2.0, 1.0):
        (outline,) = maps.ellipses(mean[None], (root @ root.T)[None], deviations)
        whitened = np.linalg.solve(root, outline - mean[:, None])
        np.testing.assert_allclose(np.linalg.norm(whitened, axis=0), deviations)


def test_two_columns_are_shown_as_they_are_and_regions_are_the_networks(plane_model, plane_data):
    plane = maps.cluster_map(plane_model, sample_points(plane_model, plane_data))
    assert plane.is_exact
    np.testing.assert_array_equal(plane.points, plane_data[0])
    np.testing.assert_allclose(plane.means, plane_model.means_)
    limits = np.array([[-1.0, 2.0], [3.0, 5.0]])
    owners = maps.regions(plane_model, plane, limits, 4)
    corners = plane_model.predict_labels(
        np.array([[-1.0, 3.0], [2.0, 3.0], [-1.0, 5.0], [2.0, 5.0]])
    )
    np.testing.assert_array_equal(owners[[0, 0, 3, 3], [0, 3, 0, 3]], corners)


@pytest.mark.parametrize(
    ("projection", "name"), [("lda", "LDA 1"), ("pca", "PCA 1"), ("umap", "UMAP 1")]
)
def test_more_columns_are_projected_and_points_lie_in_their_regions(
    projection, name, solid_model, solid_data
):
    sample = sample_points(solid_model, solid_data)
    plane = maps.cluster_map(solid_model, sample, projection)
    assert plane.axis_names[0] == name
    own = np.stack([plane.points[plane.labels == k].mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(plane.means, own, atol=0.2)
    owners = maps.regions(solid_model, plane, plane.limits, 80)
    cells = (plane.points - plane.limits[:, 0]) / (plane.limits[:, 1] - plane.limits[:, 0]) * 79
    column, row = np.rint(cells).astype(int).T
    assert np.mean(owners[row, column] == plane.labels) > (0.75 if name == "PCA 1" else 0.97)


def test_an_unknown_projection_is_an_error(solid_model, solid_data):
    with pytest.raises(ValueError, match="`projection`: got 'tsne'"):
        maps.cluster_map(solid_model, sample_points(solid_model, solid_data), "tsne")


def test_components_are_drawn_inside_their_clusters(plane_data):
    model = tfdpm.fit(plane_data, epochs=1, verbose=0)
    join(model, (0, 2, -1.0))
    plane = maps.cluster_map(model, sample_points(model, plane_data))
    assert len(plane.means) == len(plane.covariances) == 3
    np.testing.assert_array_equal(plane.clusters, [0, 1, 0])
    assert plane.heaviest[1] == 1
    assert plane.heaviest[0] == (0 if plane.weights[0] > plane.weights[2] else 2)
    owners = maps.regions(model, plane._replace(is_exact=False), plane.limits, 20)
    assert set(owners.ravel()) == {0, 1}
    for component, cluster in enumerate(plane.clusters):
        limits = plane.means[component][:, np.newaxis] + [0.0, 1e-6]
        assert (maps.regions(model, plane._replace(is_exact=False), limits, 2) == cluster).all()
    axes = model.plot(plane_data[0])
    assert axes.get_title().startswith("2 clusters")
    assert len(axes.lines) == 3 and len(axes.texts) == 2
