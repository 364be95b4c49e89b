"""Coordinates in which clusters are round on average, held to closed forms and known clusters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import tfdpm
from tests.reference.searches import search_settings
from tfdpm import metrics
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.search import whitened_search as module
from tfdpm.search.mixture_search import MixtureSearch


def overlapping(num_points=1500, dim=24, num_clusters=12, seed=0):
    """Unit rows whose spread is mostly within classes, and differs by direction."""
    generator = np.random.default_rng(seed)
    spread = np.sqrt(1.0 / (1 + np.arange(dim)))
    means = generator.normal(size=(num_clusters, dim)) * 0.65 * spread[::-1]
    labels = generator.integers(0, num_clusters, num_points)
    x = means[labels] + 0.35 * generator.normal(size=(num_points, dim)) * 2.5 * spread
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def test_clusters_are_round_on_average_after_the_map():
    x, labels = overlapping()
    points = x.astype(float) - x.mean(axis=0)
    _, linear = module._whiten(points, labels, search_settings(points.shape[1]), 0)
    mapped = points @ linear
    within = sum(
        (mapped[labels == k] - mapped[labels == k].mean(axis=0)).T
        @ (mapped[labels == k] - mapped[labels == k].mean(axis=0))
        for k in np.unique(labels)
    )
    np.testing.assert_allclose(within / within[0, 0], np.eye(len(within)), atol=1e-6)
    assert mapped.var(axis=0).mean() == pytest.approx(1.0)


def test_the_share_within_clusters_is_that_of_a_slow_loop():
    x, labels = overlapping(300, 5, 3)
    x = x.astype(float)
    within = sum(((x[labels == k] - x[labels == k].mean(axis=0)) ** 2).sum() for k in range(3))
    share = within / ((x - x.mean(axis=0)) ** 2).sum()
    assert module.within_cluster_share(x, labels) == pytest.approx(share)
    assert module.within_cluster_share(x, np.zeros(300, int)) == pytest.approx(1.0)


def test_evidence_of_axes_that_were_not_seen_is_that_of_one_gaussian():
    x, _ = overlapping()
    moments = feature_moments(x)
    narrow = fit_preprocessing(moments, "auto").leading()
    wide = fit_preprocessing(moments, "auto", wider=2.0).leading()
    assert wide.feature_dim > narrow.feature_dim
    features = wide.transform(x).astype(float)
    ratio = narrow.transform(x).astype(float)[:, 0] / features[:, 0]

    class Flat:
        """A search to which every point has density one."""

        def score(self, labels):
            return 0.0

    found = module.SearchResult(Flat(), np.zeros(len(x), int), None, narrow)
    rest = features[:, narrow.feature_dim :]
    density = multivariate_normal(rest.mean(axis=0), np.diag(rest.var(axis=0)))
    expected = density.logpdf(rest).mean() - rest.shape[1] * np.log(len(x)) / len(x)
    expected += narrow.feature_dim * np.log(np.abs(ratio).mean())
    assert module._score_in_wider_features(found, wide, features) == pytest.approx(
        expected, abs=1e-4
    )


def test_overlapping_clusters_of_scarce_points_are_found(monkeypatch):
    x, labels = overlapping()
    model = tfdpm.DeepDPM(seed=0)
    model.fit(x, verbose=0)
    with_rounding = metrics.nmi(labels, model.labels_)
    assert "round on average" in model.preprocessing_.description
    settings = dataclasses.replace(module._SETTINGS, overlap=np.inf)
    monkeypatch.setattr(module, "_SETTINGS", settings)
    plain = tfdpm.DeepDPM(seed=0)
    plain.fit(x, verbose=0)
    assert with_rounding > metrics.nmi(labels, plain.labels_) + 0.05
    assert abs(model.n_clusters - 12) <= 3


def test_turns_end_with_the_first_that_changes_no_cluster(monkeypatch):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    features = 10.0 * generator.normal(size=(4, 6))[labels] + generator.normal(size=(400, 6))
    searches = []
    real = MixtureSearch.run_from
    monkeypatch.setattr(
        MixtureSearch, "run_from", lambda self, *given: searches.append(self) or real(self, *given)
    )
    turn = module._alternate(features, labels, search_settings(6), 0)
    np.testing.assert_array_equal(turn.labels, labels)
    assert searches == [turn.search]


def test_separate_clusters_keep_their_principal_axes():
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.normal(8 * k, 1, (200, 3)) for k in range(4)])
    model = tfdpm.DeepDPM(seed=0)
    model.fit(x, verbose=0)
    assert model.n_clusters == 4
    assert "round on average" not in model.preprocessing_.description


@pytest.mark.parametrize("kind", ["gaussian", "t", "cube"])
def test_one_cloud_stays_one_cluster(kind):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(1000, 30))
    if kind == "t":
        x = x[:, :10] / np.sqrt(generator.chisquare(3, (1000, 1)) / 3)
    if kind == "cube":
        x = generator.uniform(size=(1000, 30))
    model = tfdpm.DeepDPM(seed=0)
    model.fit(x.astype(np.float32), verbose=0)
    assert model.n_clusters == 1


def test_turning_and_scaling_the_data_changes_nothing():
    x, labels = overlapping()
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(24, 24)))[0]
    first, second = tfdpm.DeepDPM(seed=0), tfdpm.DeepDPM(seed=0)
    first.fit(x, verbose=0)
    second.fit((1000.0 * (x @ turn) + 5.0).astype(np.float32), verbose=0)
    assert metrics.nmi(first.labels_, second.labels_) > 0.9
