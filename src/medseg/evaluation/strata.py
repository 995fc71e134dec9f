"""Scores by group: which stratum a case belongs to, by a column of a table or by the size of the region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import DataError
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import some

SIZE = "size"
"""Asks for the strata of each region's own true size."""

QUANTILES = 4
MOST_CATEGORIES = 5
"""A column of numbers with so many different values is taken as it is; with more it is cut at its quantiles."""

NOT_GIVEN = "not given"


@dataclass(frozen=True)
class Strata:
    """The stratum of each case.

    Attributes
    ----------
    name
        The table's column, or "size".
    of_case
        Case to stratum; empty for the quarters by size, which differ by region.
    """

    name: str
    of_case: Mapping[str, str]


def read_strata(wanted: str, patients: Mapping[str, str]) -> Strata:
    """The strata that "FILE:COLUMN", or "size", makes of some cases.

    Parameters
    ----------
    wanted
        A CSV whose first column holds the cases (ids, or file names), or else the patients, and the column that
        splits them. Numbers with more than five different values are cut at their quartiles. A case that the table
        does not have, or whose cell is blank, is "not given". "size" splits each region at the quartiles of its true
        size.
    patients
        Case to patient: the cases that are scored.

    Raises
    ------
    DataError
        The table or its column cannot be used, it has no case and no patient, or it says two things of one.
    """
    if wanted == SIZE:
        return Strata(SIZE, {})
    file, separator, column = wanted.rpartition(":")
    if not separator or not file or not column:
        raise DataError("strata", got=repr(wanted), expected="FILE:COLUMN, such as cases.csv:scanner, or size")
    from medseg.intake.case_tables import column_by_case

    known = column_by_case(Path(file), column, what="the table")
    of_case = {case: known[case] for case in patients if case in known}
    if not of_case:
        of_case = {case: known[patient] for case, patient in patients.items() if patient in known}
    if not of_case:
        raise DataError(
            f"{file}: none of the cases, and none of their patients, stands in its first column",
            got=some(sorted(known)) or "no row",
            expected=some(sorted(patients)),
        )
    return Strata(column, _cut({case: of_case.get(case, "") for case in patients}))


def read_all_strata(wanted: Sequence[str], patients: Mapping[str, str]) -> list[Strata]:
    """`read_strata` of several, each of another name.

    Raises
    ------
    DataError
        As `read_strata` does, or two have one name: the one would stand in the other's place in all tables.
    """
    found = [read_strata(one, patients) for one in wanted]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            "two ways to split the cases have one name",
            got=f"{', '.join(twice)} twice in {', '.join(wanted)}",
            expected="another name for each",
            next_step="rename the column in one of the tables, or ask for one at a time",
        )
    return found


def summarise_strata(
    rows: Sequence[CaseScore], strata: Strata, *, patients: Mapping[str, str] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Stratum to the summary of its rows (`summarise`), in the order of the strata.

    Parameters
    ----------
    rows
        Of scores.csv.
    strata
        As `read_strata` gave.
    patients, seed
        As for `summarise`.
    """
    parts = split_rows(rows, strata)
    return {name: summarise(part, patients=patients, seed=seed) for name, part in parts.items()}


def split_rows(rows: Sequence[CaseScore], strata: Strata) -> dict[str, list[CaseScore]]:
    """Stratum to its rows, in the order of the strata."""
    of_row = _of_rows(rows, strata) if strata.of_case else _size_strata(rows)
    parts: dict[str, list[CaseScore]] = {name: [] for name in sorted(set(of_row), key=_order)}
    for row, name in zip(rows, of_row, strict=True):
        parts[name].append(row)
    order = list(dict.fromkeys(row.region for row in rows))
    return {name: sorted(part, key=lambda row: order.index(row.region)) for name, part in parts.items()}


def _of_rows(rows: Sequence[CaseScore], strata: Strata) -> list[str]:
    return [strata.of_case.get(row.case, NOT_GIVEN) for row in rows]


def _size_strata(rows: Sequence[CaseScore]) -> list[str]:
    """Of each row the quarter of its region's sizes; the names tell no sizes, as those differ by region."""
    found = [""] * len(rows)
    for region in dict.fromkeys(row.region for row in rows):
        mine = [i for i, row in enumerate(rows) if row.region == region]
        sizes = [_true_size(rows[i]) for i in mine]
        cuts = np.quantile(sizes, np.linspace(0, 1, QUANTILES + 1)[1:-1])
        for i, size in zip(mine, sizes, strict=True):
            found[i] = f"{int(np.searchsorted(cuts, size)) + 1} of {QUANTILES} by size"
    return found


def _true_size(row: CaseScore) -> float:
    return next(row.scores[f"truth_{unit}"] for unit in ("ml", "cm2", "px") if f"truth_{unit}" in row.scores)


def _cut(texts: Mapping[str, str]) -> dict[str, str]:
    """Blank cells by their name; numbers, where there are many different ones, by the range of their quarter."""
    numbers = {case: _number(text) for case, text in texts.items() if text}
    values = [value for value in numbers.values() if value is not None]
    if len(values) < len(numbers) or len(set(values)) <= MOST_CATEGORIES:
        return {case: text or NOT_GIVEN for case, text in texts.items()}
    cuts = np.quantile(values, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    place = {case: int(np.searchsorted(cuts, value)) for case, value in numbers.items() if value is not None}
    ranges = {
        k: f"{min(inside):.12g} to {max(inside):.12g}"  # dates written as numbers have eight digits
        for k in set(place.values())
        if (inside := [value for case, value in numbers.items() if value is not None and place[case] == k])
    }
    return {case: ranges[place[case]] if case in place else NOT_GIVEN for case in texts}


def _order(name: str) -> tuple[int, float, str]:
    """Numbers and ranges by their first number, then words, then what was not given."""
    first = _number(name.split(" ")[0])
    if name == NOT_GIVEN:
        return 2, 0.0, name
    return (1, 0.0, name) if first is None else (0, first, name)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
