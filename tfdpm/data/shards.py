"""Points in many files, read in parallel as one stream: .npy, TFRecord or Parquet."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfdpm import checks

# Of Arrow, with numbers that float32 holds, and with others.
_NARROW_TYPES = {"bool", "int8", "uint8", "int16", "uint16", "halffloat", "float"}
_WIDE_TYPES = {"int32", "uint32", "int64", "uint64", "double"}


def read_shards(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    batch_size: int = 4096,
    parallel_reads: int = 4,
    feature: str = "x",
) -> tf.data.Dataset:
    """Returns the points of all files as a stream of batches, in the same order every time.

    At most `parallel_reads + 2` batches are in memory.

    Args:
        paths: a pattern such as `"points-*.npy"`, or paths; all of one format:
            - .npy: `[N_i, D]` float16, float32 or float64 in C order;
            - .tfrecord: `tf.train.Example`s with D floats each under the name `feature`;
            - .parquet: D columns of numbers.
        batch_size: number of rows in a batch, >= 1; the last batch of a file may have fewer.
        parallel_reads: number of files that are read at the same time, >= 1; batches alternate.
        feature: name of the floats in the examples of TFRecord files.
    Returns:
        Dataset of `[B, D]` for `tfdpm.fit`: float64 where files hold wider numbers than float32.
    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if formats, numbers of columns or dtypes differ, or a file cannot be a shard.
    """
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    parallel_reads = checks.integer(parallel_reads, "parallel_reads", minimum=1)
    if isinstance(paths, (str, os.PathLike)):
        given, wanted = os.fspath(paths), "a pattern that some file matches"
        files = sorted(glob.glob(given))
    else:
        files = given = [os.fspath(path) for path in paths]
        wanted = "paths of existing files, at least one"
    if not files or not all(os.path.isfile(file) for file in files):
        checks.fail("paths", repr(given), wanted, FileNotFoundError)
    kinds = {Path(file).suffix.lower().replace(".tfrecords", ".tfrecord") for file in files}
    if kinds == {".npy"}:
        return _read_npy(files, batch_size, parallel_reads)
    if kinds == {".tfrecord"}:
        return _read_tfrecord(files, batch_size, parallel_reads, feature)
    if kinds == {".parquet"}:
        return _read_parquet(files, batch_size, parallel_reads)
    got = ", ".join(sorted({Path(file).suffix or "no ending" for file in files}))
    checks.fail("paths", f"files with {got}", "files of one kind: .npy, .tfrecord or .parquet")


def _read_npy(files: list[str], batch_size: int, parallel_reads: int) -> tf.data.Dataset:
    """Reads rows as records of fixed length behind each file's header, without Python code."""
    offsets, rows, dims, dtypes = zip(*map(_read_npy_header, files), strict=True)
    widths = set(zip(dims, dtypes, strict=True))
    if len(widths) != 1:
        got = " and ".join(f"[N, {dim}] {dtype}" for dim, dtype in sorted(widths, key=str))
        checks.fail("paths", got, "arrays of one width and dtype")
    ((dim, dtype),) = widths
    row_bytes = dim * dtype.itemsize

    def decode(record):
        values = tf.reshape(tf.io.decode_raw(record, tf.as_dtype(dtype)), [-1, dim])
        return values if dtype == np.float64 else tf.cast(values, tf.float32)

    def read(path, offset, rows):
        """Reads whole batches, then the remaining rows as one record."""
        left = rows % batch_size
        whole = tf.data.FixedLengthRecordDataset(
            path, row_bytes * batch_size, header_bytes=offset, footer_bytes=left * row_bytes
        )
        start = offset + (rows - left) * row_bytes
        rest = tf.data.FixedLengthRecordDataset(path, tf.maximum(left, 1) * row_bytes, start)
        return whole.concatenate(rest.take(tf.minimum(left, 1))).map(decode)

    numbers = (np.array(offsets, np.int64), np.array(rows, np.int64))
    stream = tf.data.Dataset.from_tensor_slices((files, *numbers))
    num_batches = sum(-(-count // batch_size) for count in rows)
    stream = _interleave(stream, read, parallel_reads)
    return stream.apply(tf.data.experimental.assert_cardinality(num_batches))


def _read_npy_header(file: str) -> tuple[int, int, int, np.dtype]:
    """Returns the offset of the values in bytes, rows, columns and dtype."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        checks.fail("paths", repr(file), f".npy files of numbers ({error})")
    is_plain = array.ndim == 2 and array.flags.c_contiguous and array.dtype.isnative
    if not is_plain or array.dtype not in (np.float16, np.float32, np.float64) or not array.size:
        got = f"{file!r} with shape {array.shape}, {array.dtype}"
        checks.fail("paths", got, "[N, D] float16, float32 or float64 in C order")
    return array.offset, len(array), array.shape[1], array.dtype


def _read_tfrecord(
    files: list[str], batch_size: int, parallel_reads: int, feature: str
) -> tf.data.Dataset:
    first = next(iter(tf.data.TFRecordDataset(files).take(1)), None)
    if first is None:
        checks.fail("paths", "files without records", "at least 1 point")
    example = tf.train.Example.FromString(first.numpy())
    dim = len(example.features.feature[feature].float_list.value)
    if not dim:
        known = ", ".join(sorted(name for name in example.features.feature if name != feature))
        checks.fail("feature", repr(feature), f"a feature of floats, one of: {known or 'none'}")
    spec = {feature: tf.io.FixedLenFeature([dim], tf.float32)}

    def read(path):
        records = tf.data.TFRecordDataset(path).batch(batch_size)
        return records.map(lambda batch: tf.io.parse_example(batch, spec)[feature])

    return _interleave(tf.data.Dataset.from_tensor_slices(files), read, parallel_reads)


def _read_parquet(files: list[str], batch_size: int, parallel_reads: int) -> tf.data.Dataset:
    parquet = checks.import_optional("pyarrow.parquet", "paths", "tables")
    schemas = [parquet.ParquetFile(file).schema_arrow for file in files]
    names = {tuple(schema.names) for schema in schemas}
    if len(names) != 1:
        checks.fail("paths", f"files of columns {sorted(names)}", "the same columns in all")
    types = {str(field.type): field.name for schema in schemas for field in schema}
    others = {name for each, name in types.items() if each not in _NARROW_TYPES | _WIDE_TYPES}
    if others:
        checks.fail("paths", f"files with columns {sorted(others)}", "columns of numbers")
    dim, dtype = len(schemas[0]), np.float32 if set(types) <= _NARROW_TYPES else np.float64

    def batches(path: bytes) -> Iterator[np.ndarray]:
        reader = parquet.ParquetFile(path.decode())
        for batch in reader.iter_batches(batch_size):
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            yield np.stack(columns, axis=1).astype(dtype)

    def read(path):
        spec = tf.TensorSpec([None, dim], dtype)
        return tf.data.Dataset.from_generator(batches, args=(path,), output_signature=spec)

    return _interleave(tf.data.Dataset.from_tensor_slices(files), read, parallel_reads)


def _interleave(stream: tf.data.Dataset, read, parallel_reads: int) -> tf.data.Dataset:
    """Reads several files at a time, batch by batch in turn, two batches ahead."""
    return stream.interleave(
        read,
        cycle_length=parallel_reads,
        num_parallel_calls=parallel_reads,
        deterministic=True,
    ).prefetch(2)
