"""The imbalanced versions keep the printed shares, rounded up, of the right classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfdpm.data.catalogue.imbalance import imbalance

PRINTED = {
    "mnist": {8: 0.10, 2: 0.05, 5: 0.20, 9: 0.30},
    "usps": {8: 0.10, 2: 0.05, 5: 0.20, 9: 0.30},
    "fashion_mnist": {0: 0.37, 3: 0.19, 5: 0.41, 7: 0.54, 8: 0.19},
}
CLASS_SIZES = np.array([6903, 7877, 6990, 71, 6824, 6313, 6876, 101, 6825, 6958])


@pytest.mark.parametrize("name", PRINTED)
def test_classes_keep_the_printed_share(name) -> None:
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(10), CLASS_SIZES))
    _, kept = imbalance(np.zeros((len(y), 1)), y, name)
    expected = [
        math.ceil(round(size * PRINTED[name].get(k, 1.0), 6)) for k, size in enumerate(CLASS_SIZES)
    ]
    np.testing.assert_array_equal(np.bincount(kept), expected)


def test_points_stay_with_their_labels_in_order_and_dtype() -> None:
    y = np.tile(np.arange(10, dtype=np.uint8), 50)
    x = np.arange(500, dtype=np.int16).reshape(500, 1, 1)
    kept_x, kept_y = imbalance(x, y, "mnist")
    assert (kept_x.dtype, kept_y.dtype) == (x.dtype, y.dtype)
    np.testing.assert_array_equal(kept_x[:, 0, 0] % 10, kept_y)
    assert np.all(np.diff(kept_x[:, 0, 0]) > 0)


def test_the_seed_decides_which_points() -> None:
    y = np.repeat(np.arange(10), 100)
    x = np.arange(1000)[:, np.newaxis]
    first, _ = imbalance(x, y, "usps", seed=0)
    again, _ = imbalance(x, y, "usps", seed=0)
    other, _ = imbalance(x, y, "usps", seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # Not simply the first ones of a class.
    assert not np.array_equal(first[np.isin(first, np.arange(800, 900))], np.arange(800, 810))


def test_absent_classes_are_no_error() -> None:
    x, y = imbalance(np.zeros((3, 2)), [0, 1, 1], "mnist")
    assert len(x) == len(y) == 3


@pytest.mark.parametrize(
    ("y", "name", "wrong"),
    [([0, 1], "mnist", "y"), ([[0], [1], [2]], "mnist", "y"), ([0, 1, 2], "letters", "name")],
)
def test_wrong_argument_is_named(y, name, wrong) -> None:
    with pytest.raises(ValueError, match=f"`{wrong}`: got"):
        imbalance(np.zeros((3, 2)), y, name)
