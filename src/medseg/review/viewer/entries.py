"""What the viewer knows of one case, and the list of all of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg.errors import ReviewError

Kind: TypeAlias = Literal["volume", "picture"]
Source: TypeAlias = Literal["folder", "upload"]


@dataclass(frozen=True)
class Entry:
    """One case.

    Attributes
    ----------
    key
        Names it in addresses: a hash, so that no address holds a path or a file's name.
    name
        Its id, as files and tables have it.
    kind
        "picture" for what is 2-D.
    source
        Where it comes from: the folder that is reviewed, or an upload of this run.
    home
        The folder in which its corrections are kept.
    image, prediction, truth, preview
        Files, None where there is none; `image` may be a DICOM folder.
    manifest
        What the prediction's manifest says.
    scores
        Region to metric to value.
    patient
        Who it is of, where a datalist says so.
    labels
        Label value to name, where no manifest says so.
    modality
        DICOM code, where the image or the bundle says so.
    notes
        Sentences for the user.
    """

    key: str
    name: str
    kind: Kind
    source: Source
    home: Path
    image: Path | None = None
    prediction: Path | None = None
    truth: Path | None = None
    preview: Path | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    patient: str | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    modality: str | None = None
    notes: tuple[str, ...] = ()


class Entries:
    """All cases by key, in the order in which they came; may be used from several threads."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        """Take in a case, or what is new of it."""
        with self._lock:
            self._entries[entry.key] = entry

    def change(self, key: str, **fields: Any) -> Entry:
        """Replace fields of a case."""
        with self._lock:
            self._entries[key] = replace(self._entries[key], **fields)
            return self._entries[key]

    def remove(self, key: str) -> None:
        """Forget a case."""
        with self._lock:
            self._entries.pop(key, None)

    def all(self) -> list[Entry]:
        """Every case."""
        with self._lock:
            return list(self._entries.values())

    def get(self, key: str) -> Entry:
        """The case of a key.

        Raises
        ------
        ReviewError
            There is none.
        """
        with self._lock:
            entry = self._entries.get(key)
        if entry is None:
            raise AbsentError("no such case")
        return entry


class AbsentError(ReviewError):
    """What an address names is not there."""


def key_of(*parts: str) -> str:
    """A name for addresses that tells nothing: 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
