"""Published files: found, fetched when asked, never half-written."""

from __future__ import annotations

import hashlib

import pytest

from tfdpm.data.catalogue.download import RemoteFile, find_files


@pytest.fixture
def published(tmp_path):
    source = tmp_path / "server"
    source.mkdir()
    (source / "a.bin").write_bytes(b"contents")
    digest = hashlib.md5(b"contents").hexdigest()
    return RemoteFile(("a.bin", "a"), (source / "a.bin").as_uri(), digest)


def test_missing_file_is_fetched_only_when_asked(tmp_path, published) -> None:
    folder = tmp_path / "cache" / "deep"
    with pytest.raises(FileNotFoundError, match=r"a\.bin or a \(from file:"):
        find_files([published], folder, download=False, name="data")
    assert not folder.exists()
    assert find_files([published], folder, download=True, name="data") == (folder / "a.bin",)
    assert (folder / "a.bin").read_bytes() == b"contents"
    (tmp_path / "server" / "a.bin").unlink()  # from now on it is there
    assert find_files([published], folder, download=True, name="data") == (folder / "a.bin",)


def test_file_under_another_name_counts(tmp_path, published) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    assert find_files([published], tmp_path, download=True, name="data") == (tmp_path / "a",)


def test_damaged_or_unreachable_file_leaves_nothing(tmp_path, published) -> None:
    folder = tmp_path / "cache"
    damaged = RemoteFile(published.names, published.url, "0" * 32)
    with pytest.raises(OSError, match="with other contents than published"):
        find_files([damaged], folder, download=True, name="data")
    absent = RemoteFile(("b",), (tmp_path / "no such file").as_uri(), "0" * 32)
    with pytest.raises(OSError, match=r"got no answer from file:.*can be put into"):
        find_files([absent], folder, download=True, name="data")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "md5"), [("http://localhost/a", "0" * 32), ("https://localhost/a", None)]
)
def test_file_that_nobody_can_vouch_for_is_not_fetched(tmp_path, url, md5) -> None:
    with pytest.raises(OSError, match="without https or a published checksum.*by hand"):
        find_files([RemoteFile(("a",), url, md5)], tmp_path, download=True, name="data")
    assert list(tmp_path.iterdir()) == []
