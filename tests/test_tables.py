"""Columns of users' tables, as spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import DataError
from medseg.tables import read_column

ROWS = [("Müller_1.png", "P1"), ("b", ""), ("c", "P, 2")]


@pytest.mark.parametrize(
    "text",
    [
        'file,who\nMu\u0308ller_1.png, P1\nb\n,nobody\nc,"P, 2"\n',
        "\ufefffile;who\r\nMüller_1.png;P1\r\nb;\r\n\r\nc;P, 2\r\n",
        'file , who\nMüller_1.png, P1\nb,\nc,"P, 2"\n',
        "file\twho\tage\nMüller_1.png\tP1\t3\nb\t\t4\nc\tP, 2\t5",
    ],
    ids=["commas-and-letters-in-two-signs", "semicolons-of-windows", "blanks-round-headings", "tabs"],
)
def test_a_column_is_read_however_the_table_was_saved(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read_column(tmp_path / "t.csv", "who", what="the table") == ROWS
    assert read_column(tmp_path / "t.csv", " who", what="the table") == ROWS  # as the heading behind a comma may stand


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("file;age\na;40,5\nb;-7\nc;,25\nd;1.5\ne;3,0 T\n", ["40.5", "-7", ".25", "1.5", "3,0 T"]),
        ('file,age\na,"40,500"\n', ["40,500"]),
    ],
    ids=["semicolons", "commas-part-thousands"],
)
def test_a_comma_is_that_of_a_number_where_semicolons_part_columns(
    text: str, values: list[str], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert [value for _, value in read_column(tmp_path / "t.csv", "age", what="the table")] == values


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no column 'who'; got an empty file"),
        (b"file;whom\na;1\n", "no column 'who'; got file;whom"),
        (b"file,who\na,1,,\nb,40,5\n", "the row of b has more cells than the first line; got 3; expected 2; put "),
        ("file,who\nMüller,1\n".encode("latin-1"), "cannot be read; got byte 10 is not UTF-8; save it as CSV in UTF-8"),
    ],
    ids=["empty", "no-column", "decimals-cut-in-two", "latin-1"],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_column(tmp_path / "t.csv", "who", what="the table")
