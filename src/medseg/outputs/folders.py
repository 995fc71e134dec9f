"""Where results may be written, and under which names."""

from __future__ import annotations

import tempfile
from pathlib import Path

from medseg.errors import OutputError

_LONGEST_ID_BYTES = 200
"""File systems allow 255 bytes; what we put before and after an id takes less than the rest."""


def prepare_output_folder(path: Path) -> None:
    """Make a folder for results, with its parents, and see that files can be written to it.

    Raises
    ------
    OutputError
        When it is a file, or cannot be made or written to.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"output folder {path}", got="a file", expected="a folder", next_step="name another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # asking for permissions would answer yes on a read-only mount
            pass
    except OSError as error:
        raise OutputError(
            f"output folder {path} cannot be written to",
            got=error.strerror or str(error),
            expected="a folder that can be made and written to",
            next_step="name another folder",
        ) from error


def check_file_name(case_id: str) -> None:
    """Refuse a case id that would not stay one plain, visible file name inside the output folder.

    Raises
    ------
    OutputError
        An empty id, a separator, a control character, a leading dot, or more than 200 bytes.
    """
    hidden = case_id.startswith(".") or case_id != case_id.strip()
    unsafe = any(character in "/\\" or not character.isprintable() for character in case_id)
    if not case_id or hidden or unsafe or len(case_id.encode()) > _LONGEST_ID_BYTES:
        raise OutputError(
            "case id cannot be a file name",
            got=repr(case_id),
            expected=f"1 to {_LONGEST_ID_BYTES} bytes, no separator, no control character, no dot or space first",
            next_step="rename the input",
        )
