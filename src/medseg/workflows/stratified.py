"""Strata in the tables of scores, and which patient each case is of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medseg.datasets.patients import patients_of
from medseg.errors import DataError
from medseg.evaluation import write_summary
from medseg.evaluation.strata import Strata, summarise_strata
from medseg.evaluation.table import CASES_FILE, read_cases, read_scores, some, write_cases


def known_patients(cases: Sequence[str], *, pattern: str | None, table: str | None) -> dict[str, str]:
    """Case to patient, by a pattern on the id or by "FILE:COLUMN"; without either each case is its own patient.

    Raises
    ------
    DataError
        A case has no patient there.
    """
    patients, problems = patients_of(cases, pattern=pattern, table=table)
    if problems:
        raise DataError("patients of the cases", got=some(problems), expected="a patient for each case")
    return patients


def add_strata(folder: Path, strata: Sequence[Strata]) -> None:
    """Add `strata` to summary.json, and their columns to cases.csv, of a folder of scores."""
    if not strata:
        return
    rows, records = read_scores(folder), read_cases(folder)
    patients = {one.case: one.patient for one in records}
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["strata"] = {one.name: summarise_strata(rows, one, patients=patients) for one in strata}
    write_summary(summary, path)
    write_cases(records, folder / CASES_FILE, strata={one.name: one.of_case for one in strata if one.of_case})
