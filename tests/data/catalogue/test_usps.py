"""USPS from its two published forms, written small; what is missing or damaged is named."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest

from tfdpm.data import load
from tfdpm.data.catalogue import usps


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    grey = np.round(rng.uniform(-1, 1, size=(5, 256)), 4)
    grey[:, 7] = 0.0  # LIBSVM's form leaves zeros out
    return np.array([9, 0, 3, 3, 1]), grey


def write_plain(path, digits, grey, opener=gzip.open):
    with opener(path, "wt") as file:
        for digit, row in zip(digits, grey, strict=True):
            file.write(f"{digit}.0000 " + " ".join(f"{v:.4f}" for v in row) + " \n")


def write_libsvm(path, digits, grey, opener=bz2.open):
    with opener(path, "wt") as file:
        for digit, row in zip(digits, grey, strict=True):
            cells = [f"{i + 1}:{v:.4f}" for i, v in enumerate(row) if v != 0]
            file.write(f"{digit + 1} " + " ".join(cells) + "\n")


@pytest.mark.parametrize(
    ("write", "name", "opener"),
    [
        (write_plain, "zip.train.gz", gzip.open),
        (write_plain, "zip.train", open),
        (write_libsvm, "usps.bz2", bz2.open),
        (write_libsvm, "usps", open),
    ],
)
def test_every_form_gives_the_same_images(tmp_path, digits, write, name, opener) -> None:
    folder = tmp_path / "usps"
    folder.mkdir()
    write(folder / name, *digits, opener=opener)
    x, y = load("usps", data_dir=tmp_path)
    assert (x.shape, x.dtype, y.dtype) == ((5, 16, 16, 1), np.float32, np.int64)
    np.testing.assert_array_equal(y, digits[0])
    np.testing.assert_allclose(x.reshape(5, 256), (digits[1] + 1) / 2, atol=1e-6)
    assert x[0, 0, 7, 0] == 0.5


def test_parts_are_joined_in_their_order(tmp_path, digits) -> None:
    folder = tmp_path / "usps"
    folder.mkdir()
    write_libsvm(folder / "usps.bz2", digits[0][:2], digits[1][:2])
    write_plain(folder / "zip.test.gz", digits[0][2:], digits[1][2:])
    for split in ("all", "train+test"):
        np.testing.assert_array_equal(load("usps", split, tmp_path)[1], digits[0])
    np.testing.assert_array_equal(load("usps", "test", tmp_path)[1], digits[0][2:])
    with pytest.raises(ValueError, match=r"^`split`: got 'valid', wanted one of 'train'"):
        load("usps", "valid", tmp_path)


def test_images_are_resized_on_request(tmp_path, digits) -> None:
    folder = tmp_path / "usps"
    folder.mkdir()
    write_plain(folder / "zip.train.gz", digits[0], np.full_like(digits[1], 0.5))
    x, _ = load("usps", data_dir=tmp_path, image_size=8)
    np.testing.assert_allclose(x, np.full((5, 8, 8, 1), 0.75), atol=1e-6)


def test_missing_files_are_named_with_their_source(tmp_path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load("usps", "all", tmp_path)
    message = str(error.value)
    for part in ("usps.bz2", "zip.test.gz", str(tmp_path / "usps"), "csie.ntu", "download=True"):
        assert part in message


@pytest.mark.parametrize(
    "text", ["3 1:0.5 257:0.1\n", "12 1:0.5\n", "3 1:7.5\n", "3 word\n", "", "3 1:0.5 2\n"]
)
def test_damaged_file_is_named(tmp_path, text) -> None:
    path = tmp_path / "usps"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^`data`: got '.*usps'"):
        usps.load(tmp_path)


def test_truncated_archive_is_named(tmp_path, digits) -> None:
    write_plain(tmp_path / "zip.train.gz", *digits)
    whole = (tmp_path / "zip.train.gz").read_bytes()
    (tmp_path / "zip.train.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"zip.train.gz', which is damaged"):
        usps.load(tmp_path)
