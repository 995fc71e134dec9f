"""Hashes by which a resumed run knows its inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medseg.errors import ImageError
from medseg.workflows.fingerprints import input_sha256, settings_sha256


def test_a_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"voxels")
    assert input_sha256(tmp_path / "a.nii.gz") == hashlib.sha256(b"voxels").hexdigest()


def test_a_series_changes_with_any_of_its_files_and_not_with_their_names(tmp_path: Path) -> None:
    for name, content in (("1.dcm", b"one"), ("2.dcm", b"two")):
        (tmp_path / name).write_bytes(content)
    before = input_sha256(tmp_path)
    (tmp_path / "2.dcm").rename(tmp_path / "3.dcm")
    assert input_sha256(tmp_path) == before
    (tmp_path / "3.dcm").write_bytes(b"Two")
    assert input_sha256(tmp_path) != before


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("a.mhd", "ObjectType = Image\nElementDataFile = a.raw\n"),
        ("a.nhdr", "NRRD0004\ntype: short\ndata file: a.raw\n"),
        ("a.nhdr", "NRRD0004\ndatafile: a.raw\r\n"),
    ],
)
def test_a_header_changes_with_the_voxels_beside_it(tmp_path: Path, header: str, text: str) -> None:
    (tmp_path / header).write_text(text, encoding="utf-8", newline="")
    (tmp_path / "a.raw").write_bytes(b"voxels")
    before = input_sha256(tmp_path / header)
    (tmp_path / "a.raw").write_bytes(b"Voxels")
    assert input_sha256(tmp_path / header) != before


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.nii\.gz: cannot be read; got No such file"):
        input_sha256(tmp_path / "gone.nii.gz")


def test_settings_have_one_hash_whatever_their_order() -> None:
    assert settings_sha256({"a": 1, "b": [2]}) == settings_sha256({"b": [2], "a": 1})
    assert settings_sha256({"a": 1}) != settings_sha256({"a": "1"})
