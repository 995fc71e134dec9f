"""Files that are either whole or absent, and their fingerprints."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, ClassVar

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp\..+")
_OLD_SECONDS = 24 * 3600.0
_LIVE: set[Path] = set()


def temporary_beside(path: Path) -> Path:
    """A hidden name in the folder of `path` (a rename is only atomic within one file system) for what becomes `path`.

    It keeps the whole file name at its end, so writers that choose a format by suffix (".nii.gz") work unchanged; in
    small letters, as ITK knows no ".MHA" and would write other files than this one. `remove_temporary` ends it.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp.{path.name.lower()}")
    _LIVE.add(temporary)
    return temporary


def remove_temporary(temporary: Path) -> None:
    """Remove a file of `temporary_beside`, if it is still there."""
    temporary.unlink(missing_ok=True)
    _LIVE.discard(temporary)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path` in one step, on any error it is removed.

    Parameters
    ----------
    path
        The file to write; its folder must exist. An existing file stays as it is until the new one is complete.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        remove_temporary(temporary)


def remove_own_temporaries() -> None:
    """Remove the temporary files of threads that are not going to finish them; for the end of a process."""
    for temporary in list(_LIVE):
        temporary.unlink(missing_ok=True)


class SharedFolder:
    """A folder that this process, and maybe others, writes into; what killed processes left there is removed.

    Each process holds a shared lock on the folder, which ends with the process however it ends. Who could lock it for
    itself alone knows that every temporary file in it is a leftover. Where the file system has no locks, those of
    more than a day are.

    Parameters
    ----------
    folder
        It must exist.
    when_alone
        Called with the folder where it is known that nobody else writes there: what it removes are leftovers too.
    """

    def __init__(self, folder: Path, *, when_alone: Callable[[Path], None] = lambda folder: None) -> None:
        self._handle: int | None = None
        alone = self._lock(folder)
        if alone:
            when_alone(folder)
        for entry in folder.iterdir():
            if _TEMPORARY.fullmatch(entry.name) and (alone or _is_old(entry)):
                entry.unlink(missing_ok=True)
        self._share()

    def close(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _lock(self, folder: Path) -> bool:
        """Whether nobody else writes there."""
        try:
            import fcntl

            self._handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (ImportError, OSError):
            return False
        return True

    def _share(self) -> None:
        with suppress(ImportError, OSError):
            import fcntl

            if self._handle is not None:
                fcntl.flock(self._handle, fcntl.LOCK_SH)  # whoever looks for leftovers is done in no time


class OnlyProcess:
    """Says who is the only process that works in a folder, by a lock on a hidden file there that ends with the process.

    The processes that this one starts do not hold it. Where the file system has no locks nobody is refused.
    """

    _held: ClassVar[dict[Path, IO[bytes]]] = {}

    @classmethod
    def enter(cls, folder: Path) -> bool:
        """False where another process is in there; the folder must exist."""
        file = folder.resolve() / ".lock"
        if file in cls._held:
            return True  # to open the file again and close it would end the lock
        while True:
            opened = file.open("ab")
            if not _locks(opened):
                opened.close()
                return False
            if _is_still(file, opened):
                break
            opened.close()  # of one that has just left, and removed it
        cls._held[file] = opened
        return True

    @classmethod
    def leave(cls, folder: Path) -> None:
        """Let others in; without effect where this process is not in there."""
        file = folder.resolve() / ".lock"
        opened = cls._held.pop(file, None)
        if opened is not None:
            file.unlink(missing_ok=True)
            opened.close()


def _locks(opened: IO[bytes]) -> bool:
    """False where another process holds the file."""
    try:
        import fcntl

        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _is_still(file: Path, opened: IO[bytes]) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _OLD_SECONDS
    except OSError:
        return False


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `folder` in one step, on any error it is removed.

    Parameters
    ----------
    folder
        The folder to make; absent, or there and empty. Its parents are made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield building
        mask = os.umask(0)
        os.umask(mask)
        building.chmod(0o777 & ~mask)  # mkdtemp's folder is its maker's alone
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def is_utf8(name: str) -> bool:
    """Whether a name of a file can be written into a table or JSON; umlauts of old archives may be no letters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def try_to_write(folder: Path) -> None:
    """OSError where no file can be made in a folder; nothing stays in it."""
    with tempfile.TemporaryFile(dir=folder):  # asking for permissions would answer yes on a read-only mount
        pass


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or make a copy where there are no links or `target` is on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
