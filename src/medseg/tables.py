"""Tables of users: one column by the names in the first, as a spreadsheet saves them."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import DataError

_SEPARATORS = ",;\t"
"""Spreadsheets write semicolons where a comma parts decimals."""

_DECIMAL_COMMA = re.compile(r"([-+]?[0-9]*),([0-9]+)")


def read_column(file: Path, column: str, *, what: str) -> list[tuple[str, str]]:
    """(first column, `column`) of each row of a CSV, without blanks around; rows without a name in the first are left.

    Where semicolons part the columns a comma parts decimals: 40,5 comes back as 40.5.

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
        The file cannot be read, has no such column, or a row with more cells than headings.
    """
    column = column.strip()
    try:
        text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig"))  # as the ids of cases are
        separator, (fields, *rows) = _rows(text, column)
    except UnicodeDecodeError as error:
        got, next_step = f"byte {error.start} is not UTF-8", "save it as CSV in UTF-8"
        raise DataError(f"{what} {file} cannot be read", got=got, next_step=next_step) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{what} {file} cannot be read", got=str(error)) from error
    if column not in fields:
        got = ", ".join(fields) or "an empty file"
        raise DataError(f"{file}: no column {column!r}", got=got, expected="a heading in the first line")
    _refuse_longer(rows, len(fields), file)
    pairs = list(_pairs(rows, fields.index(column)))
    return pairs if separator != ";" else [(name, _with_point(value)) for name, value in pairs]


def _rows(text: str, column: str) -> tuple[str, list[list[str]]]:
    """The first separator that makes a heading of `column`, and the rows that are not empty, one at least."""
    found = {separator: _parted(text, separator) for separator in _SEPARATORS}
    fitting = (separator for separator, rows in found.items() if column in rows[0])
    separator = next(fitting, _SEPARATORS[0])
    return separator, found[separator]


def _parted(text: str, separator: str) -> list[list[str]]:
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row] or [[]]
    return [[heading.strip() for heading in rows[0]], *rows[1:]]


def _refuse_longer(rows: list[list[str]], headings: int, file: Path) -> None:
    """Refuse a row whose values are not those of the headings above them, since one of them was cut in two."""
    for row in rows:
        if any(cell.strip() for cell in row[headings:]):
            raise DataError(
                f"{file}: the row of {row[0].strip()} has more cells than the first line",
                got=len(row),
                expected=headings,
                next_step="put values with commas (40,5) into quotes, or part the columns by semicolons",
            )


def _pairs(rows: list[list[str]], index: int) -> Iterator[tuple[str, str]]:
    for row in rows:
        if name := row[0].strip():
            yield name, row[index].strip() if index < len(row) else ""


def _with_point(text: str) -> str:
    number = _DECIMAL_COMMA.fullmatch(text)
    return f"{number[1]}.{number[2]}" if number else text
