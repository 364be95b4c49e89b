"""Files that a data set's authors publish: found on disk, or fetched where the caller allows it."""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfdpm import checks
from tfdpm.progress.files import replace_file

__all__ = ["RemoteFile", "find"]

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        names: under which it may lie on disk; the first is the one that is fetched.
        url: where its authors publish the first.
        md5: of the first, or None if its authors give none.
    """

    names: tuple[str, ...]
    url: str
    md5: str | None = None


def find(
    files: Sequence[RemoteFile], folder: Path, *, download: bool, name: str
) -> tuple[Path, ...]:
    """Returns where files lie, after fetching the missing ones if `download`.

    Args:
        files: all that are needed.
        folder: searched, and created if something is fetched.
        download: whether to fetch.
        name: of the data set, for errors.
    Raises:
        FileNotFoundError: naming all missing files and their addresses.
        OSError: if a file cannot be fetched, or arrives damaged.
    """
    found = [_on_disk(file, folder) for file in files]
    missing = [file for file, path in zip(files, found, strict=True) if path is None]
    if missing and not download:
        listed = ", ".join(f"{' or '.join(file.names)} (from {file.url})" for file in missing)
        wanted = f"{listed}; tfdpm.data.load({name!r}, download=True) fetches what is missing"
        checks.fail("data", f"{name!r} without files in {folder}", wanted, FileNotFoundError)
    for file in missing:
        _fetch(file, folder)
    paths = [_on_disk(file, folder) for file in files]
    return tuple(path for path in paths if path is not None)


def _on_disk(file: RemoteFile, folder: Path) -> Path | None:
    return next((folder / name for name in file.names if (folder / name).is_file()), None)


def _fetch(file: RemoteFile, folder: Path) -> None:
    """Writes the file under its first name; what broke off leaves nothing behind."""
    try:
        with replace_file(folder / file.names[0]) as temporary:
            with urllib.request.urlopen(file.url, timeout=_TIMEOUT_SECONDS) as remote:
                with temporary.open("wb") as out:
                    shutil.copyfileobj(remote, out)
            if file.md5 is not None and _md5(temporary) != file.md5:
                got = f"{file.url} with other contents than published"
                checks.fail("data", got, file.md5, OSError)
    except urllib.error.URLError as error:
        raise OSError(
            f"`data`: got no answer from {file.url} ({error.reason}), wanted {file.names[0]}; "
            f"it can be put into {folder} by hand."
        ) from error


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
