"""A file is whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medseg.files import (
    OnlyProcess,
    SharedFolder,
    atomic_folder,
    atomic_write,
    remove_own_temporaries,
    remove_temporary,
    sha256_of,
    temporary_beside,
)


def test_the_file_appears_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "mask.nii.gz"
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("mask.nii.gz")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_keeps_the_old_file_and_removes_the_half_written_one(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    target.write_text("old")

    def write_half() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "folder") as building:
        (building / "a.txt").write_text("a", encoding="utf-8")
        assert not (tmp_path / "new" / "folder").exists()
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["a.txt"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["folder"]


def _fail_halfway(folder: Path) -> None:
    with atomic_folder(folder) as building:
        (building / "a.txt").write_text("a", encoding="utf-8")
        raise RuntimeError("halfway")


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="halfway"):
        _fail_halfway(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


HALF = ".0a1b2c3d.tmp.case.nii.gz"


def test_a_folder_that_nobody_writes_into_is_cleared_of_half_files(tmp_path: Path) -> None:
    for name in (HALF, ".hidden", "case.nii.gz", ".0a1b2c3d.tmp"):
        (tmp_path / name).write_bytes(b"x")
    SharedFolder(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {".hidden", "case.nii.gz", ".0a1b2c3d.tmp"}


def test_the_half_files_of_another_process_at_work_stay(tmp_path: Path) -> None:
    first = SharedFolder(tmp_path)
    (tmp_path / HALF).write_bytes(b"being written")
    second = SharedFolder(tmp_path)
    assert (tmp_path / HALF).exists()
    first.close()
    second.close()
    SharedFolder(tmp_path).close()
    assert not (tmp_path / HALF).exists()


def test_without_locks_only_old_half_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, hours in ((HALF, 25), (HALF.replace("0a", "1b"), 1)):
        (tmp_path / name).write_bytes(b"x")
        then = time.time() - 3600 * hours
        os.utime(tmp_path / name, (then, then))
    SharedFolder(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [HALF.replace("0a", "1b")]


def test_a_process_enters_a_folder_again_and_a_killed_one_is_out_of_it(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from medseg.files import OnlyProcess as O"
    code += "; print(O.enter(Path(sys.argv[1])), O.enter(Path(sys.argv[1])), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True True\n"
        assert not OnlyProcess.enter(tmp_path)
        other.kill()
    assert OnlyProcess.enter(tmp_path)
    OnlyProcess.leave(tmp_path)
    OnlyProcess.leave(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_locks_nobody_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(handle: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    assert OnlyProcess.enter(tmp_path)
    OnlyProcess.leave(tmp_path)


def test_what_threads_left_unfinished_is_removed_at_the_end(tmp_path: Path) -> None:
    temporary = temporary_beside(tmp_path / "case.nii.gz")
    temporary.write_bytes(b"half")
    remove_own_temporaries()
    assert list(tmp_path.iterdir()) == []
    remove_temporary(temporary)
