"""A file is whole or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medseg.files import atomic_folder, atomic_write, sha256_of


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
