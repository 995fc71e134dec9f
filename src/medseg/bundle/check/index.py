"""A cache of what was read from installed sources, in the user's cache folder: by file, its time and size.

Only JSON is kept and read back; a damaged, old or unwritable index costs time and nothing else. Each environment has
one of its own, without the files that are gone: whoever has many environments would read all of them for each command.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = 3
"""Of the summaries' form; another one starts a new index."""

_ALL = "/*"
"""Behind the folder of a package whose files are kept as one."""


def cache_folder() -> Path:
    """Where the user's caches lie: XDG_CACHE_HOME, or the system's own place."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "medseg"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "medseg" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "medseg"


class Index:
    """Summaries by file.

    Parameters
    ----------
    path
        Of the index; None for one that is only in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._entries: dict[str, Any] = _load(path)
        self._fresh: dict[str, Any] = {}
        self._changed = False

    def summary(self, file: Path, make: Callable[[str], Any]) -> Any:
        """What `make` makes of a file's text, or made of it when it had the same time and size."""
        key = str(file)
        if key not in self._fresh:
            self._fresh[key] = self._kept(key, _stamp(file), lambda: make(file.read_text("utf-8", errors="replace")))
        return self._fresh[key]

    def table(self, package: Path, make: Callable[[], Any]) -> Any:
        """The same for a whole package, which changes as a whole: by its `__init__.py` and its `_version.py`."""
        version = package.parent / "_version.py"
        stamp = [*_stamp(package), *(_stamp(version) if version.is_file() else [])]
        return self._kept(f"{package.parent}{_ALL}", stamp, make)

    def save(self) -> None:
        """Write what is new, all or nothing; where the folder cannot be written nothing happens."""
        if self.path is None or not self._changed:
            return
        there = {key: kept for key, kept in self._entries.items() if Path(key.removesuffix(_ALL)).exists()}
        content = json.dumps({"version": VERSION, "python": sys.version_info[:2], "files": there})
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(content)
                Path(name).replace(self.path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def _kept(self, key: str, stamp: list[int], make: Callable[[], Any]) -> Any:
        kept = self._entries.get(key)
        if isinstance(kept, list) and len(kept) == 2 and kept[0] == stamp:
            return kept[1]
        made = make()
        self._entries[key] = [stamp, made]
        self._changed = True
        return made


def user_index() -> Index:
    """The index of this user and environment; in memory alone where the user has no home."""
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    try:
        return Index(cache_folder() / f"signatures-{environment}.json")
    except (OSError, RuntimeError):
        return Index()


def _stamp(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_mtime_ns, state.st_size]


def _load(path: Path | None) -> dict[str, Any]:
    try:
        content = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fits = isinstance(content, dict) and content.get("version") == VERSION
    fits = fits and content.get("python") == list(sys.version_info[:2])
    files = content.get("files") if fits else None
    return files if isinstance(files, dict) else {}
