"""Reading and thinning of labelled files."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.benchmarks.labelled import (
    LabelledData,
    draw_points,
    read_labelled,
    read_suite,
    thin_classes,
)


def test_images_become_rows_of_pixels_and_classes_are_counted(tmp_path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(24, dtype=np.uint8).reshape(3, 2, 4), y=[5, 7, 5])
    (data,) = read_labelled([path])
    assert (data.name, data.true_k, data.x.shape, data.x.dtype) == ("a", 2, (3, 2, 4), np.uint8)
    rows = data.as_rows().x
    np.testing.assert_array_equal(rows, np.arange(24.0).reshape(3, 8))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(data.as_images().x[..., 0], data.x)
    with pytest.raises(ValueError, match=r"images x \[N, H, W\]"):
        data.as_rows().as_images()


def test_rows_are_normalised_only_when_asked_and_zeros_stay(tmp_path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=[[3.0, 4.0], [0.0, 0.0]], y=[0, 1])
    (data,) = read_labelled([path])
    np.testing.assert_allclose(data.as_rows().x, [[3, 4], [0, 0]])
    np.testing.assert_allclose(data.as_rows(normalize=True).x, [[0.6, 0.8], [0, 0]])


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((2, 2))},
        {"x": np.zeros((2, 2)), "y": np.zeros(3)},
        {"x": np.zeros(2), "y": np.zeros(2)},
    ],
)
def test_files_without_a_class_for_each_point_are_refused(arrays, tmp_path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match="^`--data`: got .*a.npz"):
        read_labelled([tmp_path / "a.npz"])


def test_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no file"):
        read_labelled([])
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        read_labelled(["nowhere.npz"])


def test_points_that_are_drawn_keep_pairs_and_order() -> None:
    data = LabelledData("a", np.arange(100.0)[:, np.newaxis], np.arange(100))
    kept = draw_points(data, 10, seed=0)
    assert len(kept.x) == 10
    np.testing.assert_array_equal(kept.x[:, 0], kept.y)
    assert np.all(np.diff(kept.y) > 0)
    assert draw_points(data, 100, seed=0) is data
    (other,) = draw_points(data._replace(references=(100 + data.y,)), 10, seed=0).references
    np.testing.assert_array_equal(other, 100 + kept.y)


def test_a_suite_has_every_reference_of_every_file(tmp_path) -> None:
    x = np.zeros((4, 2))
    np.savez(tmp_path / "two.npz", x=x, y_2=[1, 1, 1, 1], y=[1, 2, 3, 0], y_1=[1, 1, 2, 2])
    np.savez(tmp_path / "one.npz", x=x, y=[2, 2, 5, 5])
    one, two = read_suite(tmp_path)
    assert [one.name, two.name] == ["one", "two"]
    assert (one.reference_k, two.reference_k, two.true_k) == ([2], [3, 2, 1], 3)
    np.testing.assert_array_equal(two.references, [[1, 2, 3, 0], [1, 1, 2, 2], [1, 1, 1, 1]])
    assert two.as_rows().references is two.references
    assert [data.name for data in read_suite(tmp_path, "tw")] == ["two"]


def test_folders_and_files_that_are_no_suite_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="^`FOLDER`: got .*nowhere"):
        read_suite(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"no .npz file in {tmp_path}"):
        read_suite(tmp_path)
    x = np.zeros((2, 2))
    for arrays, message in (
        ({"x": x}, "wrong.npz with x, wanted arrays x and y"),
        ({"y": np.ones(2)}, "wrong.npz with y, wanted arrays x and y"),
        ({"x": x, "y": np.ones(3)}, r"y \(3,\) in .*wrong.npz"),
        ({"x": x, "y": np.ones(2), "y_1": np.ones(3)}, r"y_1 float64 \(3,\) in .*wrong.npz"),
        ({"x": x, "y": np.zeros(2, int)}, r"y int64 \(2,\) in .*wrong.npz.*not all of them 0"),
        ({"x": x, "y": np.array(["a", "b"])}, r"y <U1 \(2,\) in .*wrong.npz"),
    ):
        np.savez(tmp_path / "wrong.npz", **arrays)
        with pytest.raises(ValueError, match=f"^`FOLDER`: got .*{message}"):
            read_suite(tmp_path)
    with pytest.raises(ValueError, match="whose name contains 'right'"):
        read_suite(tmp_path, "right")


def test_classes_are_thinned_as_the_name_says() -> None:
    y = np.repeat(np.arange(10), 100)
    digits = LabelledData("usps_umap", np.zeros((1000, 1)), y)
    counts = np.bincount(thin_classes(digits, 0).y)
    np.testing.assert_array_equal(counts, [100, 100, 5, 100, 100, 20, 100, 100, 10, 30])
    clothes = thin_classes(digits._replace(name="fashion_umap"), 0)
    np.testing.assert_array_equal(np.bincount(clothes.y)[[0, 3, 5, 7, 8]], [37, 19, 41, 54, 19])
    with pytest.raises(ValueError, match="mnist, usps, fashion"):
        thin_classes(digits._replace(name="letters"), 0)
