"""Files and folders are read as they are meant, and their mistakes named."""

from __future__ import annotations

from pathlib import Path

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
    for names in (("X", "Y"), ("data", "labels"), ("Embeddings", "target")):
        np.savez(tmp_path / "named.npz", **dict(zip(names, (X, [1, 0, 1]), strict=True)))
        x, y = read(tmp_path / "named.npz")
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, [1, 0, 1])
    np.savez(tmp_path / "neither.npz", a=X, b=X)
    with pytest.raises(ValueError, match=r"with arrays \['a', 'b'\], wanted an array `x`"):
        read(tmp_path / "neither.npz")


def test_folder_of_images_in_order_with_sub_folders_as_labels(tmp_path) -> None:
    for index, name in enumerate(["b/2.png", "a/x/1.png", "a/0.PNG"]):
        write_image(tmp_path / name, value=10 * index)
    write(tmp_path / "a" / "notes.txt", "no image")
    write(tmp_path / "a" / "._2.png", "what macOS writes beside files, no image")
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


@pytest.mark.parametrize("cut", [0, 9, 60])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, cut) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"^`\w+`: got /.*1.png, which cannot be decoded, wanted"):
        as_features(tmp_path).in_memory()


def test_images_of_other_kinds_are_named_and_hidden_files_passed_over(tmp_path) -> None:
    write_image(tmp_path / "1.png")
    write_image(tmp_path / "2.png")
    write(tmp_path / "._1.png", "of another system")
    assert as_features(tmp_path).num_points == 2
    write(tmp_path / "3.heic", "")
    with pytest.warns(UserWarning, match=r"left out of .*: 1 \.heic; \.png, "):
        assert as_features(tmp_path).num_points == 2


def test_what_is_transparent_is_white(tmp_path) -> None:
    pixels = np.zeros((2, 4, 6, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[0, :2, :, 3] = 255
    pixels[1, :, :3, 3] = 51
    for number, image in enumerate(pixels):
        (tmp_path / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
    first, second = read_images(tmp_path)[0].as_numpy_iterator()
    np.testing.assert_array_equal(first[0, 0], [200, 0, 0])
    np.testing.assert_array_equal(first[3, 0], [255, 255, 255])
    np.testing.assert_array_equal(second[0, 0], [244, 204, 204])  # a fifth of the colour


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_lines_of_text_in_any_encoding_are_read(tmp_path, encoding) -> None:
    texts = ["café au lait", "größer", "plain"]
    path = write(tmp_path / "t.txt", "")
    path.write_bytes("\n".join(texts).encode(encoding))
    assert as_features(path, takes_text=True).array.tolist() == texts
    for wrong in ("\ud800", b"\xff\xfe"):
        with pytest.raises(ValueError, match="^`x`: got .* wanted texts in UTF-8"):
            as_features(["plain", wrong], takes_text=True)


@pytest.mark.parametrize("name", ["t.npy", "t.npz"])
def test_broken_files_are_named(tmp_path, name) -> None:
    with pytest.raises(ValueError, match=f"^`path`: got .*{name}', which cannot be read"):
        read(write(tmp_path / name, "neither"))


def test_pickled_objects_are_not_opened(tmp_path) -> None:
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read(tmp_path / "o.npy")


def test_other_kinds_are_named(tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"wanted a folder of images, or files of one kind of \.npy"
    ):
        read(write(tmp_path / "t.docx", "x"))
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ValueError, match="^`label`: got 'a' for .*wanted it for tables alone"):
        read(tmp_path / "x.npy", label="a")
    with pytest.raises(FileNotFoundError, match="^`path`: got"):
        read(tmp_path / "nowhere.npy")


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A folder with images, tables and arrays of two points each."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_image(tmp_path / f"{number}.png", value=number)
        write(tmp_path / f"{number}.csv", f"a,b,target\n{number},1.5,0\n{number},2.5,1\n")
        np.save(tmp_path / f"{number}.npy", np.full((2, 3), number))
        np.savez(tmp_path / f"{number}.npz", x=np.full((2, 3), number), y=[number, 7])
    return tmp_path


@pytest.mark.parametrize("kind", ["png", "csv", "npy", "npz"])
@pytest.mark.parametrize("form", [list, np.array, pd.Series, "paths", "pattern", "path"])
def test_files_of_one_kind_come_one_after_another(kind, form, many) -> None:
    data = names = [str(many / f"{number}.{kind}") for number in range(3)]
    if form == "paths":
        data = list(map(Path, names))
    elif isinstance(form, str):
        data = f"*.{kind}" if form == "pattern" else many / f"*.{kind}"
    else:
        data = form(names)
    inputs = as_features(data).in_memory()
    each = 1 if kind == "png" else 2
    np.testing.assert_array_equal(
        inputs.array.reshape(3 * each, -1)[:, 0], np.repeat([0, 1, 2], each)
    )
    wanted = {"csv": [0, 1] * 3, "npz": [0, 7, 1, 7, 2, 7]}.get(kind)
    assert (None if inputs.labels is None else inputs.labels.tolist()) == wanted
    if kind == "csv":
        assert inputs.columns.origin.startswith("from 3 files, 0.csv to 2.csv; labels: target")
    if form is list and kind == "png":
        assert as_features((data, ["x", "y", "x"])).labels.tolist() == [0, 1, 0]


def test_columns_of_several_tables_are_matched_by_name(many) -> None:
    write(many / "1.csv", "b;target;a\n1,5;0;1\n2,5;1;1\n")
    np.testing.assert_array_equal(as_features("*.csv").array[:, 0], [0, 0, 1, 1, 2, 2])
    write(many / "1.csv", "a,c,target\n1,1.5,0\n1,2.5,1\n")
    with pytest.raises(
        ValueError, match=r"1.csv' with columns \['a', 'c', .*wanted those of '0.csv'"
    ):
        as_features("*.csv")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("*.gif", r"got '\*.gif', wanted a pattern that some file matches"),
        (
            "*",
            r"got files with .csv, .npy, .npz, .png, wanted .* files of one kind of",
        ),
        (["0.png", "9.png"], "got '9.png', wanted existing files"),
        ([Path("0.png"), Path("9.txt")], "got '9.txt', wanted existing files"),
        (["."], "got '.', wanted existing files, or one folder of images"),
        (["0.npy", "wide.npy"], "got arrays that cannot be joined .* wanted points of one shape"),
        (["0.npz", "0.npy"], "got labels in some of the files, wanted them in all"),
        ("nowhere.png", "got 'nowhere.png', wanted an existing file"),
    ],
)
def test_what_is_no_list_of_files_of_one_kind_is_named(data, message, many) -> None:
    np.save(many / "wide.npy", np.zeros((2, 5)))
    with pytest.raises((ValueError, FileNotFoundError), match=f"^`x`: {message}"):
        as_features(data)


def test_lists_of_texts_are_no_files(many) -> None:
    with pytest.raises(TypeError, match="^`x`: got text"):
        as_features(["a text", "0.csv"])
    with pytest.raises(TypeError, match="^`x`: got text"):
        as_features(tf.constant(["a text"]))
    with pytest.raises(ValueError, match="reshape it to"):
        as_features(tf.constant([1.0, 2.0]))
    assert as_features(["0.csv", "1.csv"], takes_text=True).array.tolist() == ["0.csv", "1.csv"]


def test_paths_are_told_from_names() -> None:
    assert all(map(looks_like_path, ["x.npy", "X.CSV", "t.tsv.gz", "./digits", "a/b"]))
    assert not any(map(looks_like_path, ["digits", "mnist", "cifar10:3.0.2"]))
