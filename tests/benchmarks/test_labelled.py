"""Reading and thinning of labelled files."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.benchmarks.labelled import LabelledData, fewer, read_labelled, thin_classes


def test_images_become_rows_of_pixels_and_classes_are_counted(tmp_path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(24, dtype=np.uint8).reshape(3, 2, 4), y=[5, 7, 5])
    (data,) = read_labelled([path])
    assert (data.name, data.true_k) == ("a", 2)
    np.testing.assert_array_equal(data.x, np.arange(24.0).reshape(3, 8))


def test_rows_are_normalised_only_when_asked_and_zeros_stay(tmp_path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=[[3.0, 4.0], [0.0, 0.0]], y=[0, 1])
    np.testing.assert_allclose(read_labelled([path])[0].x, [[3, 4], [0, 0]])
    (data,) = read_labelled([path], normalize_rows=True)
    np.testing.assert_allclose(data.x, [[0.6, 0.8], [0, 0]])


@pytest.mark.parametrize(
    "arrays", [{"x": np.zeros((2, 2))}, {"x": np.zeros((2, 2)), "y": np.zeros(3)}]
)
def test_files_without_a_class_for_each_point_are_refused(arrays, tmp_path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match="--data"):
        read_labelled([tmp_path / "a.npz"])


def test_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no file"):
        read_labelled([])


def test_fewer_keeps_pairs_and_order() -> None:
    data = LabelledData("a", np.arange(100.0)[:, np.newaxis], np.arange(100))
    kept = fewer(data, 10, seed=0)
    assert len(kept.x) == 10
    np.testing.assert_array_equal(kept.x[:, 0], kept.y)
    assert np.all(np.diff(kept.y) > 0)
    assert fewer(data, 100, seed=0) is data


def test_classes_are_thinned_as_the_name_says() -> None:
    y = np.repeat(np.arange(10), 100)
    digits = LabelledData("usps_umap", np.zeros((1000, 1)), y)
    counts = np.bincount(thin_classes(digits, 0).y)
    np.testing.assert_array_equal(counts, [100, 100, 5, 100, 100, 20, 100, 100, 10, 30])
    clothes = thin_classes(digits._replace(name="fashion_umap"), 0)
    np.testing.assert_array_equal(np.bincount(clothes.y)[[0, 3, 5, 7, 8]], [37, 19, 41, 54, 19])
    with pytest.raises(ValueError, match="mnist, usps, fashion"):
        thin_classes(digits._replace(name="letters"), 0)
