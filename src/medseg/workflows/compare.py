"""Two models that were scored on the same cases, against each other."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import DataError
from medseg.evaluation.comparison import (
    Difference,
    compare_scores,
    same_cases,
    write_comparison,
    write_differences,
)
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.strata import read_all_strata, split_rows
from medseg.evaluation.table import CaseRecord, read_cases, read_scores, some
from medseg.files import atomic_write
from medseg.outputs import prepare_output_folder
from medseg.workflows.stratified import known_patients

_SIZES = ("truth_ml", "truth_cm2", "truth_px")
_SIX_DIGITS = 2e-6


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    a, b
        The names of the two folders.
    cases, patients
        How many they share.
    patients_from
        Where it is known which patient a case is of: "cases.csv", "table", or "nowhere", where each case counts as
        its own.
    differences
        One for each region and score.
    strata
        Column, then stratum, to the differences within it, each stratum with a Holm correction of its own.
    """

    a: str
    b: str
    cases: int
    patients: int
    patients_from: str
    differences: tuple[Difference, ...]
    strata: Mapping[str, Mapping[str, tuple[Difference, ...]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in comparison.json."""
        return {
            "a": self.a,
            "b": self.b,
            "cases": self.cases,
            "patients": self.patients,
            "patients_from": self.patients_from,
            "difference": "b - a",
            "differences": [one.to_json() for one in self.differences],
            "strata": {
                column: {name: [one.to_json() for one in found] for name, found in of_column.items()}
                for column, of_column in self.strata.items()
            },
        }


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    metrics: Sequence[str] = (),
    patient_csv: str | None = None,
    strata: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compare model B with model A, case by case.

    Parameters
    ----------
    a, b
        Folders with scores.csv, as `score` and `evaluate` write them.
    output_dir
        For comparison.csv, comparison.json and differences.csv; None writes nothing.
    metrics
        Names of scores; none: all that both have. Fewer comparisons have more power: Holm's correction counts them.
    patient_csv
        "FILE:COLUMN" that names the patient of each case; None takes those of cases.csv.
    strata
        As for `read_all_strata`: differences within each stratum too.
    seed
        Of resamples and sign patterns.

    Raises
    ------
    DataError
        The two are not of the same cases, regions or truth, with the cases in which they differ.
    """
    folders = Path(a), Path(b)
    rows = read_scores(folders[0]), read_scores(folders[1])
    same_cases(*rows)
    records = {one.case: one for one in read_cases(folders[0])}, {one.case: one for one in read_cases(folders[1])}
    _same_truth(rows, records)
    of, source = _patients(list(dict.fromkeys(row.case for row in rows[0])), records, patient_csv)
    chosen = read_all_strata(strata, of)
    found = Comparison(
        folders[0].name,
        folders[1].name,
        cases=len(of),
        patients=len(set(of.values())),
        patients_from=source,
        differences=tuple(compare_scores(*rows, patients=of, metrics=metrics, seed=seed)),
        strata={
            one.name: {
                name: _of_stratum(part, _matching(rows[1], part), patients=of, metrics=metrics, seed=seed)
                for name, part in split_rows(rows[0], one).items()
            }
            for one in chosen
        },
    )
    if output_dir is not None:
        _write(found, rows, Path(output_dir))
    return found


Records = Mapping[str, CaseRecord]


def _same_truth(rows: tuple[Sequence[CaseScore], Sequence[CaseScore]], records: tuple[Records, Records]) -> None:
    """By the hash of the truth where both tables have it, else by its size."""
    shared = [case for case in records[0] if case in records[1]]
    known = {case for case in shared if records[0][case].truth_sha256 and records[1][case].truth_sha256}
    other = {case for case in known if records[0][case].truth_sha256 != records[1][case].truth_sha256}
    second = {(row.case, row.region): row for row in rows[1]}
    other |= {row.case for row in rows[0] if row.case not in known and _sizes_differ(row, second[row.case, row.region])}
    if other:
        raise DataError(
            "the two tables were not scored against the same truth",
            got=f"another truth in {some(sorted(other))}",
            expected="one truth a case",
            next_step="score both models against the same masks",
        )


def _sizes_differ(one: CaseScore, other: CaseScore) -> bool:
    return any(
        abs(one.scores[name] - other.scores[name]) > _SIX_DIGITS * abs(one.scores[name])
        for name in _SIZES
        if name in one.scores and name in other.scores
    )


def _patients(cases: Sequence[str], records: tuple[Records, Records], table: str | None) -> tuple[dict[str, str], str]:
    if table is not None:
        return known_patients(cases, pattern=None, table=table), "table"
    both = [case for case in cases if case in records[0] and case in records[1]]
    other = [case for case in both if records[0][case].patient != records[1][case].patient]
    if other:
        raise DataError(
            "the two tables have other patients for the same cases",
            got=some(sorted(other)),
            next_step="say which is right: --patient-csv FILE:COLUMN",
        )
    known = {case: one.patient for table in records for case, one in table.items()}
    found = {case: known.get(case, case) for case in cases}
    return found, "cases.csv" if any(case in known for case in cases) else "nowhere"


def _of_stratum(
    a: Sequence[CaseScore],
    b: Sequence[CaseScore],
    *,
    patients: Mapping[str, str],
    metrics: Sequence[str],
    seed: int,
) -> tuple[Difference, ...]:
    """The differences in those of the `metrics` that its cases have: pictures of unknown spacing have none in mm."""
    had = {name for row in a for name in row.scores} & {name for row in b for name in row.scores}
    there = [name for name in metrics if name in had]
    if metrics and not there:
        return ()
    return tuple(compare_scores(a, b, patients=patients, metrics=there, seed=seed))


def _matching(rows: Sequence[CaseScore], part: Sequence[CaseScore]) -> list[CaseScore]:
    wanted = {(row.case, row.region) for row in part}
    return [row for row in rows if (row.case, row.region) in wanted]


def _write(found: Comparison, rows: tuple[Sequence[CaseScore], Sequence[CaseScore]], folder: Path) -> None:
    prepare_output_folder(folder)
    write_comparison(found.differences, folder / "comparison.csv")
    write_differences(*rows, found.differences, folder / "differences.csv")
    with atomic_write(folder / "comparison.json") as temporary:
        temporary.write_text(json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
