from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm import DeepDPMConfig, metrics
from tfdpm.deepdpm import DeepDPM
from tfdpm.networks.pair import NetworkPair
from tfdpm.training import online

MEANS = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0], [12.0, 12.0], [24.0, 0.0]])


def batch(clusters, count=200, seed=0):
    """Points of unit Gaussians at some of `MEANS`, and which."""
    generator = np.random.default_rng(seed)
    y = generator.choice(clusters, count)
    return (MEANS[y] + generator.normal(size=(count, 2))).astype(np.float32), y


def nearest(model):
    """Index in `MEANS` of each component's mean, sorted; each must be near."""
    distances = np.linalg.norm(model.means_[:, np.newaxis] - MEANS, axis=2)
    assert distances.min(axis=1).max() < 1.0
    return sorted(distances.argmin(axis=1).tolist())


@pytest.fixture(scope="module")
def followed():
    """A model after batches in which two clusters appear and then two others are seen no more."""
    model = DeepDPM(seed=0)
    counts = []
    model.partial_fit(batch([0, 1, 2], 600)[0])
    for step in range(30):
        shown = [0, 1, 2] if step < 3 else [0, 1, 2, 3, 4] if step < 8 else [1, 3, 4]
        model.partial_fit(batch(shown, seed=step + 1)[0], forgetting=0.3)
        counts.append(model.n_clusters)
    return model, counts


def test_clusters_are_born_when_they_appear_and_die_when_they_are_forgotten(followed):
    model, counts = followed
    assert counts[2] == 3 and counts[7] == 5 and counts[-1] == 3
    assert nearest(model) == [1, 3, 4]


def test_networks_follow_the_mixture(followed):
    model, _ = followed
    x, y = batch([1, 3, 4], seed=99)
    assert metrics.ari(y, model.predict_labels(x)) > 0.99
    np.testing.assert_allclose(model.predict(x).sum(axis=1), 1.0, rtol=1e-5)
    assert len(model.labels_) == 200


@pytest.mark.parametrize(("most", "times"), [(4096, 1), (60, 2)])
def test_networks_are_asked_once_for_a_batch_that_they_know(followed, most, times, monkeypatch):
    model, asked = followed[0], []
    respond = NetworkPair.responsibilities

    def counted(networks, features, *given):
        asked.append(len(features))
        return respond(networks, features, *given)

    monkeypatch.setattr(online, "_MOST_ASKED", most)
    for name in ("memory", "parts"):
        monkeypatch.setattr(model, name, getattr(model, name))  # for the other tests
    x, y = batch([1, 3, 4], 100, seed=98)
    with monkeypatch.context() as patch:
        patch.setattr(NetworkPair, "responsibilities", counted)
        model.partial_fit(x)
    # Of a long batch, every other point tells whether they know it, and all are labelled.
    assert len(asked) == times and asked[0] >= 100 // times + 256
    np.testing.assert_array_equal(model.labels_, model.predict_labels(x))
    assert metrics.ari(y, model.labels_) > 0.99


def test_statistics_remember_as_many_points_as_forgetting_leaves(followed):
    model, _ = followed
    # 200 points a batch, each batch 0.3 of the whole: 200 / 0.3 in the long run.
    remembered = np.sum(model.fitted.state.soft.counts)
    np.testing.assert_allclose(remembered, 200 / 0.3, rtol=0.02)


def test_without_forgetting_batches_add_up_to_the_whole():
    x, _ = batch([0, 1, 2], 900)
    model = DeepDPM(seed=0).partial_fit(x[:300])
    for start in (300, 500, 700):
        model.partial_fit(x[start : start + 200])
    waiting, counts = model.fitted.result.waiting, model.fitted.state.soft.counts
    np.testing.assert_allclose(np.sum(counts) + len(waiting), 900, rtol=1e-6)
    assert nearest(model) == [0, 1, 2]
    distances = np.linalg.norm(model.means_[:, np.newaxis] - MEANS, axis=2).min(axis=1)
    assert distances.max() < 0.25  # standard error 0.06 along each axis


def test_a_stream_is_as_many_batches():
    x, _ = batch([0, 1, 2], 900)
    model, other = DeepDPM(seed=0), DeepDPM(seed=0)
    model.partial_fit(tf.data.Dataset.from_tensor_slices(x).batch(300), forgetting=0.1)
    for start in (0, 300, 600):
        other.partial_fit(x[start : start + 300], forgetting=0.1)
    np.testing.assert_array_equal(model.means_, other.means_)
    np.testing.assert_array_equal(model.labels_, other.labels_)
    assert len(model.labels_) == 300 and nearest(model) == [0, 1, 2]


@pytest.mark.parametrize("ends_apart", [False, True])
def test_a_full_sample_is_searched_anew_only_where_moves_change_its_clusters(
    ends_apart, monkeypatch
):
    """Batches of three clusters, one of which may become two, as slowly as none surprises."""
    model, searches = DeepDPM(DeepDPMConfig(max_start_points=600), seed=0), []
    search = online._search
    monkeypatch.setattr(online, "_search", lambda *given: searches.append(0) or search(*given))
    due = []
    for step in range(40):
        x, y = batch([0, 1, 2], seed=step)
        apart = 0.15 * step if ends_apart else 0.0
        x[y == 0] += np.where(np.arange(len(x))[y == 0, np.newaxis] % 2, -apart, 0.0)
        before, made = model.memory, len(searches)
        model.partial_fit(x.astype(np.float32), forgetting=0.25)
        if before is not None and before.num_searched >= 600 and model.memory.num_new == 0.0:
            due.append(len(searches) > made)
    assert len(due) > 4 and any(due) == ends_apart
    assert model.n_clusters == 3 + ends_apart
    x, y = batch([1, 2], seed=99)
    assert metrics.ari(y, model.predict_labels(x)) > 0.99


def test_an_endless_stream_is_followed_epoch_by_epoch():
    def endless():
        for step in range(10**9):
            yield batch([0, 1] if step < 8 else [0, 1, 4], 100, seed=step)[0]

    stream = tf.data.Dataset.from_generator(
        endless, output_signature=tf.TensorSpec([None, 2], tf.float32)
    ).apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    model = DeepDPM(seed=0)
    epochs = []
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    history = model.fit(
        stream, steps_per_epoch=4, epochs=4, forgetting=0.2, verbose=0, callbacks=[seen]
    )
    assert epochs == [0, 1, 2, 3]
    assert history.history["n_clusters"] == [2, 2, 3, 3]
    assert nearest(model) == [0, 1, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(forgetting=1.0), "`forgetting`: got 1.0, wanted less than 1"),
        (dict(forgetting=-0.1), "`forgetting`"),
        (dict(x=np.zeros((3, 5), np.float32)), "wanted 2 values as in fit"),
    ],
)
def test_wrong_arguments_are_named(followed, arguments, message):
    with pytest.raises(ValueError, match=message):
        followed[0].partial_fit(**{"x": batch([1])[0], **arguments})


def test_steps_per_epoch_needs_a_stream():
    with pytest.raises(ValueError, match="`x`: got ndarray"):
        DeepDPM().fit(batch([0])[0], steps_per_epoch=3)
