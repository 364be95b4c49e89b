"""Dictionaries, splits and weights mean what the pairs and arrays mean that they hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfdpm
from tfdpm.data import as_features

N = 12
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 255, (N, 8, 6, 3)).astype(np.uint8)
ROWS = GENERATOR.normal(size=(N, 4)).astype(np.float32)
LABELS = np.arange(N) % 3
TEXT = np.array([f"p{i}.png" for i in range(N)])
A, B, C = ROWS[:, 0], np.arange(N) % 5, np.arange(N) % 2 == 0


def stream(elements, batch=None):
    dataset = tf.data.Dataset.from_tensor_slices(elements)
    return dataset if batch is None else dataset.batch(batch)


def values_of(data, **options):
    """Points and labels of data as arrays."""
    inputs = as_features(data, **options)
    if inputs.array is not None:
        return inputs.array, inputs.labels
    if inputs.labelled_dataset is None:
        return np.concatenate(list(inputs.dataset.as_numpy_iterator())), None
    pairs = inputs.labelled_dataset.as_numpy_iterator()
    return tuple(map(np.concatenate, zip(*pairs, strict=True)))


@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize(
    ("entries", "x", "has_labels"),
    [
        ({"image": IMAGES, "label": LABELS}, IMAGES, True),
        ({"image": IMAGES, "label": LABELS, "coarse_label": B, "id": TEXT}, IMAGES, True),
        ({"id": TEXT, "label_x": B, "image": IMAGES, "value": A}, IMAGES, False),
        ({"image": IMAGES[..., 0], "target": LABELS}, IMAGES[..., 0], True),
        ({"features": ROWS, "species": LABELS}, ROWS, True),
        ({"features": ROWS, "class": LABELS, "weight": A}, ROWS, True),
        ({"whatever": ROWS, "label": LABELS}, ROWS, True),
        ({"features": ROWS}, ROWS, False),
        ({"a": A, "b": B, "c": C}, np.stack([A, B, C], 1), False),
        ({"b": B, "id": B + 7, "file_name": TEXT, "a": A}, np.stack([B, A], 1), False),
        ({"a": A, "b": B, "label": LABELS}, np.stack([A, B], 1), True),
        ({"x": A, "y": B}, np.stack([A, B], 1), False),
        ({"x": A, "y": B, "label": LABELS}, np.stack([A, B], 1), True),
        ({"x": ROWS, "y": LABELS}, ROWS, True),
        ({"a": A, "target": A + 1}, np.stack([A, A + 1], 1), False),
        ({"features": {"b": B, "a": A}, "quality": LABELS}, np.stack([B, A], 1), True),
    ],
)
def test_dictionaries_are_points_and_labels(entries, x, has_labels, batch) -> None:
    if batch == 5 and "id" in entries and "b" in entries:
        entries = {key: value for key, value in entries.items() if key != "file_name"}
    points, labels = values_of(stream(entries, batch))
    np.testing.assert_allclose(points, x, atol=1e-6)
    assert (labels is not None) == has_labels
    if has_labels:
        np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    "entries",
    [
        {"image": IMAGES, "label": LABELS},
        {"features": ROWS, "label": LABELS},
        {"a": A, "b": B, "label": LABELS},
        {"a": A, "kind": np.where(C, "u", "v"), "label": LABELS},
    ],
)
def test_dictionaries_of_arrays_are_read_as_their_streams(entries) -> None:
    points, labels = values_of({key: tf.constant(value) for key, value in entries.items()})
    np.testing.assert_array_equal(labels, LABELS)
    assert len(points) == N
    if "kind" not in entries:
        np.testing.assert_allclose(points, values_of(stream(entries))[0], atol=1e-6)


def test_pairs_of_a_dictionary_and_labels_are_rows() -> None:
    points, labels = values_of(stream(({"b": B, "a": A}, LABELS)))
    np.testing.assert_allclose(points, np.stack([B, A], 1), atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"left": IMAGES, "right": IMAGES, "label": LABELS}, r"'left' \(uint8 \(8, 6, 3\)\), 'ri"),
        ({"embedding": ROWS, "image": IMAGES}, r"lambda each: each\['embedding'\]\)"),
        ({"vector of a": ROWS, "age": A}, "wanted one entry of points, or numbers alone"),
        ({"a": A, "comment": TEXT}, r"'comment'.*each: {'a': each\['a'\]}"),
        ({"text": TEXT, "label": LABELS}, "'text' \\(string"),
    ],
)
def test_open_choices_are_an_error_that_says_what_to_write(entries, message) -> None:
    with pytest.raises(ValueError, match=f"^`x`: got dictionaries with the entries .*{message}"):
        as_features(stream(entries))


def test_dictionaries_of_pairs_are_named() -> None:
    with pytest.raises(ValueError, match="^`x`: got a dictionary of {'train': 'tuple'"):
        as_features({"train": (ROWS, LABELS)})


def test_endless_streams_may_have_dictionaries() -> None:
    rows = {"a": GENERATOR.normal(size=64) + 20 * (np.arange(64) % 2), "b": np.ones(64)}
    model = tfdpm.DeepDPM(seed=0)
    model.fit(stream(rows, 32).repeat(), steps_per_epoch=2, epochs=2, verbose=0)
    assert model.n_clusters == 2


def test_rows_of_dictionaries_are_found_by_name_later() -> None:
    frame = pd.DataFrame({"a": A, "b": B, "c": C.astype(int)})
    first = as_features(stream({**dict(frame), "label": LABELS}))
    assert first.columns.names == ("a", "b", "c")
    assert "labels: label" in str(first.columns)
    for entries in (dict(frame[["c", "a", "b"]]), {"label": B, **dict(frame)}):
        points, _ = values_of(stream(entries), columns=first.columns)
        np.testing.assert_allclose(points, frame, atol=1e-6)
    np.testing.assert_allclose(values_of(frame, columns=first.columns)[0], frame)
    with pytest.raises(ValueError, match=r"missing columns \['c'\] and unknown columns \['z'\]"):
        as_features(stream({"a": A, "b": B, "z": A}), columns=first.columns)


def test_splits_are_joined() -> None:
    whole = {"image": IMAGES, "label": LABELS}
    parts = [stream({key: value[part] for key, value in whole.items()}, batch)
             for part, batch in [(slice(0, 8), 4), (slice(8, N), 4)]]  # fmt: skip
    for data in ({"train": parts[0], "test": parts[1]}, parts, tuple(parts)):
        points, labels = values_of(data)
        np.testing.assert_array_equal(points, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)
    with pytest.raises(ValueError, match="^`x`: got splits of different elements"):
        as_features([stream(whole), stream(ROWS)])


def test_builders_and_infos_of_tensorflow_datasets_are_data() -> None:
    with tfds.testing.mock_data(num_examples=6):
        builder = tfds.builder("mnist")
        for data, count in [
            (builder, 6),
            (tfds.load("mnist", split=["train", "test"]), 12),
            (tfds.load("mnist", split="train", with_info=True), 6),
            (tfds.load("mnist", split="train", as_supervised=True), 6),
        ]:
            inputs = as_features(data).in_memory()
            assert (inputs.num_points, inputs.feature_shape) == (count, (28, 28, 1))
            assert inputs.labels is not None or inputs.labelled_dataset is not None


def test_files_of_a_builder_are_read_split_by_split(tmp_path) -> None:
    builder = tfds.testing.DummyMnist(data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="^`data`: got 'dummy_mnist'.*download=True"):
        as_features(builder)
    builder.download_and_prepare()
    splits = builder.as_dataset()
    for data, count in [
        (builder, 20),
        (splits, 40),
        ((splits, builder.info), 40),
        (builder.as_dataset(batch_size=-1)["train"], 20),
    ]:
        inputs = as_features(data).in_memory()
        assert (inputs.num_points, inputs.feature_shape) == (count, (28, 28, 1))
        assert inputs.labels is not None or inputs.labelled_dataset is not None


@pytest.mark.parametrize("batch", [None, 5])
def test_weights_of_streams_and_tuples_are_used(batch) -> None:
    x, y = tfdpm.data.gaussian_mixture(num_components=3, dim=2, num_points=240, seed=0)
    x, weights = np.concatenate([x, x[:60] + 100.0]), np.repeat([1.0, 0.0], [240, 60])
    y = np.concatenate([y, y[:60]])
    for data in ((x, y, weights), stream((x, y, weights), batch)):
        inputs = as_features(data).in_memory()
        np.testing.assert_array_equal(inputs.weights, weights)
        np.testing.assert_array_equal(inputs.labels, y)
        model = tfdpm.fit(data, epochs=1, verbose=0)
        assert model.n_clusters == 3
        assert tfdpm.metrics.ari(y[:240], model.labels_[:240]) > 0.95
    with pytest.raises(ValueError, match="^`sample_weight`: got negative"):
        tfdpm.fit((x, y, -weights), verbose=0)


def test_three_rows_are_rows() -> None:
    rows = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))
    np.testing.assert_array_equal(as_features(rows).array, rows)


def test_a_named_data_set_is_fetched_where_it_was_asked(tmp_path) -> None:
    with tfds.testing.mock_data(num_examples=40):
        model = tfdpm.fit(
            "mnist", download=True, data_dir=tmp_path, features="none", epochs=1, verbose=0
        )
    assert len(model.labels_) == 40
    with pytest.raises(ValueError, match="^`data`: got a ndarray, wanted a data set's name"):
        tfdpm.fit(ROWS, download=True)
    with pytest.raises(FileNotFoundError, match="download=True"):
        tfdpm.fit("mnist", data_dir=tmp_path)
