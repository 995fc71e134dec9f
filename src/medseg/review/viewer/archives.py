"""Archives that were uploaded: unpacked within limits, or refused."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO

from medseg.errors import ReviewError
from medseg.review.viewer.names import Places, is_passed_over, parts_of
from medseg.review.viewer.settings import MEGABYTE, Limits

_CHUNK_BYTES = 1 << 20
_RATIO_FROM_BYTES = 100 * MEGABYTE
"""A small archive may grow as it likes: an empty label map shrinks to a thousandth."""

_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError)


def is_archive(path: Path) -> bool:
    """Whether a file is a ZIP archive by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def unpack(archive: Path, places: Places, *, limits: Limits) -> int:
    """Write the files of an archive where `places` says, and count them; nothing of it is kept when it is refused.

    Links, devices, paths that lead out, passwords, and archives that become too large are refused; the sizes that an
    archive declares are not believed but counted while it is unpacked.

    Raises
    ------
    ReviewError
        It is refused or damaged.
    """
    written: list[Path] = []
    try:
        with zipfile.ZipFile(archive) as file:
            members = _checked(file, archive.stat().st_size, limits)
            left = _room(places.folder, limits)
            for info, parts in members:
                path = places.place(parts)
                written.append(path)
                with file.open(info) as source:
                    left -= _copy(source, path, most=min(left, info.file_size))
    except _DAMAGED as error:
        _remove(written)
        raise ReviewError("the archive is damaged, or no ZIP that can be read", got=str(error)) from error
    except ReviewError:
        _remove(written)
        raise
    return len(written)


def _checked(
    file: zipfile.ZipFile, archive_bytes: int, limits: Limits
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    infos = file.infolist()
    if len(infos) > limits.files:
        raise ReviewError("too many files in the archive", got=len(infos), expected=f"at most {limits.files}")
    total = sum(info.file_size for info in infos)
    if total > limits.unpacked_bytes:
        raise _too_large(total, limits.unpacked_bytes)
    if total > _RATIO_FROM_BYTES and total > limits.ratio * archive_bytes:
        raise ReviewError(
            "the archive grows more than any images do",
            got=f"{archive_bytes} bytes that become {total}",
            expected=f"at most {limits.ratio} times as many",
        )
    members = [(info, parts_of(info.filename)) for info in infos]
    for info, _ in members:
        _refuse_special(info)
    return [(info, parts) for info, parts in members if not info.is_dir() and not is_passed_over(parts)]


def _refuse_special(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ReviewError("the archive holds a link or a device", expected="files and folders alone")
    if info.flag_bits & _ENCRYPTED:
        raise ReviewError("the archive is locked by a password", next_step="unpack it first, then drop the folder")


def _room(folder: Path, limits: Limits) -> int:
    free = shutil.disk_usage(folder).free - limits.free_bytes
    return max(0, min(limits.unpacked_bytes, free))


def _copy(source: IO[bytes], path: Path, *, most: int) -> int:
    done = 0
    with path.open("xb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            done += len(chunk)
            if done > most:
                raise ReviewError("the archive becomes larger than it declares, or than there is room for")
            target.write(chunk)
    return done


def _too_large(got: int, most: int) -> ReviewError:
    return ReviewError(
        "the archive would become too large", got=f"{got // MEGABYTE} MB", expected=f"at most {most // MEGABYTE} MB"
    )


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
