from __future__ import annotations

import numpy as np
import pytest

import tfdpm
from tfdpm import metrics
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.features.resolution import column_steps, repeats_by_chance


def step_of(values):
    return column_steps(np.asarray(values, np.float64)[:, np.newaxis])[0]


def test_steps_are_those_of_grids_and_of_two_values():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=6000)
    assert step_of(np.rint(3.0 * normal)) == pytest.approx(1.0, rel=0.01)
    assert step_of(np.round(normal, 1).astype(np.float32)) == pytest.approx(0.1, rel=0.02)
    assert step_of(0.48 + 0.52 * (normal > 1.8)) == pytest.approx(0.52)
    assert step_of(5.0 * rng.integers(1, 6, 6000)) == pytest.approx(5.0)
    assert step_of(normal) == 0.0 and step_of(np.ones(10)) == 0.0


def test_a_few_values_off_the_grid_hardly_matter():
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=3000), 1)
    filled_in = np.where(rng.uniform(size=3000) < 0.05, 0.3217, values)
    assert step_of(filled_in) == pytest.approx(0.1, rel=0.1)
    assert step_of([*values, 1e3, 1e3]) == pytest.approx(0.1, rel=0.05)


def test_indicators_of_one_answer_are_as_far_apart_as_answers():
    rng = np.random.default_rng(0)
    answers = np.eye(3)[rng.integers(0, 3, 500)]
    others = np.column_stack([rng.normal(size=500), rng.integers(0, 2, 500)])
    steps = column_steps(np.column_stack([others, answers, others]))
    np.testing.assert_allclose(steps, [0, 1, *[np.sqrt(2.0)] * 3, 0, 1])
    # Alone, each answer may be a cluster; two answers are none of each other's.
    np.testing.assert_allclose(column_steps(answers), 1.0)
    two = np.column_stack([answers, answers[rng.permutation(500)]])
    np.testing.assert_allclose(column_steps(two), np.sqrt(2.0))


def test_clusters_that_only_answers_tell_are_found():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 3000)
    usual = rng.integers(0, 3, (3, 7))
    usual[1:] = (usual[0] + [[1], [2]]) % 3
    is_usual = rng.uniform(size=(3000, 7)) < 0.7
    answers = np.where(is_usual, usual[labels], rng.integers(0, 3, (3000, 7)))
    model = fitted(np.eye(3)[answers].reshape(3000, 21))
    assert model.n_clusters == 3
    assert metrics.ari(labels, model.labels_) > 0.93


def test_a_lone_spike_has_no_width():
    # It may be a cluster, and says nothing of how finely the other values are told apart.
    others = np.random.default_rng(0).uniform(1.0, 2.0, 600)
    assert step_of([*np.zeros(400), *others]) == 0.0


def test_rows_repeat_by_chance_where_values_are_few():
    rng = np.random.default_rng(0)
    coarse = np.rint(rng.normal(size=(3000, 2)) * 3.0)
    fine = np.repeat(np.round(rng.normal(size=(150, 4)), 1), 10, axis=0)
    flags = np.eye(20)[rng.integers(0, 20, 300)]
    for rows, wanted in [(coarse, True), (fine, False), (flags, True)]:
        assert repeats_by_chance(rows, column_steps(rows)) == wanted
    mixed = np.column_stack([coarse, rng.normal(size=3000)])
    assert not repeats_by_chance(mixed, column_steps(mixed))
    assert not repeats_by_chance(np.ones((5, 2)), np.zeros(2))


def test_rounding_is_mapped_like_any_covariance():
    rng = np.random.default_rng(0)
    raw = np.column_stack([np.rint(rng.normal(size=4000) * 2.0), rng.normal(size=4000)])
    raw[:, 1] += raw[:, 0]
    preprocessing = fit_preprocessing(feature_moments(raw), "auto").with_resolution(raw)
    within = np.column_stack([rng.uniform(-0.5, 0.5, 200_000), np.zeros(200_000)])
    spread = np.cov((within @ preprocessing.projection).T)
    np.testing.assert_allclose(preprocessing.rounding, spread, rtol=0.03, atol=1e-3)
    assert fit_preprocessing(feature_moments(raw), "normalize").with_resolution(raw).steps is None


def fitted(rows):
    model = tfdpm.DeepDPM()
    model.fit(rows, verbose=0)
    return model


def far_blobs(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 1500)
    return np.array([[0, 0], [8, 0], [0, 8]])[labels] + rng.normal(size=(1500, 2)), labels


@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])
def test_rounded_blobs_are_found_whatever_the_step(width):
    x, labels = far_blobs()
    model = fitted(np.rint(x / width))
    assert model.n_clusters == 3
    assert metrics.ari(labels, model.labels_) > 0.9


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, axis=0), 2),
        (np.eye(4)[np.random.default_rng(0).integers(0, 4, 500)], 4),
        (np.random.default_rng(0).binomial(1, 0.3, (1000, 5)).astype(float), 1),
        (np.random.default_rng(0).integers(1, 7, (1000, 2)).astype(float), 1),
    ],
    ids=["two values", "one of four", "independent flags", "dice"],
)
def test_copies_weigh_what_they_weigh(rows, count):
    model = fitted(rows)
    assert model.n_clusters == count
    if count > 1:
        assert all(len(np.unique(rows[model.labels_ == k], axis=0)) == 1 for k in range(count))


def test_many_equal_rows_are_a_cluster_and_copies_here_and_there_are_none():
    x, labels = far_blobs()
    is_zero = np.random.default_rng(2).random(len(x)) < 0.7
    rows = np.where(is_zero[:, np.newaxis], 0.0, x + 7.0)
    model = fitted(rows)
    assert model.n_clusters == 4
    assert metrics.ari(np.where(is_zero, 3, labels), model.labels_) > 0.99
    assert fitted(np.concatenate([x, np.repeat(x[:300], 3, axis=0)])).n_clusters == 3


def test_a_column_of_few_values_does_not_decide_alone(tmp_path):
    x, labels = far_blobs()
    rng = np.random.default_rng(1)
    flags = np.eye(3)[rng.integers(0, 3, 1500)]
    rows = np.column_stack([x, flags])
    model = fitted(rows)
    assert metrics.ari(labels, model.labels_) > 0.95
    # What is known of the steps is saved with the rest.
    model.save(tmp_path / "model.keras")
    again = tfdpm.load(tmp_path / "model.keras")
    np.testing.assert_allclose(again.preprocessing_.steps, model.preprocessing_.steps)
    np.testing.assert_array_equal(again.predict_labels(rows), model.predict_labels(rows))
