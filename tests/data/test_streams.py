"""Streams become checked float32 batches without being held in memory."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.data import as_features, sequences
from tfdpm.data import inputs as inputs_module
from tfdpm.data.inputs import as_labels
from tfdpm.data.streams import as_batches, draw_rows, reading_error
from tfdpm.metrics import UNKNOWN_LABEL

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
        (slices(X.astype(np.float16)), X.astype(np.float16), 20),
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
        (tf.data.Dataset.from_tensor_slices((X, Y, Y, Y)), TypeError, "elements"),
        (slices(X).repeat().filter(lambda x: True), ValueError, "an endless dataset"),
        (slices(X).repeat().map(lambda x: x + 1).batch(4).prefetch(1), ValueError, "endless"),
        (slices(X).window(2), TypeError, "elements"),
        (tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [1, 2]])), TypeError, "elem"),
    ],
)
def test_wrong_streams_get_one_error_that_names_them(dataset, error, message) -> None:
    with pytest.raises(error, match=f"^`points`: got .*{message}.*wanted"):
        as_batches(dataset, name="points")


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32", "uint32"])
def test_digits_that_float32_lacks_are_kept(dtype) -> None:
    x = (1_700_000_000 + np.arange(40)).reshape(20, 2).astype(dtype)
    np.testing.assert_array_equal(joined(as_batches(slices(x).batch(3)).batches), x)


def test_a_stream_that_ends_by_a_condition_is_not_endless() -> None:
    stream = tf.data.Dataset.range(10**9).repeat().batch(2).take_while(lambda x: x[0] < 6)
    stream = stream.map(lambda x: tf.cast(x[:, None], tf.float32))
    assert len(joined(as_batches(stream).batches)) == 6


def test_empty_batches_are_left_out() -> None:
    spec = tf.TensorSpec([None, 3], tf.float32)
    pieces = (X[:0], X[:7], X[7:7], X[7:], X[:0])
    stream = tf.data.Dataset.from_generator(lambda: iter(pieces), output_signature=spec)
    read = list(as_batches(stream).batches.as_numpy_iterator())
    assert [len(batch) for batch in read] == [7, 13]
    np.testing.assert_array_equal(np.concatenate(read), X)


EYE = np.eye(7)[Y % 4]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (slices(X, EYE).batch(6), Y % 4),
        (slices(X, EYE.astype(int)), Y % 4),
        (slices(IMAGES, EYE[:6]), Y[:6] % 4),
        (slices(IMAGES[..., 0], EYE[:6]), Y[:6] % 4),
        (slices(IMAGES, EYE[:6]).batch(6, drop_remainder=True), Y[:6] % 4),
        (slices(X, Y[:, None]).batch(6), Y),
        (slices(X, Y[:, None]), Y),
        (slices(X, np.char.mod("%02d", Y)).batch(6), Y),
        (slices(X, np.where(Y == 3, np.nan, Y)).batch(6), np.where(Y == 3, UNKNOWN_LABEL, Y)),
    ],
    ids=str,
)
def test_labels_of_streams_are_those_of_arrays(dataset, expected) -> None:
    np.testing.assert_array_equal(as_features(dataset).in_memory().labels, expected)
    labels = joined(as_batches(dataset).labelled.map(lambda x, y: y))
    np.testing.assert_array_equal(as_labels(labels, None), expected)


@pytest.mark.parametrize(
    "dataset",
    [
        slices(X, X).batch(6),
        slices(X, X),
        slices(X, Y + 0.5).batch(6),
        slices(IMAGES, IMAGES).batch(2),
        slices(IMAGES, IMAGES),
        slices(X, np.char.mod("%02d", Y)[:, None].repeat(2, 1)).batch(6),
    ],
    ids=str,
)
def test_what_is_no_label_is_said_and_not_used(dataset) -> None:
    with pytest.warns(UserWarning, match="labels of `x`: got .* wanted"):
        inputs = as_features(dataset)
    assert inputs.labelled_dataset is None
    held = inputs.in_memory()
    assert held.labels is None and held.num_points in (6, 20)


def test_weights_of_a_stream_stay_with_their_points() -> None:
    weights = np.linspace(0.0, 1.0, 20)
    held = as_features(slices(X, Y, weights).shuffle(20).batch(3)).in_memory()
    np.testing.assert_allclose(held.weights, weights[held.labels])
    np.testing.assert_array_equal(held.array, X[held.labels])
    with pytest.warns(UserWarning, match="labels"):
        held = as_features(slices(X, X, weights).batch(3)).in_memory()
    assert held.labels is None
    np.testing.assert_allclose(held.weights, weights)


def test_decoded_images_are_single_images() -> None:
    files = [tf.io.encode_png(image).numpy() for image in IMAGES]
    stream = tf.data.Dataset.from_tensor_slices(files)
    for channels in (0, 3):
        decoded = stream.map(lambda file, count=channels: tf.io.decode_png(file, count))
        read = as_batches(decoded)
        assert read.feature_shape == (4, 5, 3)
        np.testing.assert_array_equal(joined(read.batches), IMAGES)


class Parts(keras.utils.PyDataset):
    """Batches of six points."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return 4

    def __getitem__(self, index):
        chosen = slice(6 * index, 6 * index + 6)
        found = tuple(part[chosen] for part in self.parts)
        return found if len(found) > 1 else found[0]


