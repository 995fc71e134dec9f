"""Which patient a case belongs to: the case itself, a pattern on its id, or a column of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from medseg.errors import DataError


def patients_of(
    ids: Sequence[str], *, pattern: str | None = None, table: str | None = None
) -> tuple[dict[str, str], list[str]]:
    """The patient of each case, and the problems of the cases that have none.

    Parameters
    ----------
    ids
        The cases' ids.
    pattern
        Regular expression searched in the id; its first group, or the whole match, is the patient.
    table
        "FILE:COLUMN": a CSV whose first column holds ids or file names and whose COLUMN holds the patient.
        Without pattern and table each case is its own patient.

    Raises
    ------
    DataError
        Pattern or table cannot be used at all.
    """
    if pattern is not None and table is not None:
        raise DataError("patients are given twice", got="a pattern and a table", expected="one of them")
    find: Callable[[str], str | None] = str
    missing = ""
    if pattern is not None:
        find, missing = _by_pattern(pattern), f"the pattern {pattern!r} finds no patient in its id"
    elif table is not None:
        find, missing = _by_table(table), f"{table} names no patient for it"
    found = {case: find(case) for case in ids}
    problems = [f"case {case}: {missing}" for case, patient in found.items() if not patient]
    return {case: patient for case, patient in found.items() if patient}, problems


def _by_pattern(pattern: str) -> Callable[[str], str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(
            "the patient pattern is no regular expression", got=repr(pattern), next_step=str(error)
        ) from error

    def patient(case: str) -> str | None:
        match = compiled.search(case)
        if match is None:
            return None
        return match.group(1) if compiled.groups else match.group()

    return patient


def _by_table(table: str) -> Callable[[str], str | None]:
    name, separator, column = table.rpartition(":")
    if not separator or not name or not column:
        raise DataError("the patient table", got=repr(table), expected="FILE:COLUMN, such as cases.csv:patient")
    from medseg.intake.case_tables import column_by_case

    return column_by_case(Path(name), column, what="the patient table").get
