"""Records that commands leave in a bundle's models/: where, and what is said where that cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.bundle import find_bundle
from medseg.errors import OutputError


def record_path(bundle: str | os.PathLike[str], name: str) -> Path:
    """`name` in models/ of a bundle, a folder that can be written to.

    Raises
    ------
    OutputError
        It cannot.
    """
    path = find_bundle(bundle) / "models" / name
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, f"no permission to write in {path.parent}")
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what stops a record from being written into an OutputError that tells what to do."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, str(error)) from error


def _unwritable(path: Path, why: str) -> OutputError:
    return OutputError(
        f"{path}: the record cannot be written",
        got=why,
        next_step="copy the bundle to a folder of yours and name that, or only look at the result: --print-only",
    )
