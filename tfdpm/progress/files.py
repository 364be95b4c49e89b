"""Files and folders that appear whole or not at all, and arrays that are kept in such a file."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import socket
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

import numpy as np

from tfdpm import checks

try:
    import fcntl
except ImportError:  # Windows, where no process is told of another
    fcntl = None  # type: ignore[assignment]

# What NumPy, Keras and zipfile raise on files that are damaged or of another kind.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile)

# Of folders in `replace_files`: not all of their files are written, or all are and are moved.
_BEGUN, _COMPLETE = "files-begun", "files-complete"
_NOT_WRITABLE = {
    getattr(errno, name) for name in ("EROFS", "ENOSPC", "EACCES", "EPERM", "EDQUOT", "EFBIG")
}
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}-(.*)", flags=re.DOTALL)
_claims: dict[Path, IO[str]] = {}  # locks that this process holds; the system frees them at its end


def claim(path: str | os.PathLike[str], names: str | None = None) -> bool:
    """Reserves a path for this process, until it ends or calls `release`.

    What a process that was killed left of half-written files is then removed.

    Args:
        path: file or other name, beside which a lock is made; folders are made if needed.
        names: pattern of the names of the files that are written; `None` for that of `path`.

    Returns:
        Whether it is reserved by this call: neither by one before, nor where there are no locks.

    Raises:
        BlockingIOError: with the name of the other process, if it is reserved.
        OSError: naming the folder, if nothing can be written there.
    """
    target = Path(path).absolute()
    if fcntl is None or _lock_of(target) in _claims:
        return False
    with _naming(target.parent):
        return _lock(target, names or target.name)


def _lock(target: Path, names: str) -> bool:
    lock = _lock_of(target)
    make_folder(target.parent)
    while True:
        file = lock.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            with file:
                raise BlockingIOError(file.read() or "another process") from None
        except OSError:  # some network file systems have no locks
            file.close()
            return False
        # Whoever held the lock may just have removed the file that was opened.
        if lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            break
        file.close()
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _claims[lock] = file
    for other in target.parent.iterdir():
        found = _TEMPORARY.fullmatch(other.name)
        if found and fnmatch(found[1], names) and other.is_file():
            other.unlink(missing_ok=True)
    return True


def release(path: str | os.PathLike[str]) -> None:
    """Lets other processes have what `claim` reserved."""
    lock = _lock_of(Path(path).absolute())
    file = _claims.pop(lock, None)
    if file is not None:
        lock.unlink(missing_ok=True)
        file.close()


@contextlib.contextmanager
def reserved(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Reserves a path while the block runs; yields what `claim` returns.

    Raises:
        BlockingIOError: with the name of the other process, if it is reserved.
    """
    is_alone = claim(path)
    try:
        yield is_alone
    finally:
        if is_alone:
            release(path)


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yields a path beside `path`; what the block writes there then takes the place of `path`.

    The file is on disk when the block has ended. If the block or the disk fails, the file of
    before is unchanged and no other file is left. Missing folders are made.

    Raises:
        ValueError: for a path such as `gs://bucket/file`.
        FileExistsError: if a file is there and `overwrite` is false.
        NotADirectoryError: if part of the path is a file.
        OSError: naming the folder, if nothing can be written there.
    """
    target = local_path(path)
    make_folder(target.parent)
    # Not made by `tempfile`, whose files others may not read. The name keeps its ending, by which
    # Keras and NumPy choose a format.
    temporary = _hidden_name(target)
    try:
        with _naming(target.parent):
            yield temporary
            _flush(temporary)
            if overwrite:
                os.replace(temporary, target)
            else:
                os.link(temporary, target)  # unlike a renamed file, never replaces another
            _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def create_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder beside `path`, which is renamed to `path` when the block has ended.

    Whoever watches the parent folder never sees half of the contents. If the block fails, nothing
    is left; what a process that was killed left is removed. Missing parents are made.

    Raises:
        BlockingIOError: with the name of the other process, if one makes the same folder.
        ValueError: for a path such as `gs://bucket/folder`.
        FileExistsError: if there is a file or folder of that name.
        NotADirectoryError: if part of the path is a file.
    """
    target = local_path(path)
    if os.path.lexists(target):
        raise FileExistsError(str(target))
    is_alone = claim(target)
    temporary = _hidden_name(target)
    try:
        with _naming(target.parent):
            for left in _hidden(target) if is_alone else ():
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir()
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
        if is_alone:
            release(target)


@contextlib.contextmanager
def replace_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder within `folder`, whose files move there when the block has ended.

    They are on disk before the first one moves. If the block or the disk fails before, all files of
    before are unchanged; of a process that ends after, `complete_files` moves the others.

    Raises:
        BlockingIOError: with the name of the other process, if one writes there.
    """
    target = Path(folder)
    make_folder(target)
    is_alone = claim(target / _COMPLETE)
    try:
        temporary, complete = (_hidden_name(target / name) for name in (_BEGUN, _COMPLETE))
        try:
            with _naming(target):
                if is_alone:
                    _complete(target)
                temporary.mkdir()
                yield temporary
                for file in temporary.iterdir():
                    _flush(file)
                _flush_folder(temporary)
                temporary.rename(complete)  # from here on all files are those of the block
                _flush_folder(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with _naming(target):
            _move_files(complete, target)
    finally:
        if is_alone:
            release(target / _COMPLETE)


def complete_files(folder: str | os.PathLike[str]) -> None:
    """Ends what a process that was killed within `replace_files` has begun, if one was.

    Where all of its files were written, they are moved; else nothing of them is kept. Nothing
    happens while another process writes there, nor where the folder may not be written.
    """
    target = Path(folder)
    if _hidden(target / _BEGUN) or _hidden(target / _COMPLETE):
        with contextlib.suppress(OSError), reserved(target / _COMPLETE) as is_alone:
            if is_alone:
                _complete(target)


def _complete(target: Path) -> None:
    for begun in _hidden(target / _BEGUN):
        shutil.rmtree(begun, ignore_errors=True)
    for complete in _hidden(target / _COMPLETE):
        _move_files(complete, target)


def _move_files(complete: Path, target: Path) -> None:
    for file in sorted(complete.iterdir()):
        os.replace(file, target / file.name)
    _flush_folder(target)
    complete.rmdir()


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Names the folder where the system says that nothing can be written there."""
    try:
        yield
    except OSError as error:
        is_elsewhere = error.filename and not Path(error.filename).is_relative_to(folder)
        if error.errno not in _NOT_WRITABLE or is_elsewhere:
            raise
        got = f"{str(folder)!r}, where nothing can be written ({os.strerror(error.errno)})"
        raise type(error)(
            f"`path`: got {got}, wanted a folder with room that may be written."
        ) from error


def make_folder(path: Path) -> None:
    """Makes a folder and its parents, where they are missing.

    Raises:
        NotADirectoryError: if part of the path is a file.
        OSError: naming the folder, if it cannot be made.
    """
    with _naming(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(f"{str(path)!r} is a file") from error


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


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _hidden(target: Path) -> list[Path]:
    """Folders with names of `_hidden_name`."""
    found = target.parent.glob(f".*-{glob.escape(target.name)}")
    matches = ((path, _TEMPORARY.fullmatch(path.name)) for path in found)
    return [path for path, match in matches if match and match[1] == target.name and path.is_dir()]


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
