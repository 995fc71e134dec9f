"""Tables as the template takes them: columns with their meaning, cells with a text to read and a value to sort by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medseg.review.report.svg import fixed, number


@dataclass(frozen=True)
class Column:
    """A heading; `meaning` is told when the mouse rests on it, `numeric` aligns right and sorts by value."""

    heading: str
    meaning: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """What stands in a cell.

    Attributes
    ----------
    text
        For people.
    value
        What is sorted by, as it stands in the file; empty sorts last.
    detail
        A second, smaller text, such as an interval.
    link
        Id of the place in the page to jump to.
    """

    text: str
    value: str = ""
    detail: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; rows have one cell a column, the first is the row's heading."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True
    marked: frozenset[int] = field(default_factory=frozenset)
    """Rows to stand out."""


def text(value: object) -> Cell:
    """A cell with words."""
    return Cell(str(value), str(value))


def figure(value: float | str | None, *, decimals: int | None = None, detail: str = "") -> Cell:
    """A cell with a number, as it stands in a file or as a float; a dash where there is none.

    Parameters
    ----------
    decimals
        Digits behind the point; None shows four significant ones.
    """
    if value is None or value == "":
        return Cell("\N{EN DASH}")
    try:
        exact = float(value)
    except ValueError:
        return text(value)
    return Cell(number(exact) if decimals is None else fixed(exact, decimals), str(value), detail)


def whole(value: int) -> Cell:
    """A cell with a count."""
    return Cell(f"{value:,}", str(value))


def flag_count(flagged: Mapping[str, int] | None, case: str) -> Cell:
    """How many flags a case has; a dash where nobody looked for any."""
    return figure(None) if flagged is None else whole(flagged.get(case, 0))
