"""Who accepted or rejected which case, and why: review.json, one file a folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg import __version__
from medseg.errors import OutputError, ReviewError
from medseg.files import atomic_write

Status: TypeAlias = Literal["accepted", "rejected"]

FILE = "review.json"
_LOCK = ".review.lock"
_MOST_EARLIER = 100


class Reviews:
    """The reviews of the cases of one folder.

    Each change reads the file, changes one case and replaces the file in one step, under a lock that other threads and
    other processes share: nobody's entry is lost. What was said of a case before stays in its ``earlier``.

    Parameters
    ----------
    folder
        Where review.json is or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int], dict[str, Any]] | None = None

    def get(self, case: str) -> dict[str, Any] | None:
        """The review of a case."""
        with self._lock:
            found: dict[str, Any] | None = self._cases().get(case)
            return found

    def all(self) -> dict[str, dict[str, Any]]:
        """The review of each case that has one.

        Raises
        ------
        ReviewError
            The file is there and is no review.json.
        """
        with self._lock:
            return dict(self._cases())

    def put(self, case: str, *, status: Status | None, comment: str, by: str, mask: str | None) -> dict[str, Any]:
        """Write down what someone says of a case.

        Parameters
        ----------
        case
            Its id.
        status, comment, by
            The verdict, None for none yet, what is to be said, and who says it.
        mask
            SHA-256 of the mask that was looked at.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        review = {"status": status, "comment": comment, "by": by, "when": now(), "mask_sha256": mask}
        try:
            with self._lock, locked(self.path.with_name(_LOCK)):
                cases = dict(self._cases())
                before = cases.get(case, {})
                earlier = [*before.get("earlier", []), _without(before, "earlier")] if before else []
                cases[case] = {**review, "earlier": earlier[-_MOST_EARLIER:]}
                write_json({"medseg_version": __version__, "cases": cases}, self.path)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written", got=error.strerror) from error
        return cases[case]

    def _cases(self) -> dict[str, Any]:
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return {}
        mark = (state.st_mtime_ns, state.st_ino)
        if self._read is None or self._read[0] != mark:
            self._read = (mark, _parsed(self.path))
        return self._read[1]


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write JSON whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _parsed(path: Path) -> dict[str, Any]:
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        whole = isinstance(cases, dict) and all(isinstance(one, dict) for one in cases.values())
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ReviewError(f"{path} is no review.json of medseg", next_step="move it away: it is not overwritten")
    return dict(cases)


def _without(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A lock shared with other viewers on the same folder; without effect where there are none."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
