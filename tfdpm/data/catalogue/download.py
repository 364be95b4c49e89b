"""Files of published data sets: found on disk, or downloaded where the caller allows it."""

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

__all__ = ["RemoteFile", "find_files"]

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        names: names that the file may have on disk; a download gets the first.
        url: address at which the authors publish the file.
        md5: checksum of the file; None where the authors give none.
    """

    names: tuple[str, ...]
    url: str
    md5: str | None = None


def find_files(
    files: Sequence[RemoteFile], folder: Path, *, download: bool, name: str
) -> tuple[Path, ...]:
    """Returns the paths of files, after a download of the missing ones if that is allowed.

    Args:
        files: the files that are needed.
        folder: folder of the files; a download creates it.
        download: whether missing files may be downloaded.
        name: name of the data set in errors.
    Raises:
        FileNotFoundError: if files are missing; it names all of them and their addresses.
        OSError: if a file cannot be downloaded, or arrives damaged.
    """
    found = [_find_on_disk(file, folder) for file in files]
    missing = [file for file, path in zip(files, found, strict=True) if path is None]
    if missing and not download:
        listed = ", ".join(f"{' or '.join(file.names)} (from {file.url})" for file in missing)
        wanted = f"{listed}; tfdpm.data.load({name!r}, download=True) fetches what is missing"
        checks.fail("data", f"{name!r} without files in {folder}", wanted, FileNotFoundError)
    for file in missing:
        _download(file, folder)
    paths = [_find_on_disk(file, folder) for file in files]
    return tuple(path for path in paths if path is not None)


def _find_on_disk(file: RemoteFile, folder: Path) -> Path | None:
    return next((folder / name for name in file.names if (folder / name).is_file()), None)


def _download(file: RemoteFile, folder: Path) -> None:
    """Downloads a file to its first name; a download that fails leaves no file."""
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
