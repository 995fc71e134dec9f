"""Names of files and folders made from UIDs: they tell nothing about the patient, and stay within their folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import PacsError

_SERIES_DIGITS = 12
_INSTANCE_DIGITS = 24
_PREAMBLE = 128
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64


def is_uid(text: str) -> bool:
    """Whether `text` has the form of a UID: digits and dots, at most 64 of them (leading zeros are let pass)."""
    return len(text) <= _UID_LENGTH and _UID.fullmatch(text) is not None


def series_name(series_uid: str) -> str:
    """The folder of a series: the first 12 hex digits of its UID's SHA-256, which is also the id of its case."""
    return hashlib.sha256(series_uid.encode()).hexdigest()[:_SERIES_DIGITS]


def instance_name(instance_uid: str) -> str:
    """The file of an instance: the first 24 hex digits of its UID's SHA-256, and .dcm."""
    return hashlib.sha256(instance_uid.encode()).hexdigest()[:_INSTANCE_DIGITS] + ".dcm"


def files_to_send(path: Path) -> tuple[Path, ...]:
    """A DICOM file itself, or those anywhere in a folder, by name; hidden ones and other kinds are passed over.

    Raises
    ------
    PacsError
        There is none, or one that cannot be read.
    """
    if not path.exists():
        raise PacsError(f"{path}: no such file or folder")
    files = sorted(file for file in _visible_files(path) if _has_preamble(file))
    if not files:
        raise PacsError(f"{path}: no DICOM file", expected="a DICOM file, or a folder that holds some")
    return tuple(files)


def _visible_files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _has_preamble(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError as error:
        raise PacsError(f"{path} cannot be read", got=error.strerror) from error
