"""Measurements such as the cardiothoracic ratio, predicted against true: their table and how far they are apart.

With p and t the measurement of the predicted and of the true mask of a case, in the measurement's own unit:

    error      = |p - t|
    difference = p - t, whose mean is the bias (Bland, Altman: Lancet 1986;327:307-310)

A measurement can be missing: there is no cardiothoracic ratio without a heart. Then the case has no error, and is
counted as missing in the prediction only, in the truth only, or in both; it never enters a mean as a number.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.evaluation.summary import spread
from medseg.files import atomic_write


@dataclass(frozen=True)
class Measured:
    """One measurement of one case: a row of measurements.csv; None where the mask does not have it."""

    case: str
    name: str
    predicted: float | None
    truth: float | None


def measurement_summary(rows: Sequence[Measured], *, patients: Mapping[str, str]) -> dict[str, Any]:
    """For summary.json, each measurement's ``cases``, ``missing`` counts and the `spread` of error and difference.

    Parameters
    ----------
    rows
        Of every case.
    patients
        Case to patient, whose cases are drawn together for the intervals.

    Returns
    -------
    dict
        ``error`` and ``difference`` are None where no case has both numbers.
    """
    by_name: dict[str, list[Measured]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return {name: _summary(members, patients) for name, members in by_name.items()}


def write_measurements(rows: Iterable[Measured], path: Path) -> None:
    """Write the rows as CSV, six digits a number, blank where it is missing; a file is replaced in one step."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "measurement", "predicted", "truth"])
        table.writerows([row.case, row.name, _number(row.predicted), _number(row.truth)] for row in rows)


def _summary(rows: Sequence[Measured], patients: Mapping[str, str]) -> dict[str, Any]:
    missing = [(row.truth is None, row.predicted is None) for row in rows]
    differences = {
        row.case: row.predicted - row.truth for row in rows if row.predicted is not None and row.truth is not None
    }
    of = [patients[case] for case in differences]
    return {
        "cases": len(rows),
        "missing": {
            "truth": missing.count((True, False)),
            "prediction": missing.count((False, True)),
            "both": missing.count((True, True)),
        },
        "error": spread([abs(value) for value in differences.values()], patients=of) if of else None,
        "difference": spread(list(differences.values()), patients=of) if of else None,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
