"""Zip files: what a bundle's file may hold, and what is refused before anything is written."""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.bundle import archive as module
from medseg.bundle.archive import pack_files, unpack
from medseg.errors import BundleError

GOOD = {"lungs/configs/metadata.json": b"{}", "lungs/docs/README.md": b"lungs"}


def zipped(path: Path, files: dict[str, bytes], *, change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:
    """A zip file, the last entry changed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for i, (name, content) in enumerate(files.items()):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            if change is not None and i == len(files) - 1:
                change(entry)
            packed.writestr(entry, content)
    return path


def refused(path: Path, tmp_path: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        unpack(path, into=tmp_path / "deep" / "in" / "out")
    assert not (tmp_path / "deep").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("top", ["", "lungs/"])
def test_the_bundle_is_at_the_top_or_in_the_only_folder(tmp_path: Path, top: str) -> None:
    files = {f"{top}configs/metadata.json": b"{}", f"{top}models/a/b.bin": b"\1" * 9}
    path = zipped(tmp_path / "a.zip", files | {"__MACOSX/lungs/._docs": b"by the Finder"})
    done = unpack(path, into=tmp_path / "out", sha256=hashlib.sha256(path.read_bytes()).hexdigest().upper())
    assert (done.files, done.sha256) == (2, hashlib.sha256(path.read_bytes()).hexdigest())
    found = {one.relative_to(tmp_path / "out").as_posix(): one.read_bytes() for one in (tmp_path / "out").rglob("*.*")}
    assert found == {"configs/metadata.json": b"{}", "models/a/b.bin": b"\1" * 9}


@pytest.mark.parametrize(
    "name",
    [
        "../left",
        "lungs/../../left",
        "/etc/left",
        "lungs//left",
        "./left",
        "lungs/./left",
        "C:/left",
        "lungs\\..\\..\\left",
        "lungs/left:stream",
        "lungs/con",
        "lungs/NUL.txt",
        "lungs/left.",
        "lungs/left ",
        "lungs/le\nft",
        "lungs/\x1b[2Jleft",
        "lungs/\u202etxt.exe",
        "lungs/" + "x" * 300,
    ],
)
def test_a_name_that_leads_out_or_deceives_is_refused(tmp_path: Path, name: str) -> None:
    refused(zipped(tmp_path / "a.zip", GOOD | {name: b"left"}), tmp_path, "the entry .* is refused")


@pytest.mark.parametrize(
    ("kind", "message"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "no plain file"), (stat.S_IFCHR, "no plain file")]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: int, message: str) -> None:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = (kind | 0o777) << 16

    refused(zipped(tmp_path / "a.zip", GOOD | {"lungs/x": b"/etc/passwd"}, change=change), tmp_path, message)


@pytest.mark.parametrize("twice", ["lungs/docs/readme.md", "lungs/docs/README.md/x"])
def test_two_files_in_one_place_are_refused(tmp_path: Path, twice: str) -> None:
    refused(zipped(tmp_path / "a.zip", GOOD | {twice: b"x"}), tmp_path, "two entries|lies in what is a file")


def test_a_file_that_grows_out_of_nothing_is_refused(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", GOOD | {"lungs/zeros": bytes(2**21)}), tmp_path, "2097152 bytes in")


def test_too_many_and_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", GOOD)
    monkeypatch.setattr(module, "MOST_ENTRIES", 1)
    refused(path, tmp_path, "too many files; got 2; expected at most 1")
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    monkeypatch.setattr(module, "MOST_BYTES", 6)
    refused(path, tmp_path, "too large; got 7 bytes unpacked; expected at most 6")


def test_an_entry_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", GOOD | {"lungs/x": b"0123456789" * 50})
    content = path.read_bytes()
    assert content.count(struct.pack("<I", 500)) == 2  # in the local header and in the table of contents
    path.write_bytes(content.replace(struct.pack("<I", 500), struct.pack("<I", 400)))
    with pytest.raises(BundleError):
        unpack(path, into=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_encrypted_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", GOOD | {"lungs/x": bytes(range(256)) * 8})
    whole = path.read_bytes()
    middle = whole.index(b"lungs/x") + 40
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(BundleError, match="is damaged"):
        unpack(path, into=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path.write_bytes(whole.replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"))
    refused(path, tmp_path, "encrypted")
    path.write_bytes(b"no zip")
    refused(path, tmp_path, "is no zip file")


def test_an_archive_without_a_bundle_is_refused(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {"a/x": b"", "b/configs/metadata.json": b"{}"}), tmp_path, "holds no bundle")
    refused(zipped(tmp_path / "a.zip", {}), tmp_path, "holds no bundle")
    with pytest.raises(BundleError, match=r"b\.zip: no such file"):
        unpack(tmp_path / "b.zip", into=tmp_path / "out")


def test_another_hash_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", GOOD)
    with pytest.raises(BundleError, match=r"another file than was asked for; got sha256 [0-9a-f]{64}; expected 0123"):
        unpack(path, into=tmp_path / "out", sha256="0123")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(BundleError, match="is there already"):
        unpack(path, into=tmp_path / "out")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["mine"]


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"2")
    pack_files([("b/1", b"1"), ("b/2", tmp_path / "x")], tmp_path / "a.zip")
    pack_files([("b/2", b"2"), ("b/1", b"1")], tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
