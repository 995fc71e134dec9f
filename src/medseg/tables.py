"""Tables of users: one column by the names in the first, as a spreadsheet saves them."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import DataError

_SEPARATORS = ",;\t"
"""Spreadsheets write semicolons where a comma parts decimals."""


def read_column(file: Path, column: str, *, what: str) -> list[tuple[str, str]]:
    """(first column, `column`) of each row of a CSV, without blanks around; rows without a name in the first are left.

    Parameters
    ----------
    file
        UTF-8, with or without a mark at its beginning; columns parted by commas, semicolons or tabs.
    column
        Its heading.
    what
        "the table", for the message.

    Raises
    ------
    DataError
        The file cannot be read, or has no such column.
    """
    try:
        text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig"))  # as the ids of cases are
        fields, *rows = _rows(text, column) or [[]]
    except UnicodeDecodeError as error:
        got, next_step = f"byte {error.start} is not UTF-8", "save it as CSV in UTF-8"
        raise DataError(f"{what} {file} cannot be read", got=got, next_step=next_step) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{what} {file} cannot be read", got=str(error)) from error
    if column not in fields:
        got = ", ".join(fields) or "an empty file"
        raise DataError(f"{file}: no column {column!r}", got=got, expected="a heading in the first line")
    return list(_pairs(rows, fields.index(column)))


def _rows(text: str, column: str) -> list[list[str]]:
    """The rows that are not empty, by the first separator that makes a heading of `column`."""
    found = [[row for row in csv.reader(io.StringIO(text), delimiter=separator) if row] for separator in _SEPARATORS]
    return next((rows for rows in found if rows and column in rows[0]), found[0])


def _pairs(rows: list[list[str]], index: int) -> Iterator[tuple[str, str]]:
    for row in rows:
        if name := row[0].strip():
            yield name, row[index].strip() if index < len(row) else ""
