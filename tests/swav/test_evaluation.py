"""Evaluation against scikit-learn and on data whose answer is known."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tfdpm.features import knn_accuracy, linear_probe, semi_supervised


def blobs(samples, seed, spread=1.0, num_classes=4):
    """Unit-spaced class centres in ten dimensions with Gaussian noise."""
    centres = 1.5 * np.random.default_rng(0).normal(size=(num_classes, 10))
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=samples)
    return centres[labels] + spread * rng.normal(size=(samples, 10)), labels


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_equals_scikit_learn(k):
    (x, y), (test_x, test_y) = blobs(300, 1, 2.0), blobs(200, 2, 2.0)
    model = KNeighborsClassifier(k, metric="cosine").fit(x, y)
    assert knn_accuracy(x, y, test_x, test_y, k) == pytest.approx(model.score(test_x, test_y))


def test_knn_ignores_the_length_of_features():
    (x, y), (test_x, test_y) = blobs(300, 1, 2.0), blobs(200, 2, 2.0)
    lengths = np.random.default_rng(3).uniform(0.1, 10, size=(300, 1))
    assert knn_accuracy(x * lengths, y, test_x, test_y) == knn_accuracy(x, y, test_x, test_y)


def test_weighted_votes_let_the_nearest_win():
    x = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
    y = np.array(["near", "far", "far"])
    query = (np.array([[1.0, 0.01]]), np.array(["near"]))
    assert knn_accuracy(x, y, *query, k=3) == 0.0
    assert knn_accuracy(x, y, *query, k=3, temperature=0.07) == 1.0


def test_linear_probe_is_near_the_best_linear_classifier():
    (x, y), (test_x, test_y) = blobs(600, 1, 1.5), blobs(600, 2, 1.5)
    best = LogisticRegression(max_iter=1000).fit(x, y).score(test_x, test_y)
    result = linear_probe(x, y, test_x, test_y, epochs=30)
    assert abs(result.top1 - best) < 0.03
    assert result.best_top1 >= result.top1 and result.top5 == 1.0


def test_linear_probe_does_not_depend_on_units():
    (x, y), (test_x, test_y) = blobs(300, 1, 1.5), blobs(300, 2, 1.5)
    units = np.logspace(-3, 3, 10)
    shifted = linear_probe(x * units + 5, y, test_x * units + 5, test_y, epochs=5)
    assert shifted.top1 == pytest.approx(
        linear_probe(x, y, test_x, test_y, epochs=5).top1, abs=0.01
    )


def test_labels_unseen_in_training_count_as_errors():
    (x, y), (test_x, test_y) = blobs(200, 1, 0.1), blobs(100, 2, 0.1)
    seen = y < 3
    share = (test_y < 3).mean()
    result = linear_probe(x[seen], y[seen], test_x, test_y, epochs=20)
    assert result.top1 == pytest.approx(share)


def test_fine_tuning_learns_from_few_labels_and_spares_the_encoder():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=360)
    images = rng.normal(0.0, 0.3, size=(360, 6, 6, 1)).astype(np.float32)
    for label in range(3):
        images[labels == label, :, 2 * label : 2 * label + 2] += 1.0
    inputs = keras.Input((6, 6, 1))
    features = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(inputs))
    encoder = keras.Model(inputs, features)
    before = encoder.get_weights()
    result = semi_supervised(
        encoder,
        images[:300],
        labels[:300],
        images[300:],
        labels[300:],
        fraction=0.1,
        batch_size=10,
        mirror=False,
    )
    assert result.top1 > 0.9
    for ours, theirs in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "change",
    [
        {"k": 0},
        {"k": 301},
        {"train_y": np.zeros(3)},
        {"test_x": np.zeros((200, 9))},
        {"train_x": np.full((300, 10), np.nan)},
    ],
)
def test_bad_arguments_are_named(change):
    (x, y), (test_x, test_y) = blobs(300, 1), blobs(200, 2)
    arguments = {"train_x": x, "train_y": y, "test_x": test_x, "test_y": test_y}
    with pytest.raises(ValueError, match="wanted"):
        knn_accuracy(**(arguments | change))