def test_sequences_of_keras_are_streams() -> None:
    for data in (Parts(X, Y), (batch for batch in Parts(X, Y)), zip(X, Y, strict=True)):
        held = as_features(data).in_memory()
        np.testing.assert_array_equal(held.array, X)
        np.testing.assert_array_equal(held.labels, Y)
    for data in (Parts(X), iter(X), (batch.tolist() for batch in Parts(X)), iter([X[:6], X[6:]])):
        held = as_features(data).in_memory()
        np.testing.assert_array_equal(held.array, X)
        assert held.labels is None
    np.testing.assert_array_equal(as_features(iter(IMAGES)).in_memory().array, IMAGES)
    np.testing.assert_array_equal(as_features(Parts(X, Y, Y)).in_memory().weights, Y)
    stream = as_features(Parts(X))
    for _ in range(2):
        np.testing.assert_array_equal(joined(stream.dataset), X)


def test_loaders_of_pytorch_are_streams() -> None:
    torch = pytest.importorskip("torch")
    arrays = [torch.tensor(X), torch.tensor(Y)]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*arrays), batch_size=5)
    held = as_features(loader).in_memory()
    np.testing.assert_array_equal(held.array, X)
    np.testing.assert_array_equal(held.labels, Y)
    endless = sequences.as_dataset(loader, "x", endless=True)
    assert len(list(endless.take(12))) == 12
    alone = torch.utils.data.DataLoader(torch.tensor(X), batch_size=5, shuffle=True)
    with pytest.warns(UserWarning, match="`x` is a stream that shuffles"):
        as_features(alone).warn_of_order()


def test_wrong_sequences_are_named(monkeypatch) -> None:
    monkeypatch.setattr(sequences, "_MOST_VALUES", 600)
    endless = (X for _ in itertools.count())
    with pytest.raises(ValueError, match="`x`: got a generator that has not ended after 660"):
        as_features(endless)
    for none in (iter([X[:0]]), slices(X).batch(5).filter(lambda x: len(x) == 3)):
        with pytest.raises(ValueError, match="`x`: got (0 points|an empty dataset), wanted"):
            as_features(none).in_memory()
    with pytest.raises(ValueError, match="`x`: got 1 point, wanted at least 2"):
        as_features(iter([X[:1]])).in_memory()
    with pytest.raises(ValueError, match="`x`: got nothing"):
        as_features(iter(()))
    with pytest.raises(TypeError, match="`x`: got elements of dict"):
        as_features(iter([{"image": X}]))
    with pytest.raises(TypeError, match="`x`: got elements such as list"):
        as_features(iter([["a", "b"]]))
    with pytest.raises(TypeError, match="`x`: got elements of str"):
        as_features(open(__file__))
    monkeypatch.delattr(Parts, "__len__")
    monkeypatch.setattr(Parts, "num_batches", None)
    with pytest.raises(ValueError, match="`x`: got a PyDataset without an end"):
        as_features(Parts(X))


def test_errors_of_a_generator_are_one_line() -> None:
    def broken():
        yield X
        raise OSError("disk is full")

    spec = tf.TensorSpec([None, 3], tf.float32)
    stream = tf.data.Dataset.from_generator(broken, output_signature=spec)
    with pytest.raises(ValueError, match="could not be read: OSError: disk is full$"):
        as_features(stream).in_memory()


def test_only_small_streams_are_held(monkeypatch) -> None:
    read = []

    def points():
        read.append(1)
        yield from X

    stream = tf.data.Dataset.from_generator(points, output_signature=tf.TensorSpec([3], tf.float32))
    inputs = as_features(stream)
    starts = len(read)
    np.testing.assert_array_equal(inputs.in_memory().array, X)
    assert len(read) == starts + 1
    monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 59)
    for large in (inputs, as_features(slices(X))):
        assert large.in_memory() is large


def test_shuffles_are_seen_wherever_they_are() -> None:
    plain = slices(X).map(lambda x: x + 1).batch(2)
    assert not as_batches(plain).is_shuffled
    for stream in (plain.shuffle(3), slices(X).shuffle(20).batch(2).cache().prefetch(1)):
        assert as_batches(stream).is_shuffled
    zipped = tf.data.Dataset.zip((slices(X).shuffle(9), slices(Y))).batch(2)
    with pytest.warns(UserWarning, match="shuffles: results such as labels_ are in the order of"):
        as_features(zipped).warn_of_order()


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


def test_rows_are_drawn_in_proportion_to_their_weights() -> None:
    weights = np.repeat([0.0, 1.0, 4.0], 1000)
    stream = slices(np.arange(3000), weights).batch(64)
    drawn = draw_rows(stream, 200, np.random.default_rng(1))
    counts = np.bincount(drawn // 1000, minlength=3)
    # 160 expected of the heavy ones; the standard deviation is 5.4.
    assert counts.sum() == 200 and counts[0] == 0 and 140 < counts[2] < 178


def test_few_rows_are_all_drawn() -> None:
    stream = tf.data.Dataset.range(70).batch(64)
    np.testing.assert_array_equal(draw_rows(stream, 100, np.random.default_rng(0)), np.arange(70))
    with pytest.raises(ValueError, match="`data`: got a stream without batches"):
        draw_rows(stream.take(0), 100, np.random.default_rng(0), name="data")
