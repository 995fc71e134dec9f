"""Tables of a user that say something of each case."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import DataError
from medseg.intake.files import DICOM, is_plain_image, stem, suffix
from medseg.tables import read_column


def column_by_case(file: Path, column: str, *, what: str) -> dict[str, str]:
    """What a column of a CSV says of each case; its first column names them, by ids or by files.

    Parameters
    ----------
    file, column
        As for `read_column`. A case that is named by a file is in the answer by its id and by the file's name.
    what
        The table, as the message names it.

    Raises
    ------
    DataError
        As `read_column`; or one case with two values.
    """
    known: dict[str, str] = {}
    for key, value in read_column(file, column, what=what):
        for case in {key, _case_of(key)}:
            if known.setdefault(case, value) != value:
                raise DataError(f"{file}: {case} has two values of {column}", got=f"{known[case]!r} and {value!r}")
    return known


def _case_of(name: str) -> str:
    path = Path(name)
    return stem(path) if is_plain_image(path) or suffix(path) in DICOM else name
