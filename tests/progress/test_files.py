"""Files and folders that appear whole or not at all: contents, rights, what a failure leaves."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from unittest.mock import ANY

import numpy as np
import pytest

from tfdpm.progress import files


def listed(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rights(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_file_is_replaced_when_the_block_ends(tmp_path, umask) -> None:
    path = tmp_path / "new" / "model.keras"
    for text in ("first", "second"):
        with files.replace_file(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".keras"
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert listed(path.parent) == ["model.keras"]
    assert rights(path) == 0o666 & ~umask


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failure_while_writing_leaves_the_file_of_before(tmp_path, monkeypatch, function) -> None:
    path = tmp_path / "kept.npz"
    files.write_arrays(path, {"value": np.arange(3)})
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, function, fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_arrays(path, {"value": np.zeros(7)})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert listed(tmp_path) == ["kept.npz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_of_the_block_leaves_nothing(tmp_path, error) -> None:
    with pytest.raises(error), files.replace_file(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(error), files.create_folder(tmp_path / "folder") as temporary:
        (temporary / "half").write_text("half")
        raise error
    assert listed(tmp_path) == []


def test_file_of_another_process_is_not_replaced(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(FileExistsError), files.replace_file(path, overwrite=False) as temporary:
        temporary.write_text("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs" and listed(tmp_path) == ["model.onnx"]
    with files.replace_file(tmp_path / "other", overwrite=False) as temporary:
        temporary.write_text("ours")
    assert (tmp_path / "other").read_text() == "ours"


def test_folder_appears_when_the_block_ends(tmp_path, umask) -> None:
    target = tmp_path / "name" / "1"
    with files.create_folder(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("whole")
        assert not target.exists() and folder.parent == target.parent
    assert (target / "inner" / "file").read_text() == "whole"
    assert rights(target) == 0o777 & ~umask and listed(target.parent) == ["1"]
    with pytest.raises(FileExistsError), files.create_folder(target):
        pytest.fail("the block must not run")


def test_files_are_replaced_together(tmp_path, umask) -> None:
    for name in ("a", "b", "other"):
        (tmp_path / name).write_text("old")
    with pytest.raises(KeyboardInterrupt), files.replace_files(tmp_path) as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert [(tmp_path / name).read_text() for name in listed(tmp_path)] == ["old"] * 3
    with files.replace_files(tmp_path) as folder:
        for name in ("a", "b"):
            (folder / name).write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert {name: (tmp_path / name).read_text() for name in listed(tmp_path)} == {
        "a": "new",
        "b": "new",
        "other": "old",
    }
    assert rights(tmp_path / "a") == 0o666 & ~umask


# Replaces two files of a folder and ends before the so-manieth rename, as if it were killed.
KILLED = """
import os, sys
from tfdpm.progress import files

left = int(sys.argv[2])
rename = os.rename

def counted(move):
    def count(*paths):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return move(*paths)
    return count

os.replace, os.rename = counted(os.replace), counted(os.rename)
with files.replace_files(sys.argv[1]) as folder:
    for name in ("a", "b"):
        (folder / name).write_text("new")
