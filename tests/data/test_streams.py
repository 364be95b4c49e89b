"""Streams become checked float32 batches without being held in memory."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.data import as_features
from tfdpm.data.streams import as_batches, draw_rows, reading_error

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20)
IMAGES = np.random.default_rng(1).integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)


def slices(*parts: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


def generated(*elements, types) -> tf.data.Dataset:
    """A dataset that knows neither its shapes nor its length."""
    return tf.data.Dataset.from_generator(lambda: iter(elements), output_types=types)


def joined(dataset: tf.data.Dataset) -> np.ndarray:
    return np.concatenate(list(dataset.as_numpy_iterator()))


@pytest.mark.parametrize(
    ("dataset", "expected", "num_points"),
    [
        (slices(X), X, 20),
        (slices(X).batch(8), X, None),
        (slices(X).batch(8, drop_remainder=True), X[:16], 16),
        (slices(X, Y), X, 20),
        (slices(X, Y).batch(8), X, None),
        (slices(X.astype(np.float64)), X, 20),
        (slices(X).filter(lambda x: True), X, None),
        (generated(*X, types=tf.float32), X, None),
        (generated(X[:8], X[8:], types=tf.float32), X, None),
        (generated(*zip(X, Y, strict=True), types=(tf.float32, tf.int32)), X, None),
        (slices(IMAGES), IMAGES, 6),
        (slices(IMAGES).batch(4), IMAGES, None),
        (slices(IMAGES, Y[:6]), IMAGES, 6),
        (slices(IMAGES[..., 0], Y[:6]), IMAGES[..., 0], 6),
        (slices(IMAGES[..., 0]).batch(4), IMAGES[..., 0], None),
        (generated(*IMAGES, types=tf.uint8), IMAGES, None),
        (generated(IMAGES[:4], IMAGES[4:], types=tf.uint8), IMAGES, None),
    ],
)
def test_batches_hold_all_points_in_order(dataset, expected, num_points) -> None:
    stream = as_batches(dataset, batch_size=7)
    assert stream.feature_shape == expected.shape[1:]
    assert stream.num_points == num_points
    spec = stream.batches.element_spec
    assert (spec.dtype, spec.shape[1:]) == (tf.float32, expected.shape[1:])
    np.testing.assert_array_equal(joined(stream.batches), expected)
    np.testing.assert_array_equal(joined(stream.batches), expected)  # can be read again


def test_unbatched_points_are_batched_and_batches_kept() -> None:
    sizes = [len(batch) for batch in as_batches(slices(X), batch_size=8).batches]
    assert sizes == [8, 8, 4]
    sizes = [len(batch) for batch in as_batches(slices(X).batch(3), batch_size=8).batches]
    assert sizes == [3] * 6 + [2]


def test_labels_stay_with_their_points() -> None:
    shuffled = slices(X, Y).shuffle(20, reshuffle_each_iteration=True)
    inputs = as_features(shuffled)
    assert inputs.labels is None
    for _ in range(2):
        for x, y in inputs.labelled_dataset:
            np.testing.assert_array_equal(x, X[y.numpy()])
    assert as_features(slices(X)).labelled_dataset is None


def test_nothing_is_read_before_it_is_asked_for() -> None:
    read = []

    def points():
        for point in X:
            read.append(1)
            yield point

    spec = tf.TensorSpec([3], tf.float32)
    known = tf.data.Dataset.from_generator(points, output_signature=spec)
    known = known.apply(tf.data.experimental.assert_cardinality(20))
    stream = as_batches(known, batch_size=5)
    assert read == []
    assert stream.num_points == 20
    joined(stream.batches)
    assert len(read) == 20


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found_while_reading(value) -> None:
    x = X.copy()
    x[13:15, 1] = value
    stream = as_batches(slices(x), name="points", batch_size=4)
    batches = iter(stream.batches)
    for start in (0, 4, 8):
        np.testing.assert_array_equal(next(batches), X[start : start + 4])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        next(batches)
    assert str(reading_error(caught.value)) == (
        "`points`: got 2 points with NaN or infinite values in batch 3, the first in row 1 of it, "
        "wanted finite numbers only."
    )


def test_errors_of_reading_are_told_from_others() -> None:
    broken = tf.data.Dataset.from_tensor_slices([b"no image"]).map(tf.io.decode_png)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(broken)
    message = str(reading_error(caught.value))
    assert message.startswith("The data could not be read: ")
    assert "\n" not in message
    assert "{{" not in message
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.reshape(tf.zeros([3]), [2])
    assert reading_error(caught.value) is None
    assert reading_error(ValueError("Iterator")) is None


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (slices(X).repeat(), ValueError, "an endless dataset"),
        (slices(X).take(0), ValueError, "an empty dataset"),
        (slices(X).filter(lambda x: False), ValueError, "an empty dataset"),
        (slices(X[:, 0]), ValueError, r"points of shape \(\)"),
        (slices(np.zeros((4, 2, 2, 2, 2))).batch(2), ValueError, r"points of shape \(2, 2, 2, 2\)"),
        (slices(X.astype(complex)), TypeError, "dtype complex128"),
        (slices(X.astype(str)), TypeError, "dtype string"),
        (slices({"left": X, "right": X}), ValueError, "entries"),
        (tf.data.Dataset.from_tensor_slices((X, Y, Y)), TypeError, "elements"),
        (slices(X).window(2), TypeError, "elements"),
        (tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [1, 2]])), TypeError, "elem"),
    ],
)
def test_wrong_streams_get_one_error_that_names_them(dataset, error, message) -> None:
    with pytest.raises(error, match=f"^`points`: got .*{message}.*wanted"):
        as_batches(dataset, name="points")


def test_batch_size_is_checked() -> None:
    with pytest.raises(ValueError, match="`batch_size`"):
        as_batches(slices(X), batch_size=0)


def test_rows_are_drawn_evenly_and_stay_in_order() -> None:
    stream = tf.data.Dataset.range(1000).batch(64)
    times = np.zeros(1000)
    for seed in range(200):
        rows = draw_rows(stream, 100, np.random.default_rng(seed))
        assert len(rows) == 100 and (np.diff(rows) > 0).all()
        times[rows] += 1
    # Of 200 draws of a tenth, each row is in 20, with a standard deviation of 4.2.
    assert times.min() > 4 and times.max() < 42
    np.testing.assert_allclose(times.reshape(10, 100).sum(axis=1), 2000, atol=200)


def test_few_rows_are_all_drawn() -> None:
    stream = tf.data.Dataset.range(70).batch(64)
    np.testing.assert_array_equal(draw_rows(stream, 100, np.random.default_rng(0)), np.arange(70))
    with pytest.raises(ValueError, match="`data`: got a stream without batches"):
        draw_rows(stream.take(0), 100, np.random.default_rng(0), name="data")
