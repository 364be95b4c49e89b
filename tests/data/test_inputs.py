"""Whatever users pass becomes one form, or one error that names the argument."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

from tfdpm.data import as_features, load
from tfdpm.data.inputs import as_labels
from tfdpm.metrics import UNKNOWN_LABEL

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 4


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.tolist(),
        tuple(map(tuple, X)),
        list(X),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        read_only(X),
        X.astype(">f8"),
        np.matrix(X),
        np.ma.masked_array(X),
        tf.constant(X),
        tf.Variable(X),
        pd.DataFrame(X, columns=["a", "b", "a"]),
        scipy.sparse.csr_matrix(X),
        scipy.sparse.coo_array(X),
    ],
    ids=lambda data: type(data).__name__,
)
def test_arrays_of_every_kind_become_the_same(data) -> None:
    inputs = as_features(data)
    np.testing.assert_array_equal(inputs.array, X)
    assert type(inputs.array) is np.ndarray
    assert inputs.array.dtype == np.float64
    assert inputs.array.flags.c_contiguous
    assert (inputs.num_points, inputs.feature_shape) == (40, (3,))
    assert inputs.dataset is inputs.labels is inputs.labelled_dataset is None


@pytest.mark.parametrize(
    "dtype",
    [bool, "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", tf.bfloat16.as_numpy_dtype],
)
def test_narrow_numbers_become_float32_without_loss(dtype) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    inputs = as_features(x)
    assert inputs.array.dtype == np.float32
    np.testing.assert_array_equal(inputs.array, x.astype(np.float64))


@pytest.mark.parametrize("dtype", ["i4", "i8", "f8", "u8"])
def test_digits_beyond_float32_are_kept(dtype) -> None:
    x = (1_000_000_000 + np.arange(6).reshape(3, 2)).astype(dtype)
    inputs = as_features(x)
    assert inputs.array.dtype == np.float64
    np.testing.assert_array_equal(inputs.array - 1e9, np.arange(6).reshape(3, 2))


@pytest.mark.parametrize("form", ["array", "stream", "frame", "mixed frame"])
@pytest.mark.parametrize("spread", [0.0, 1.0, 1000.0])
def test_float32_columns_whose_digits_are_lost_are_named(form, spread) -> None:
    values = np.stack([X[:, 0], 1.7e9 + spread * X[:, 1]], axis=1).astype(np.float32)
    data, name = values, "1"
    if form == "stream":
        data = tf.data.Dataset.from_tensor_slices(values).batch(8)
    if "frame" in form:
        data, name = pd.DataFrame(values, columns=["width", "time"]), "time"
        data["width"] = data["width"].astype(np.float64 if form == "mixed frame" else np.float32)
    with pytest.warns(UserWarning, match=rf"^Column {name}: held in float32, .* are 128 at"):
        as_features(data).in_memory()


@pytest.mark.parametrize(
    "values",
    [
        1.7e9 + X,  # float64
        (1.7e9 + 1e5 * X).astype(np.float32),
        np.ones_like(X, np.float32),
        np.round(X).astype(np.float32),
        np.full_like(X, 255.0, np.float32) * (X > 1),
        (16_000_000 + np.arange(120).reshape(40, 3)).astype(np.int32),
        X.astype(np.float16),
        X.astype(tf.bfloat16.as_numpy_dtype),
    ],
)
def test_columns_that_keep_their_digits_are_not_warned_of(values) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_features((values, None))


def test_integers_beyond_float64_are_warned_of() -> None:
    values = 2**60 + np.arange(80).reshape(40, 2)
    with pytest.warns(UserWarning, match=r"^Columns 0, 1: held in float64, whose steps are 256 at"):
        as_features(values)
    with pytest.warns(UserWarning, match=r"^Column n: held in float64"):
        as_features(pd.DataFrame({"n": values[::-1, 0], "a": X[:, 0]}))


def test_float16_columns_have_their_own_steps() -> None:
    with pytest.warns(UserWarning, match=r"^Columns 0, 1, 2: held in float16, .* are 1 at"):
        as_features((1500 + X).astype(np.float16))


def test_smallest_integer_does_not_overflow() -> None:
    inputs = as_features(np.array([[np.iinfo(np.int64).min], [1]]))
    np.testing.assert_array_equal(inputs.array, [[-(2.0**63)], [1.0]])


@pytest.mark.parametrize("shape", [(5, 8, 6), (5, 8, 6, 1), (5, 8, 6, 3)])
def test_images_keep_their_shape(shape) -> None:
    inputs = as_features(np.zeros(shape, np.uint8))
    assert inputs.array.shape == shape
    assert inputs.feature_shape == shape[1:]


def test_frames_of_mixed_and_nullable_numbers() -> None:
    frame = pd.DataFrame(
        {
            "f": np.array([1.5, 2.5], np.float32),
            "i": [2**40, 1],
            "b": [True, False],
            "n": pd.array([3, 4], dtype="Int64"),
        }
    )
    np.testing.assert_array_equal(as_features(frame).array, [[1.5, 2**40, 1, 3], [2.5, 1, 0, 4]])
    narrow = as_features(frame[["f"]])
    assert narrow.array.dtype == np.float32
    assert as_features(pd.Series([1.0, 2.0, 3.0])).array.shape == (3, 1)


def test_missing_numbers_of_frames_are_an_error() -> None:
    missing = pd.DataFrame({"n": pd.array([1, None, 2], dtype="Int64")})
    with pytest.raises(ValueError, match=r"1 NaN in columns n \(1\), the first in row 1"):
        as_features((missing, None))
    with pytest.raises(ValueError, match=r"missing values in columns n \(1\), .* dropna\(\)"):
        as_features(missing)


def test_pairs_and_labels() -> None:
    for inputs in (as_features((X, Y)), as_features(X, Y), as_features((X, pd.Series(Y)))):
        np.testing.assert_array_equal(inputs.labels, Y)
        assert inputs.labels.dtype == np.int64
    assert as_features((X, None)).labels is None
    with pytest.raises(ValueError, match=r"`y`: got 39 labels, wanted 40"):
        as_features(X, Y[:-1])
    with pytest.raises(ValueError, match="`y`: got labels twice"):
        as_features((X, Y), Y)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (["b", "a", "b"], [1, 0, 1]),
        (np.array(["b", "a", "b"], object), [1, 0, 1]),
        (pd.Series(["b", "a", "b"], dtype="category"), [1, 0, 1]),
        ([7.0, -1.0, 7.0], [7, -1, 7]),
        ([[3], [4], [3]], [3, 4, 3]),
        (np.array([True, False, True]), [1, 0, 1]),
        (tf.constant([b"b", b"a", b"b"]), [1, 0, 1]),
        (np.array([2, 0, 2], np.uint8), [2, 0, 2]),
        (np.eye(3)[[2, 0, 2]], [2, 0, 2]),
        ([3.0, np.nan, 4.0], [3, UNKNOWN_LABEL, 4]),
        ([None, "b", "a"], [UNKNOWN_LABEL, 1, 0]),
        (pd.Series(["b", None, "a"], dtype="string"), [1, UNKNOWN_LABEL, 0]),
        (pd.Series([3, None, 4], dtype="Int64"), [3, UNKNOWN_LABEL, 4]),
    ],
)
def test_labels_of_every_kind(y, expected) -> None:
    np.testing.assert_array_equal(as_labels(y, 3), expected)


@pytest.mark.parametrize(
    ("y", "error"),
    [
        ([0.5, 1.0, 2.0], ValueError),
        ([np.inf, 1.0, 2.0], ValueError),
        (np.ones((3, 2)), ValueError),
        ([1, 2], ValueError),
        (np.array([1, "a", "b"], object), TypeError),
        ([1j, 2j, 3j], TypeError),
    ],
)
def test_wrong_labels_are_named(y, error) -> None:
    with pytest.raises(error, match="^`y`: got"):
        as_labels(y, 3)


def with_values(*values: float) -> np.ndarray:
    x = X.copy()
    x[7:, 1][: len(values)] = values
    return x


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            with_values(np.nan, np.inf, -np.inf),
            ValueError,
            "1 NaN and 2 infinite values, the first",
        ),
        (with_values(np.nan), ValueError, "the first in row 7, wanted finite numbers only"),
        (np.ma.masked_greater(X, 1.0), ValueError, "masked values"),
        (X[:0], ValueError, "got 0 points, wanted at least 2"),
        (X[:1], ValueError, "got 1 point, wanted at least 2"),
        (X[:, :0], ValueError, r"got shape \(40, 0\)"),
        (X[:, 0], ValueError, r"got shape \(40,\), wanted \[N, D\].* reshape it to \[N, 1\]"),
        (3.0, ValueError, r"got shape \(\)"),
        (np.zeros((2, 2, 2, 2, 2)), ValueError, r"got shape \(2, 2, 2, 2, 2\)"),
        ([[1, 2], [3]], ValueError, "rows of different lengths"),
        (np.array([[1, 2], [3]], object), ValueError, "rows of different lengths"),
        ([[1, "a"], [2, "b"]], TypeError, "got text, wanted numbers, or a pandas.DataFrame"),
        (np.full((40, 3), "a", object), TypeError, "a pandas.DataFrame, whose columns of text are"),
        (
            np.array([["a"], ["b"]], object),
            TypeError,
            "got text, wanted .*that makes rows of texts",
        ),
        (tf.constant([["a"], ["b"]]), TypeError, "got text"),
        ((X + 1j).astype(object), TypeError, "got dtype object, wanted real numbers"),
        (X.astype(complex), TypeError, "got dtype complex128, wanted real numbers"),
        (X.astype("M8[s]"), TypeError, "got dtype datetime64"),
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), TypeError, "RaggedTensor"),
        (tf.sparse.from_dense(X), TypeError, "SparseTensor"),
        (scipy.sparse.csr_matrix((10**6, 10**4)), TypeError, "sparse matrix"),
        (None, TypeError, "got NoneType"),
        ({}, TypeError, "got dict"),
        ("nowhere.npy", FileNotFoundError, "got 'nowhere.npy'"),
    ],
)
def test_wrong_data_gets_one_error_that_names_it(data, error, message) -> None:
    with pytest.raises(error, match=f"^`points`: .*{message}") as caught:
        as_features(data, name="points")
    assert "wanted" in str(caught.value)


def test_one_point_is_enough_to_predict() -> None:
    assert as_features(X[:1], minimum_points=1).num_points == 1
    with pytest.raises(ValueError, match="got 0 points, wanted at least 1"):
        as_features(X[:0], minimum_points=1)


def test_input_is_never_changed() -> None:
    for data in (X.astype(np.float32), X.copy(), np.arange(6).reshape(3, 2)):
        before = data.copy()
        as_features(data)
        np.testing.assert_array_equal(data, before)


def test_names_and_paths_bring_their_labels(tmp_path) -> None:
    x, y = load("blobs")
    for source in ("blobs", str(tmp_path / "b.npz"), tmp_path / "b.npz"):
        np.savez(tmp_path / "b.npz", x=x, y=y)
        inputs = as_features(source)
        np.testing.assert_array_equal(inputs.array, x)
        np.testing.assert_array_equal(inputs.labels, y)


@pytest.mark.parametrize(
    "data", [X, (X, Y), tf.data.Dataset.from_tensor_slices(X)], ids=["array", "pair", "stream"]
)
def test_inputs_are_returned_unchanged(data) -> None:
    inputs = as_features(data)
    assert as_features(inputs) is inputs


def test_inputs_take_labels_once() -> None:
    inputs = as_features(X)
    labelled = as_features(inputs, Y)
    assert labelled.array is inputs.array
    assert inputs.labels is None
    np.testing.assert_array_equal(labelled.labels, Y)
    with pytest.raises(ValueError, match="labels twice"):
        as_features(labelled, Y)
    with pytest.raises(ValueError, match="labels twice"):
        as_features(as_features(tf.data.Dataset.from_tensor_slices((X, Y))), Y)


def test_inputs_of_too_few_points_are_named() -> None:
    one = as_features(X[:1], minimum_points=1)
    assert as_features(one, minimum_points=1) is one
    with pytest.raises(ValueError, match="`points`: got 1 point, wanted at least 2"):
        as_features(one, name="points")


def test_stream_takes_labels_from_the_side() -> None:
    stream = tf.data.Dataset.from_tensor_slices(X)
    inputs = as_features((stream, Y))
    assert inputs.array is None
    assert inputs.num_points == 40
    np.testing.assert_array_equal(inputs.labels, Y)
    with pytest.raises(ValueError, match="`y`: got 39 labels, wanted 40"):
        as_features((stream, Y[:-1]))
    with pytest.raises(ValueError, match="labels twice"):
        as_features(tf.data.Dataset.from_tensor_slices((X, Y)), Y)
    with pytest.raises(ValueError, match="`x`: got 1 point, wanted at least 2"):
        as_features(stream.take(1))
