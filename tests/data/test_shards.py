"""Shards of every format give every point once, in one order."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm.data import read_shards

ROWS = (7, 4, 1, 10)


@pytest.fixture
def shards():
    """Four arrays whose first column numbers the points."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(sum(ROWS), 3)).astype(np.float32)
    x[:, 0] = np.arange(len(x))
    return np.split(x, np.cumsum(ROWS)[:-1])


def write(kind, arrays, folder):
    for index, array in enumerate(arrays):
        path = str(folder / f"part-{index}.{kind}")
        if kind == "npy":
            np.save(path, array)
        elif kind == "parquet":
            pandas = pytest.importorskip("pandas")
            pandas.DataFrame(array, columns=list("abc")).to_parquet(path)
        else:
            with tf.io.TFRecordWriter(path) as writer:
                for row in array:
                    values = tf.train.Feature(float_list=tf.train.FloatList(value=row))
                    features = tf.train.Features(feature={"x": values})
                    writer.write(tf.train.Example(features=features).SerializeToString())
    return str(folder / f"*.{kind}")


@pytest.mark.parametrize("kind", ["npy", "tfrecord", "parquet"])
@pytest.mark.parametrize("parallel_reads", [1, 3])
def test_every_point_comes_once_and_always_in_the_same_order(
    kind, parallel_reads, shards, tmp_path
):
    stream = read_shards(write(kind, shards, tmp_path), batch_size=4, parallel_reads=parallel_reads)
    assert stream.element_spec.shape[1] == 3 and stream.element_spec.dtype == tf.float32
    first, second = (np.concatenate(list(stream.as_numpy_iterator())) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    whole = np.concatenate(shards)
    np.testing.assert_array_equal(first[np.argsort(first[:, 0])], whole)
    if parallel_reads == 1:
        np.testing.assert_array_equal(first, whole)
    assert max(len(batch) for batch in stream) == 4


def test_arrays_of_less_precision_come_as_float32(shards, tmp_path):
    stream = read_shards(write("npy", [s.astype("f2") for s in shards], tmp_path), batch_size=5)
    (first, *_) = stream
    assert first.dtype == tf.float32
    np.testing.assert_array_equal(first, shards[0][:5].astype(np.float16))


@pytest.mark.parametrize(("kind", "dtype"), [("npy", "f8"), ("parquet", "f8"), ("parquet", "i8")])
def test_digits_of_wide_numbers_are_kept(kind, dtype, shards, tmp_path):
    wide = [(1e9 + shard.astype(np.float64).round(2)).astype(dtype) for shard in shards]
    read = np.concatenate(list(read_shards(write(kind, wide, tmp_path), parallel_reads=1)))
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, np.concatenate(wide))


def test_columns_of_shards_in_another_order_or_of_text_are_named(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    frame.to_parquet(tmp_path / "1.parquet")
    frame[["b", "a"]].to_parquet(tmp_path / "2.parquet")
    with pytest.raises(
        ValueError, match=r"columns \[\('a', 'b'\), \('b', 'a'\)\], wanted the same"
    ):
        read_shards(tmp_path / "*.parquet")
    frame.assign(b=["x", "y"]).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"files with columns \['b'\], wanted columns of numbers"):
        read_shards(tmp_path / "*.parquet")


def test_the_number_of_batches_of_arrays_is_known(shards, tmp_path):
    stream = read_shards(write("npy", shards, tmp_path), batch_size=4)
    assert int(stream.cardinality()) == len(list(stream)) == 2 + 1 + 1 + 3


def test_a_model_is_fitted_on_shards(tmp_path):
    x, _ = tfdpm.data.gaussian_mixture(3, 2, 600, seed=1)
    pattern = write("npy", np.array_split(x, 3), tmp_path)
    model = tfdpm.fit(read_shards(pattern, batch_size=100), epochs=1, verbose=0)
    assert model.n_clusters == 3 and len(model.labels_) == 600


def test_what_cannot_be_shards_is_named(shards, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-"):
        read_shards(tmp_path / "nothing-*.npy")
    with pytest.raises(FileNotFoundError, match="at least one"):
        read_shards([])
    write("npy", shards, tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"files with \.csv, \.npy, wanted files of one kind"):
        read_shards(tmp_path / "*")
    np.save(tmp_path / "part-9.npy", np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match=r"\[N, 3\] float32 and \[N, 5\] float32"):
        read_shards(tmp_path / "*.npy")
    np.save(tmp_path / "wide.npy", np.zeros((2, 5), np.int64))
    with pytest.raises(ValueError, match=r"wide.npy' with shape \(2, 5\), int64"):
        read_shards([tmp_path / "wide.npy"])
    write("tfrecord", shards, tmp_path)
    with pytest.raises(
        ValueError, match="`feature`: got 'z', wanted a feature of floats, one of: x"
    ):
        read_shards(tmp_path / "*.tfrecord", feature="z")
