"""Streams end with the clusters of a fit of all their points, however they begin."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdpm
from tfdpm import metrics
from tfdpm.deepdpm import DeepDPM


def blobs(num_clusters=5, count=1500, dim=2, seed=0):
    """Unit Gaussians whose means are 10 or more apart along the first axis, and which."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, num_clusters, count)
    means = generator.uniform(-10, 10, (num_clusters, dim))
    means[:, 0] = 10.0 * np.arange(num_clusters)
    return (means[y] + generator.normal(size=(count, dim))).astype(np.float32), y


def streamed(x, sizes, **options):
    """A model after batches of these sizes, the last of which is repeated."""
    model, start, sizes = DeepDPM(seed=0), 0, list(sizes)
    while start < len(x):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        model.partial_fit(x[start : start + size], **options)
        start += size
    return model


@pytest.mark.parametrize(("size", "forgetting"), [(150, 0.1), (256, 0.0), (700, 0.1), (700, 0.0)])
def test_a_stream_ends_with_the_clusters_of_a_fit(size, forgetting):
    x, y = blobs(8, 1800, dim=3, seed=size)
    whole = DeepDPM(seed=0)
    whole.fit(x, verbose=0)
    model = streamed(x, [size], forgetting=forgetting)
    assert model.n_clusters == whole.n_clusters == 8
    assert metrics.ari(y, model.predict_labels(x)) > 0.99
    assert metrics.ari(whole.predict_labels(x), model.predict_labels(x)) > 0.99
    assert np.min(model.fitted.state.soft.counts) > 30  # none is empty


def test_large_batches_of_the_default_mixture_have_no_empty_clusters():
    x, y = tfdpm.data.gaussian_mixture(num_components=5, seed=0)
    model = streamed(x[:6000], [2500])
    assert model.n_clusters == len(np.unique(model.predict_labels(x))) == 5
    assert metrics.ari(y, model.predict_labels(x)) > 0.99


@pytest.mark.parametrize("first", ["constant", "two", "one", "nearly constant"])
def test_a_first_batch_that_shows_nothing_does_no_harm(first):
    x, y = blobs(4, 900, dim=3, seed=1)
    beginning = {
        "constant": np.full((50, 3), 3.0, np.float32),
        "two": x[:2],
        "one": x[:1],
        "nearly constant": x[:1] + 1e-6 * np.random.default_rng(0).normal(size=(50, 3)),
    }[first]
    model = DeepDPM(seed=0).partial_fit(beginning)
    if first == "one":
        assert model.parts is None
    for start in range(0, 900, 300):
        model.partial_fit(x[start : start + 300])
    # Fifty copies of a point may be a cluster of their own, with a few neighbours.
    are_copies = "constant" in first
    assert metrics.ari(y, model.predict_labels(x)) > (0.95 if are_copies else 0.99)
    assert model.n_clusters - 4 in ((0, 1) if are_copies else (0,))
    assert model.preprocessing_.feature_dim == 3


@pytest.mark.parametrize("preprocessing", ["auto", "center", "standardize"])
def test_a_column_that_begins_to_vary_is_taken_up(preprocessing):
    x, _ = blobs(2, 2000, dim=3, seed=2)
    y = np.random.default_rng(3).integers(0, 2, 400)
    x[:1600, 2] = 5.0
    x[1600:, 2] = 17.0 + 12.0 * y + np.random.default_rng(4).normal(size=400)
    model = DeepDPM(tfdpm.DeepDPMConfig(preprocessing=preprocessing), seed=0)
    model.partial_fit(x[:1600])
    assert model.n_clusters == 2
    model.partial_fit(x[1600:1800]).partial_fit(x[1800:])  # far fewer than the first batch
    late = x[1600:]
    both = 2 * (late[:, 0] > 5.0) + y
    assert model.n_clusters == 6  # two with the constant, four with what came after
    assert metrics.ari(both, model.predict_labels(late)) > 0.98


def test_three_points_per_batch_are_enough():
    x, y = blobs(3, 150, seed=5)
    model = streamed(x, [3])
    assert model.n_clusters == 3
    assert metrics.ari(y, model.predict_labels(x)) > 0.98


