"""Files and folders that appear whole or not at all, and arrays that are kept in such a file."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tfdpm import checks

# What NumPy, Keras and zipfile raise on files that are damaged or of another kind.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile)


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yields a path beside `path`; what the block writes there then takes the place of `path`.

    The file is on disk when the block has ended. If the block or the disk fails, the file of
    before is unchanged and no other file is left. Missing folders are made.

    Raises:
        ValueError: for a path such as `gs://bucket/file`.
        FileExistsError: if a file is there and `overwrite` is false.
        NotADirectoryError: if part of the path is a file.
    """
    target = local_path(path)
    _make_folder(target.parent)
    # Not made by `tempfile`, whose files others may not read. The name keeps its ending, by which
    # Keras and NumPy choose a format.
    temporary = _hidden_name(target)
    try:
        yield temporary
        _flush(temporary)
        if overwrite:
            os.replace(temporary, target)
        else:
            os.link(temporary, target)  # unlike a renamed file, never takes the place of another
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def create_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder beside `path`, which is renamed to `path` when the block has ended.

    Whoever watches the parent folder never sees half of the contents. If the block fails, nothing
    is left. Missing parents are made.

    Raises:
        ValueError: for a path such as `gs://bucket/folder`.
        FileExistsError: if there is a file or folder of that name.
        NotADirectoryError: if part of the path is a file.
    """
    target = local_path(path)
    if os.path.lexists(target):
        raise FileExistsError(str(target))
    _make_folder(target.parent)
    temporary = _hidden_name(target)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        try:
            temporary.rename(target)
        except OSError as error:
            if os.path.lexists(target):  # made by another process in the meantime
                raise FileExistsError(str(target)) from error
            raise
        _flush_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def local_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Returns the path, or raises an error that names it if it is one of another machine."""
    if "://" in os.fspath(path):
        wanted = "a local path; tf.io.gfile.copy then brings files to a bucket"
        checks.fail(name, repr(os.fspath(path)), wanted)
    return Path(path)


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Replaces a .npz file by one with these arrays."""
    with replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads all arrays of a .npz file into memory.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, of another kind, or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise
    except (*UNREADABLE, TypeError) as error:
        raise ValueError(f"{str(path)!r} is damaged or no file of arrays") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(f"{str(path)!r} is a file") from error


def _hidden_name(target: Path) -> Path:
    return target.with_name(f".{secrets.token_hex(4)}-{target.name}")


def _flush(path: Path) -> None:
    """Waits until what was written to a file is on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk, where the system can tell."""
    # Windows opens no folders, and some network file systems flush none.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