"""


@pytest.mark.parametrize("renames", range(4))
def test_files_of_a_killed_process_are_replaced_together_at_the_next_start(tmp_path, renames):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(renames)]
    assert subprocess.run(command).returncode == (9 if renames < 3 else 0)
    (tmp_path / "files-complete").write_text("of the user")
    files.complete_files(tmp_path)
    found = {name: (tmp_path / name).read_text() for name in listed(tmp_path)}
    assert found == {**dict.fromkeys("ab", "new" if renames else "old"), "files-complete": ANY}


def test_blocks_of_one_process_leave_each_other_alone(tmp_path) -> None:
    with files.replace_files(tmp_path) as one:
        with files.replace_files(tmp_path) as other:
            (other / "b").write_text("of the other")
        (one / "a").write_text("of the one")
    assert listed(tmp_path) == ["a", "b"]


def test_files_of_a_process_that_goes_on_are_left_to_it(tmp_path) -> None:
    with files.replace_files(tmp_path) as folder:
        (folder / "a").write_text("half")
        command = f"from tfdpm.progress.files import *; complete_files({str(tmp_path)!r})"
        subprocess.run([sys.executable, "-c", command], check=True)
        failing = f"{command}\nwith replace_files({str(tmp_path)!r}): pass"
        other = subprocess.run([sys.executable, "-c", failing], capture_output=True, text=True)
        assert f"BlockingIOError: process {os.getpid()}" in other.stderr
    assert (tmp_path / "a").read_text() == "half" and listed(tmp_path) == ["a"]


@pytest.mark.parametrize("code", ["EROFS", "ENOSPC", "EACCES"])
@pytest.mark.parametrize("function", ["fsync", "replace", "mkdir", "rename", "open"])
@pytest.mark.parametrize("write", ["replace_file", "create_folder", "replace_files"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, write, function, code):
    target = tmp_path / "new"
    (tmp_path / "kept").write_text("old")
    path = target / "1" if write != "replace_files" else target

    def fail(*args, **kwargs):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(files.os, function, fail)
    try:
        with getattr(files, write)(path) as temporary:
            file = temporary / "a" if temporary.is_dir() else temporary
            file.write_text("new")
    except OSError as error:
        assert str(target) in str(error) and "wanted a folder with room" in str(error)
        assert not path.is_file() and listed(tmp_path) in (["kept"], ["kept", "new"])
    monkeypatch.undo()
    assert (tmp_path / "kept").read_text() == "old"


def test_errors_of_other_files_keep_their_name(tmp_path) -> None:
    with pytest.raises(PermissionError, match="elsewhere"), files.replace_file(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no", "/elsewhere/data.csv")


def test_claim_is_of_one_process_and_removes_what_another_left(tmp_path) -> None:
    path = tmp_path / "kept.npz"
    for name in (".0123abcd-kept.npz", ".0123abcd-other.npz", ".hidden-kept.npz"):
        (tmp_path / name).write_text("half")
    files.claim(path)
    files.claim(path)  # of this process already
    assert listed(tmp_path) == [".0123abcd-other.npz", ".hidden-kept.npz", ".kept.npz.lock"]
    files.release(path)
    files.release(path)
    assert listed(tmp_path) == [".0123abcd-other.npz", ".hidden-kept.npz"]


def test_folder_that_a_killed_process_left_is_removed(tmp_path) -> None:
    for name in (".0123abcd-1", ".0123abcd-11", ".0123abcd-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("half")
    with files.create_folder(tmp_path / "1") as folder:
        (folder / "a").write_text("new")
    assert listed(tmp_path) == [".0123abcd-11", ".0123abcd-other", "1"]


def test_folder_of_another_process_is_not_replaced(tmp_path) -> None:
    with pytest.raises(FileExistsError), files.create_folder(tmp_path / "1") as folder:
        (folder / "ours").write_text("")
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").write_text("")
    assert listed(tmp_path) == ["1"] and listed(tmp_path / "1") == ["theirs"]


def test_path_below_a_file_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for function in (files.replace_file, files.create_folder):
        with pytest.raises(NotADirectoryError, match="file"), function(tmp_path / "file" / "1"):
            pytest.fail("the block must not run")


def test_arrays_come_back(tmp_path) -> None:
    arrays = {"a/b": np.arange(3, dtype=np.int8), "c": np.array(2.5), "d": np.array("text")}
    files.write_arrays(tmp_path / "no-ending", arrays)
    found = files.read_arrays(tmp_path / "no-ending")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: b"x"])
def test_damaged_file_is_an_error(tmp_path, damage) -> None:
    path = tmp_path / "kept.npz"
    files.write_arrays(path, {"value": np.arange(100)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="kept.npz' is damaged or no file of arrays"):
        files.read_arrays(path)


def test_other_files_are_an_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_arrays(tmp_path / "missing.npz")
    np.save(tmp_path / "one.npy", np.arange(3))
    np.savez(tmp_path / "pickled.npz", value=np.array([{"code": 1}], object))
    for name in ("one.npy", "pickled.npz"):
        with pytest.raises(ValueError, match="is damaged or no file of arrays"):
            files.read_arrays(tmp_path / name)
