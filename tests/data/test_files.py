"""Files and folders are read as they are meant, and their mistakes named."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfdpm.data import as_features, read, read_images
from tfdpm.data.files import looks_like_path

X = np.array([[1.0, 2.5], [3.0, -4.0], [5e3, 0.125]])


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def write_image(path, size=(4, 6), channels=3, value=7) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = tf.fill((*size, channels), tf.cast(value, tf.uint8))
    path.write_bytes(tf.io.encode_png(image).numpy())


def test_npy(tmp_path) -> None:
    np.save(tmp_path / "x.npy", X)
    x, y = read(tmp_path / "x.npy")
    np.testing.assert_array_equal(x, X)
    assert y is None


def test_npz_with_and_without_labels(tmp_path) -> None:
    np.savez(tmp_path / "both.npz", x=X, y=[1, 0, 1], other=[3])
    x, y = read(str(tmp_path / "both.npz"))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, [1, 0, 1])
    np.savez(tmp_path / "one.npz", points=X)
    x, y = read(tmp_path / "one.npz")
    np.testing.assert_array_equal(x, X)
    assert y is None
    np.savez(tmp_path / "neither.npz", a=X, b=X)
    with pytest.raises(ValueError, match=r"with arrays \['a', 'b'\], wanted an array `x`"):
        read(tmp_path / "neither.npz")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("1,2.5\n3,-4\n5e3,.125\n", None),
        ("a,b\n1,2.5\n3,-4\n5e3,.125\n", None),
        ("\ufeffa,b\n1,2.5\n3,-4\n5e3,.125", None),
        ('"a, b",b\r\n"1",2.5\r\n3,-4\r\n5e3,.125\r\n', None),
        ("y,a,b\n10,1,2.5\n9,3,-4\n10,5e3,.125\n", [10, 9, 10]),
        ("a,b,Label\n1,2.5,cat\n3,-4,a dog\n5e3,.125,cat\n", ["cat", "a dog", "cat"]),
    ],
)
def test_csv(tmp_path, text, labels) -> None:
    x, y = read(write(tmp_path / "t.csv", text))
    np.testing.assert_array_equal(x, X)
    assert (y is None) == (labels is None)
    if labels is not None:
        np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "which is empty"),
        ("a,name\n1,x,2\n3,x,5\n", ValueError, "rows longer than the header"),
        ("a,name\n1,x\n3,y,5\n", ValueError, "Expected 2 fields in line 3"),
        ("1,2\n3,x\n", ValueError, "rows of numbers"),
        ("1,2\n3\n", ValueError, "rows of numbers"),
    ],
)
def test_csv_mistakes_are_named(tmp_path, text, error, message) -> None:
    with pytest.raises(error, match=f"^`DATA`: got .*{message}"):
        read(write(tmp_path / "t.csv", text), name="DATA")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_with_text_are_read_as_frames_are(tmp_path, form) -> None:
    frame = pd.DataFrame({"a": np.arange(6.0), "b": [*"xyxyyx"], "Label": [*"uvuvuv"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    inputs, expected = as_features(tmp_path / f"t.{form}"), as_features(frame[["a", "b"]])
    np.testing.assert_array_equal(inputs.array, expected.array)
    np.testing.assert_array_equal(inputs.labels, [0, 1, 0, 1, 0, 1])
    assert inputs.columns == expected.columns


def test_parquet(tmp_path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(label=["u", "v", "u"])
    frame.to_parquet(tmp_path / "t.parquet")
    inputs = as_features(tmp_path / "t.parquet")
    np.testing.assert_array_equal(inputs.array, X)
    np.testing.assert_array_equal(inputs.labels, [0, 1, 0])
    frame[["a"]].to_parquet(tmp_path / "u.parquet")
    assert as_features(str(tmp_path / "u.parquet")).labels is None
    with pytest.raises(ValueError, match=r"^`path`: .*cannot be read, wanted a \.parquet file"):
        read(write(tmp_path / "w.parquet", "no parquet"))


def test_parquet_without_pandas_says_how_to_get_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'tfdpm\[pandas\]'"):
        read(write(tmp_path / "t.parquet", ""))


def test_folder_of_images_in_order_with_sub_folders_as_labels(tmp_path) -> None:
    for index, name in enumerate(["b/2.png", "a/x/1.png", "a/0.PNG"]):
        write_image(tmp_path / name, value=10 * index)
    write(tmp_path / "a" / "notes.txt", "no image")
    images, labels = read(tmp_path)
    assert labels.tolist() == ["a", "a", "b"]
    values = [int(image[0, 0, 0]) for image in images]
    assert values == [20, 10, 0]
    assert images.element_spec == tf.TensorSpec((4, 6, 3), tf.uint8)
    inputs = as_features(tmp_path)
    assert (inputs.num_points, inputs.feature_shape) == (3, (4, 6, 3))
    np.testing.assert_array_equal(inputs.labels, [0, 0, 1])


def test_flat_or_partly_flat_folders_have_no_labels(tmp_path) -> None:
    write_image(tmp_path / "1.png")
    assert read_images(tmp_path)[1] is None
    write_image(tmp_path / "a" / "2.png")
    assert read_images(tmp_path)[1] is None


def test_images_take_the_first_ones_size_and_colour_or_the_one_asked_for(tmp_path) -> None:
    write_image(tmp_path / "1.png", size=(4, 6), channels=1)
    write_image(tmp_path / "2.png", size=(9, 5), channels=3, value=50)
    images, _ = read_images(tmp_path)
    assert images.element_spec.shape == (4, 6, 1)
    assert [int(tf.reduce_max(image)) for image in images] == [7, 50]
    images, _ = read_images(tmp_path, image_size=(3, 2))
    assert [image.shape.as_list() for image in images] == [[3, 2, 1]] * 2


def test_jpeg_is_decoded(tmp_path) -> None:
    image = tf.fill((4, 4, 3), tf.constant(200, tf.uint8))
    (tmp_path / "1.jpg").write_bytes(tf.io.encode_jpeg(image).numpy())
    np.testing.assert_allclose(next(iter(read_images(tmp_path)[0])), image, atol=2)


def test_wrong_folders_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="^`path`: got folder .* without images"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="^`folder`: got"):
        read_images(tmp_path / "nowhere")
    write(tmp_path / "1.png", "no image")
    with pytest.raises(ValueError, match="1.png', which cannot be decoded, wanted images"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["t.npy", "t.npz"])
def test_broken_files_are_named(tmp_path, name) -> None:
    with pytest.raises(ValueError, match=f"^`path`: got .*{name}', which cannot be read"):
        read(write(tmp_path / name, "neither"))


def test_pickled_objects_are_not_opened(tmp_path) -> None:
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read(tmp_path / "o.npy")


def test_other_kinds_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"wanted a folder of images or one of \.npy"):
        read(write(tmp_path / "t.xlsx", "x"))
    with pytest.raises(FileNotFoundError, match="^`path`: got"):
        read(tmp_path / "nowhere.npy")


def test_paths_are_told_from_names() -> None:
    assert all(map(looks_like_path, ["x.npy", "X.CSV", "./digits", "some/folder"]))
    assert not any(map(looks_like_path, ["digits", "mnist", "cifar10:3.0.2"]))
