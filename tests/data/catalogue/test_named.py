"""Data sets by name: those that are embedded, and TensorFlow Datasets behind its mock."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from tfdpm.data import as_features, blobs, gaussians15, load
from tfdpm.data.catalogue import named


def test_digits_are_those_of_scikit_learn() -> None:
    x, y = load("digits")
    assert (x.shape, x.dtype, y.dtype) == ((1797, 64), np.float32, np.int64)
    np.testing.assert_array_equal(x, load_digits().data)
    np.testing.assert_array_equal(y, load_digits().target)


@pytest.mark.parametrize(("name", "make"), [("blobs", blobs), ("gaussians15", gaussians15)])
def test_synthetic_names(name, make) -> None:
    for loaded, made in zip(load(name), make(), strict=True):
        np.testing.assert_array_equal(loaded, made)


def test_small_names_of_tensorflow_datasets_become_arrays() -> None:
    with tfds.testing.mock_data(num_examples=5):
        x, y = load("mnist")
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((5, 28, 28, 1), np.uint8, (5,), np.int64)
        assert len(load("mnist", split="test")[0]) == 5
        assert as_features("mnist").feature_shape == (28, 28, 1)


def test_large_names_are_streamed(monkeypatch) -> None:
    monkeypatch.setattr(named, "_IN_MEMORY_BYTES", 1000)
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


@pytest.mark.parametrize("name", ["usps", "reuters10k", "imagenet", "imagenet50"])
def test_names_of_published_files_are_known(name, tmp_path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match=f"^`data`: got '{name}'"):
        load(name, data_dir=tmp_path)
    if name not in named.imagenet.CLASSES:
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(FileNotFoundError, match=f"{tmp_path}/tensorflow_datasets/{name}"):
            load(name)


def test_data_without_pairs_are_chosen_by_names() -> None:
    with tfds.testing.mock_data(num_examples=3):
        for name, shape, labels in [
            ("dsprites", (64, 64, 1), False),
            ("wine_quality", (11,), True),
            ("penguins/simple", (6,), True),
            ("cifar100", (32, 32, 3), True),
        ]:
            for data in (name, tfds.load(name, split="train"), tfds.builder(name)):
                inputs = as_features(data)
                assert (inputs.num_points, inputs.feature_shape) == (3, shape)
                has_labels = inputs.labels is not None or inputs.labelled_dataset is not None
                assert has_labels == labels
        with pytest.raises(ValueError, match="^`data`: got dictionaries .*'cabin' \\(string"):
            as_features("titanic", name="data")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mnist", (28, 28, 1)),
        ("fashion_mnist", (28, 28, 1)),
        ("cifar10", (32, 32, 3)),
        ("stl10", (96, 96, 3)),
    ],
)
@pytest.mark.parametrize("split", ["train", "test", "train+test", "train[:2]", "all"])
def test_image_sets_come_through_tensorflow_datasets(name, shape, split) -> None:
    with tfds.testing.mock_data(num_examples=4):
        x, y = load(name, split)
    assert (x.shape[1:], x.dtype, y.dtype) == (shape, np.uint8, np.int64)
    assert len(x) == len(y) > 0


class TwentyDigits(tfds.core.GeneratorBasedBuilder):
    """20 images that TensorFlow Datasets really writes and reads; needs no network."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(28, 28, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for index in range(20):
            image = np.full((28, 28, 1), index, np.uint8)
            yield str(index), {"image": image, "label": index % 10}


def test_files_of_tensorflow_datasets_are_made_only_when_asked(tmp_path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load("twenty_digits", data_dir=tmp_path)
    message = str(error.value)
    assert f"not in {tmp_path / 'twenty_digits'}" in message
    assert "tfdpm.data.load('twenty_digits', download=True)" in message
    assert os.listdir(tmp_path) == []
    assert len(load("twenty_digits", data_dir=tmp_path, download=True)[0]) == 20
    x, y = load("twenty_digits", data_dir=tmp_path)
    assert (x.shape, x.dtype, y.dtype) == ((20, 28, 28, 1), np.uint8, np.int64)
    np.testing.assert_array_equal(x[:, 0, 0, 0] % 10, y)
    assert len(load("twenty_digits", "all", tmp_path)[0]) == 40
    assert load("twenty_digits", "test[:5]", tmp_path, image_size=7)[0].shape == (5, 7, 7, 1)
    with pytest.raises(
        ValueError, match=r"^`split`: got 'valid', wanted one of \['train', 'test'\]"
    ):
        load("twenty_digits", "valid", tmp_path)


def test_missing_data_set_is_told_by_fit_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^`data`: got 'mnist', which is not in"):
        as_features("mnist")


def test_imagenet_without_its_tar_files_says_where_they_come_from(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"by hand"):
        load("imagenet", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"image-net\.org") as error:
        load("imagenet50", data_dir=tmp_path, download=True)
    assert str(tmp_path / "downloads" / "manual") in str(error.value)
