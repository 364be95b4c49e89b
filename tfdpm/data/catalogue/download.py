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

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RemoteFile:
    """A published file."""

    names: tuple[str, ...]  # that it may have on disk; a download gets the first
    url: str
    md5: str | None = None  # None where the authors give none: it is then not downloaded

    @property
    def can_be_fetched(self) -> bool:
        """Whether what arrives can be known to be what was published."""
        return self.md5 is not None and not self.url.startswith("http:")


def find_files(
    files: Sequence[RemoteFile], folder: Path, *, download: bool, name: str
) -> tuple[Path, ...]:
    """Returns the paths of a data set's files, after a download of missing ones if that is allowed.

    Raises:
        FileNotFoundError: if files are missing; it names all of them and their addresses.
        OSError: if a file cannot be downloaded, or arrives damaged.
    """
    found = [
        next((path for path in map(folder.joinpath, file.names) if path.is_file()), None)
        for file in files
    ]
    missing = [file for file, path in zip(files, found, strict=True) if path is None]
    if missing and not download:
        listed = ", ".join(f"{' or '.join(file.names)} (from {file.url})" for file in missing)
        wanted = f"{listed}, put there by hand"
        if all(file.can_be_fetched for file in missing):
            wanted = f"{listed}; tfdpm.data.load({name!r}, download=True) fetches what is missing"
        checks.fail("data", f"{name!r} without files in {folder}", wanted, FileNotFoundError)
    for file in missing:
        _download(file, folder)
    return tuple(path or folder / file.names[0] for file, path in zip(files, found, strict=True))


def _download(file: RemoteFile, folder: Path) -> None:
    """Downloads a file to its first name; a download that fails leaves no file."""
    if not file.can_be_fetched:
        got = f"{file.url}, which comes without https or a published checksum"
        checks.fail("data", got, f"{file.names[0]}, put into {folder} by hand", OSError)
    try:
        with replace_file(folder / file.names[0]) as temporary:
            remote = urllib.request.urlopen(file.url, timeout=_TIMEOUT_SECONDS)
            with remote, temporary.open("wb") as out:
                shutil.copyfileobj(remote, out)
            contents = temporary.read_bytes()
            if hashlib.md5(contents, usedforsecurity=False).hexdigest() != file.md5:
                got = f"{file.url} with other contents than published"
                checks.fail("data", got, file.md5, OSError)
    except urllib.error.URLError as error:
        wanted = f"{file.names[0]}; it can be put into {folder} by hand"
        checks.fail("data", f"no answer from {file.url} ({error.reason})", wanted, OSError)
