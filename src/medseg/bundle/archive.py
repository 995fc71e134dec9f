"""Bundles as zip files: packed the same way each time, and unpacked with nothing that leaves their folder."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medseg.bundle.metadata import METADATA_FILE
from medseg.errors import BundleError, writing
from medseg.files import sha256_of

MOST_ENTRIES = 10_000
MOST_BYTES = 8 * 2**30
"""Of all files of one bundle, unpacked."""
MOST_GROWTH = 200
"""Times that a file may be larger than what stands for it in the archive; weights grow by 1.1, texts by 10."""
SMALL_BYTES = 2**20
"""Below this the growth is not looked at."""
LONGEST_NAME = 240

_CHUNK_BYTES = 2**20
_ENCRYPTED = 0x1
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))})
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OF_MACOS = "__MACOSX"
"""A folder that the Finder puts beside what it packs: attributes of its own."""
_OLDEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Unpacked:
    """Where a bundle was unpacked to, the SHA-256 of its archive, and how many files it has."""

    folder: Path
    sha256: str
    files: int


def unpack(archive: Path, *, into: Path, sha256: str | None = None) -> Unpacked:
    """Unpack the one bundle that a zip file holds to a new folder.

    Nothing is written before the whole table of contents has been looked at; the folder appears when it is complete.

    Parameters
    ----------
    archive
        A zip file, the bundle at its top or in its only top folder.
    into
        The folder to make; it must not exist, or be empty.
    sha256
        What the archive's hash must be.

    Raises
    ------
    BundleError
        Another hash; no zip file or no bundle; names that lead out of the folder, links, too many or too large files.
    OutputError
        The folder cannot be written.
    """
    if not archive.is_file():
        raise BundleError(f"{archive}: no such file", expected="a bundle's zip file")
    if not zipfile.is_zipfile(archive):
        raise BundleError(f"{archive} is no zip file", expected="a bundle as medseg bundle pack writes it")
    digest = sha256_of(archive)
    if sha256 is not None and digest != sha256.lower():
        raise BundleError(
            f"{archive}: another file than was asked for", got=f"sha256 {digest}", expected=sha256.lower()
        )
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise BundleError(f"{into} is there already", expected="a new folder", next_step="name another with -o")
    try:
        with writing(into), zipfile.ZipFile(archive) as packed:
            return Unpacked(into, digest, _unpack(packed, _checked(packed, archive), into))
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise BundleError(f"{archive} is damaged", got=str(error)) from error


def pack_files(files: Sequence[tuple[str, bytes | Path]], archive: Path) -> None:
    """Write a zip file of names and contents; the same files give the same bytes.

    Parameters
    ----------
    files
        Name within the archive, and the content or the file that has it.
    archive
        What to write; an existing file is replaced.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, content in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=_OLDEST)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, content.read_bytes() if isinstance(content, Path) else content)


def _checked(packed: zipfile.ZipFile, archive: Path) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The entries with the names they get, without the top folder; refuses what no bundle has."""
    entries = packed.infolist()
    if len(entries) > MOST_ENTRIES:
        raise BundleError(f"{archive}: too many files", got=len(entries), expected=f"at most {MOST_ENTRIES}")
    if (whole := sum(entry.file_size for entry in entries)) > MOST_BYTES:
        raise BundleError(f"{archive}: too large", got=f"{whole} bytes unpacked", expected=f"at most {MOST_BYTES}")
    for entry in entries:
        reason = _refused(entry)
        if reason is not None:
            raise BundleError(f"{archive}: the entry {ascii(entry.orig_filename)[:LONGEST_NAME]} is refused: {reason}")
    named = [(entry, PurePosixPath(entry.filename)) for entry in entries if not entry.is_dir()]
    files = [(entry, path) for entry, path in named if path.parts[0] != _OF_MACOS]
    _refuse_twice([path for _, path in files], archive)
    top = _top([path for _, path in files])
    return [(entry, path.relative_to(top)) for entry, path in files]


def _refused(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry is not unpacked; None where it is harmless."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link" if kind == stat.S_IFLNK else "no plain file"
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        return "encrypted, or packed by another method than deflate"
    if entry.file_size > max(SMALL_BYTES, MOST_GROWTH * max(entry.compress_size, 1)):
        return f"{entry.file_size} bytes in {entry.compress_size}"
    return _refused_name(entry.orig_filename)


def _refused_name(name: str) -> str | None:
    parts = name.removesuffix("/").split("/")
    if len(name) > LONGEST_NAME or any(not sign.isprintable() or sign in '\\:*?"<>|' for sign in name):
        return "its name is too long, or has signs that no file's name should have"
    if any(part in ("", ".", "..") for part in parts):
        return "it leads out of the bundle's folder"
    if any(part.endswith((".", " ")) or part.split(".")[0].lower() in _RESERVED for part in parts):
        return "its name means something else on Windows"
    return None


def _refuse_twice(paths: Sequence[PurePosixPath], archive: Path) -> None:
    """Two files of one name (also where case does not count), or a file that is the folder of another."""
    seen: set[str] = set()
    for path in paths:
        name = str(path).lower()
        if name in seen:
            raise BundleError(f"{archive}: two entries are called {str(path)!a}")
        seen.add(name)
    for path in paths:
        if any(str(parent).lower() in seen for parent in path.parents):
            raise BundleError(f"{archive}: {str(path)!a} lies in what is a file")


def _top(every: Sequence[PurePosixPath]) -> PurePosixPath:
    """The folder that holds the bundle: the archive's top, or its only folder."""
    tops = {path.parts[0] for path in every if len(path.parts) > 1}
    metadata = PurePosixPath(METADATA_FILE.as_posix())
    if metadata in every:
        return PurePosixPath()
    if len(tops) == 1 and tops == {path.parts[0] for path in every} and PurePosixPath(*tops) / metadata in every:
        return PurePosixPath(*tops)
    raise BundleError("the archive holds no bundle", expected=f"{metadata} at its top or in its only folder")


def _unpack(packed: zipfile.ZipFile, files: Sequence[tuple[zipfile.ZipInfo, PurePosixPath]], into: Path) -> int:
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".unpacking-") as trial:
        whole = Path(trial) / "bundle"
        for entry, path in files:
            target = whole / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(packed, entry, target)
        if into.exists():
            into.rmdir()
        shutil.move(whole, into)
    return len(files)


def _copy(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """One file; no more bytes than its entry told, whatever is really in there (`read` checks the CRC at the end)."""
    left = entry.file_size
    with packed.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(min(_CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise BundleError(f"{entry.orig_filename!a}: larger than the archive says")
            file.write(chunk)
    if left:
        raise BundleError(f"{entry.orig_filename!a}: smaller than the archive says")
