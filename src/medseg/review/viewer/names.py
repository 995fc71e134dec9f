"""File names that a browser or an archive gives: never trusted, never a way out of the folder."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath

from medseg.errors import ReviewError

_PASSED_OVER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "dicomdir"})
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST_BYTES = 120
_ALSO_ALLOWED = frozenset("._-+ ()")


def parts_of(given: str) -> tuple[str, ...]:
    """The folders and the name of a relative path, of either kind of slash.

    Raises
    ------
    ReviewError
        It leads out of its folder: absolute, with a drive, or with "..".
    """
    text = given.replace("\\", "/")
    parts = tuple(part for part in PurePosixPath(text).parts if part != ".")
    if text.startswith("/") or _DRIVE.match(text) or ".." in parts or "\0" in text:
        raise ReviewError("a file's name leads out of its folder", got=repr(given[:100]), expected="a relative path")
    return parts


def is_passed_over(parts: tuple[str, ...]) -> bool:
    """Whether it is no image by its name: hidden, or what systems leave in folders."""
    return not parts or any(part.startswith(".") or part.lower() in _PASSED_OVER for part in parts)


def safe_name(given: str) -> str:
    """A plain, visible file name with the same suffix: letters, digits and a few signs, at most 120 bytes."""
    text = unicodedata.normalize("NFC", given)
    clean = "".join(c if c.isalnum() or c in _ALSO_ALLOWED else "_" for c in text).strip(" .")
    return _shortened(clean) or "image"


class Places:
    """Where the files of an upload go: the names nearly as given, the folders numbered.

    Parameters
    ----------
    folder
        The upload's folder; what is below it is made as needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders: dict[tuple[str, ...], Path] = {}
        self._taken: set[Path] = set()

    def place(self, parts: tuple[str, ...]) -> Path:
        """A new path for a file with these folders and name."""
        above = parts[:-1]
        if above not in self._folders:
            self._folders[above] = self._new_folder() if above else self.folder
        name, home = safe_name(parts[-1]), self._folders[above]
        path, number = home / name, 2
        while path in self._taken or path.exists():
            path, number = home / f"{number}_{name}", number + 1
        self._taken.add(path)
        return path

    def _new_folder(self) -> Path:
        """The next number that no file has: slices exported without a suffix are often numbered too."""
        number = len(self._folders) + 1
        while (home := self.folder / f"{number:04d}") in self._taken or home.exists():
            number += 1
        home.mkdir(mode=0o700, parents=True)
        return home


def _shortened(name: str) -> str:
    if len(name.encode()) <= _LONGEST_BYTES:
        return name
    stem, dot, suffixes = name.partition(".")
    tail = (dot + suffixes).encode()[-40:].decode(errors="ignore")
    return stem.encode()[: _LONGEST_BYTES - len(tail.encode())].decode(errors="ignore") + tail
