"""Fits with every covariance structure, and the choice between them by evidence."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdpm
from tests.reference.searches import search_settings
from tfdpm.search.model_selection import select_search


def spherical_clusters(dim, per_cluster, count=3, seed=0):
    rng = np.random.default_rng(seed)
    centres = 12.0 * rng.normal(size=(count, dim)) / np.sqrt(dim)
    labels = np.repeat(np.arange(count), per_cluster)
    points = centres[labels] + rng.normal(size=(len(labels), dim))
    return (points - points.mean(axis=0)) / points.std(), labels


@pytest.mark.parametrize("structure", ["diagonal", "spherical"])
def test_a_fit_finds_and_keeps_restricted_components(structure, tmp_path):
    x, y = spherical_clusters(4, 100)
    config = tfdpm.DeepDPMConfig(covariance=structure, epochs=3, preprocessing="center")
    model = tfdpm.fit((x, y), config=config)
    assert model.n_clusters == 3
    assert tfdpm.metrics.ari(y, model.labels_) == 1.0
    covariances = model.mixture_.covariances.numpy()
    diagonal = np.diagonal(covariances, axis1=1, axis2=2)
    np.testing.assert_array_equal(covariances, diagonal[:, :, None] * np.eye(4))
    assert (np.ptp(diagonal, axis=1) < 1e-12).all() == (structure == "spherical")
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.score_samples(x), model.score_samples(x))


def test_spherical_components_are_chosen_where_points_are_too_few_to_tell_more():
    points, labels = spherical_clusters(24, 40)
    search, found, _ = select_search(points, search_settings(24, covariance="auto"), 0, 1)
    assert search.covariance == "spherical"
    assert tfdpm.metrics.ari(labels, found) == 1.0


def test_full_components_are_chosen_where_features_go_together():
    rng = np.random.default_rng(0)
    points, labels = spherical_clusters(6, 60)
    points = points @ rng.normal(size=(6, 6))
    search, _, _ = select_search(points / points.std(), search_settings(6, covariance="auto"), 0, 1)
    assert search.covariance == "full"


def test_an_unknown_structure_is_named():
    with pytest.raises(ValueError, match="covariance.*'round'.*spherical"):
        tfdpm.DeepDPMConfig(covariance="round")
