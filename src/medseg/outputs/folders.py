"""Where results may be written, and under which names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medseg.errors import OutputError
from medseg.files import try_to_write

_LONGEST_ID_BYTES = 200
"""File systems allow 255 bytes; what we put before and after an id takes less than the rest."""


def prepare_output_folder(path: Path) -> None:
    """Make a folder for results, with its parents, and see that files can be written to it.

    Raises
    ------
    OutputError
        When it is a file, or cannot be made or written to.
    """
    check_output_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        try_to_write(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def check_output_folder(path: Path) -> None:
    """See whether results can be written to a folder, or whether it could be made, and make nothing.

    Raises
    ------
    OutputError
        When it is a file, or cannot be made or written to.
    """
    try:
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
        if there == path and not path.is_dir():
            raise OutputError(
                f"output folder {path}", got="a file", expected="a folder", next_step="name another folder"
            )
        try_to_write(there)
    except OSError as error:
        raise _unwritable(path, error) from error


def check_unscored(path: Path) -> None:
    """Refuse a folder with the scores of an evaluation for masks without: they would stand beside other masks.

    Raises
    ------
    OutputError
        There is a scores.csv.
    """
    if (path / "scores.csv").exists():
        raise OutputError(
            f"output folder {path}",
            got="the folder of an evaluation: its scores.csv would stand beside masks that it is not of",
            expected="a folder without scores",
            next_step="name another folder",
        )


def check_apart(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output folder in which an input lies: a mask is named like its image and would take its place.

    Parameters
    ----------
    path
        The output folder; it need not exist.
    inputs
        Files, or folders of DICOM series.

    Raises
    ------
    OutputError
        One of them lies in the folder.
    """
    folder = path.resolve()
    if any(folder in _folders_of(one) for one in inputs):
        raise OutputError(
            f"output folder {path}",
            got="a folder that holds inputs",
            expected="another one: a mask is named like its image and would take its place",
            next_step="name another folder",
        )


def _folders_of(source: Path) -> set[Path]:
    """Where an input lies; a link lies in its own folder and in that of what it leads to."""
    return {source.resolve()} if source.is_dir() else {source.parent.resolve(), source.resolve().parent}


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"output folder {path} cannot be written to",
        got=error.strerror or str(error),
        expected="a folder that can be made and written to",
        next_step="name another folder",
    )


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
