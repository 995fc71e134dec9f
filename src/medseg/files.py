"""Files that are either whole or absent, and their fingerprints."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path` in one step, on any error it is removed.

    The temporary file is hidden, lies in the folder of `path` (a rename is only atomic within one file system) and
    keeps the whole file name at its end, so writers that choose a format by suffix (".nii.gz") work unchanged.

    Parameters
    ----------
    path
        The file to write; its folder must exist. An existing file stays as it is until the new one is complete.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