def test_a_moving_cluster_is_followed_and_keeps_its_name():
    generator = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [15.0, 0.0], [0.0, 15.0]])
    model, names = DeepDPM(seed=0), set()
    for _ in range(16):
        means[1] += [0.0, 0.5]  # half its deviation
        y = generator.integers(0, 3, 200)
        x = (means[y] + generator.normal(size=(200, 2))).astype(np.float32)
        model.partial_fit(x, forgetting=0.4)
        names.add(int(model.ids_[model.predict_labels(means[1:2])[0]]))
    assert model.n_clusters == 3 and len(names) == 1
    assert metrics.ari(y, model.predict_labels(x)) > 0.98
    distances = np.linalg.norm(model.means_[:, np.newaxis] - means, axis=2).min(axis=0)
    assert distances.max() < 1.5  # a moving mean trails 1 / 0.4 steps behind


def test_memory_is_bounded_and_its_points_are_as_old_as_the_statistics():
    config = tfdpm.DeepDPMConfig(max_start_points=300)
    model = DeepDPM(config, seed=0)
    x, _ = blobs(3, 4000, seed=6)
    for index in range(10):
        batch = x[400 * index : 400 * index + 400]
        model.partial_fit(np.c_[batch, np.full(400, 1e-3 * index)])
    assert len(model.memory.rows) == 300 and model.n_clusters == 3
    total = np.sum(model.fitted.state.soft.counts)
    waiting = model.fitted.result.waiting
    np.testing.assert_allclose(total + (0 if waiting is None else len(waiting)), 4000, rtol=1e-6)
    # All points count alike: batches 0 to 9 are uniform, with standard error 2.9 / sqrt(300).
    np.testing.assert_allclose(model.memory.rows[:, 2].mean(), 4.5e-3, atol=0.6e-3)


def test_remembered_points_fade_as_the_statistics_do():
    model, share = DeepDPM(seed=0), 0.75
    x, _ = blobs(2, 2000, seed=7)
    for index in range(10):
        model.partial_fit(np.c_[x[:200], np.full(200, 1e-3 * index)], forgetting=1.0 - share)
    ages = 9 - np.round(model.memory.rows[:, 2] * 1e3).astype(int)
    np.testing.assert_allclose(
        np.bincount(ages, minlength=10), 200 * share ** np.arange(10), atol=12
    )


def test_a_saved_stream_goes_on_as_if_never_saved(tmp_path):
    x, _ = blobs(4, 1500, dim=3, seed=8)
    first = streamed(x[:900], [1, 150])
    first.save(tmp_path / "model.keras")
    second = keras.models.load_model(tmp_path / "model.keras")
    for start in (900, 1050, 1200, 1350):
        first.partial_fit(x[start : start + 150])
        second.partial_fit(x[start : start + 150])
    assert first.n_clusters == second.n_clusters == 4
    np.testing.assert_allclose(first.predict(x), second.predict(x), atol=1e-5)
    np.testing.assert_array_equal(first.ids_, second.ids_)


def test_points_held_back_are_saved(tmp_path):
    x, y = blobs(2, 300, seed=9)
    DeepDPM(seed=0).partial_fit(x[:1]).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="wanted 2 values"):
        model.partial_fit(np.zeros((3, 5), np.float32))
    model.partial_fit(x[1:])
    np.testing.assert_allclose(np.sum(model.fitted.state.soft.counts), 300)
    assert metrics.ari(y, model.predict_labels(x)) > 0.98


def test_equal_seeds_give_equal_streams():
    x, _ = blobs(3, 600, seed=10)
    first, second = (streamed(x, [150], forgetting=0.2) for _ in range(2))
    np.testing.assert_array_equal(first.predict(x), second.predict(x))


def test_a_stream_after_a_fit_keeps_the_clusters_of_the_fit():
    x, y = blobs(5, 1600, dim=3, seed=11)
    is_old = y < 3
    model = DeepDPM(seed=0)
    model.fit(x[is_old], verbose=0)
    late = x[~is_old]
    for start in range(0, len(late), 200):
        model.partial_fit(late[start : start + 200])
    assert model.n_clusters == 5
    assert metrics.ari(y, model.predict_labels(x)) > 0.99
    assert set(range(3)) <= set(model.ids_.tolist())
