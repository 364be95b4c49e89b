"""Data sets by name: those that are embedded, and TensorFlow Datasets behind its mock."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from tfdpm.data import as_features, blobs, datasets, gaussians15, load


def test_digits_are_those_of_scikit_learn() -> None:
    x, y = load("digits")
    assert (x.shape, x.dtype, y.dtype) == ((1797, 64), np.float32, np.int64)
    np.testing.assert_array_equal(x, load_digits().data)
    np.testing.assert_array_equal(y, load_digits().target)


@pytest.mark.parametrize(("name", "make"), [("blobs", blobs), ("gaussians15", gaussians15)])
def test_synthetic_names(name, make) -> None:
    for loaded, made in zip(load(name), make(), strict=True):
        np.testing.assert_array_equal(loaded, made)


def test_embedded_names_can_all_be_loaded() -> None:
    for name in datasets.embedded_names():
        x, y = load(name)
        assert x.ndim == 2
        assert len(x) == len(y)


def test_small_names_of_tensorflow_datasets_become_arrays() -> None:
    with tfds.testing.mock_data(num_examples=5):
        x, y = load("mnist")
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((5, 28, 28, 1), np.uint8, (5,), np.int64)
        assert len(load("mnist", split="test")[0]) == 5
        assert as_features("mnist").feature_shape == (28, 28, 1)


def test_large_names_are_streamed(monkeypatch) -> None:
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 1000)
    with tfds.testing.mock_data(num_examples=5):
        stream = load("mnist")
        assert isinstance(stream, tf.data.Dataset)
        inputs = as_features(stream)
    assert (inputs.num_points, inputs.feature_shape) == (5, (28, 28, 1))
    assert inputs.labelled_dataset is not None


def test_names_that_nobody_knows() -> None:
    with pytest.raises(
        ValueError, match=r"^`data`: got 'no_such_data', wanted a file, a folder, 'b"
    ):
        load("no_such_data")
    with pytest.raises(ValueError, match="^`data`: got 'not a name!'"):
        load("not a name!")
    with pytest.raises(ValueError, match="^`split`: got 'test', wanted None"):
        load("digits", split="test")


def test_data_without_labels_says_so() -> None:
    with (
        tfds.testing.mock_data(num_examples=2),
        pytest.raises(ValueError, match=r"^`data`: got 'dsprites', wanted a data set with labels"),
    ):
        load("dsprites")
