"""The folder of one run of the viewer: uploads, results, pictures for the page; gone when the run ends."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

_PREFIX = "medseg-review-"
_LOCK = "lock"


class Session:
    """A private folder under the system's temporary one, which nobody else may read.

    A lock on a file in it lasts as long as the process, however it ends, so that the next viewer can tell what a
    killed one left behind, and removes it.

    Attributes
    ----------
    folder
        The session's folder.
    uploads, results, shown
        What was uploaded, what was segmented, and the images as the page gets them.
    """

    def __init__(self, parent: Path | None = None) -> None:
        base = Path(tempfile.gettempdir()) if parent is None else parent
        remove_leftovers(base)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
        self._lock = _locked(self.folder / _LOCK)
        self.uploads, self.results, self.shown = (self.folder / name for name in ("uploads", "results", "shown"))
        for folder in (self.uploads, self.results, self.shown):
            folder.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove all of it; may be called twice."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self.folder.exists():
            logger.warning("%s could not be removed whole: it holds uploaded images", self.folder)

    def hide(self, text: str) -> str:
        """An error's text without the session's folder, of which no user needs to know."""
        return text.replace(f"{self.folder}{os.sep}", "").replace(str(self.folder), "the viewer's folder")


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the folders of viewers that were killed: ours, and locked by nobody."""
    removed = []
    for folder in parent.glob(f"{_PREFIX}*"):
        if _is_ours(folder) and _is_free(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _is_ours(folder: Path) -> bool:
    with suppress(OSError):
        ours = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        return ours and folder.is_dir() and not folder.is_symlink()
    return False


def _locked(path: Path) -> IO[bytes] | None:
    file = path.open("wb")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        file.close()
        return None
    return file


def _is_free(path: Path) -> bool:
    """Whether a lock file is there that no process holds; a folder without one is just being made, or is not ours."""
    if not path.is_file():
        return False
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
