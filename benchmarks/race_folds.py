"""Races of several folds of one data set as one table: each fold, and all of their cases together, paired.

python benchmarks/race_folds.py FOLDER FOLDER [FOLDER ...] [--publish NAME]

Each FOLDER is the output of time_to_accuracy.py of another fold of the same split, with both sides. What counts is
the last row of each side there: ours by the weights that validation chose, nnU-Net's by its last ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Table, ends, publish

from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.comparison import compare_scores
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.table import read_cases, read_scores


@dataclass(frozen=True)
class Fold:
    """What one race ended with: rows of scores of both sides, each case's patient, and how it was run."""

    name: str
    about: dict[str, Any]
    ours: list[CaseScore]
    theirs: list[CaseScore]
    patients: dict[str, str]


def main(folders: Sequence[Path], name: str | None) -> None:
    """Read, put together, show; to benchmarks/results too where it has a name there."""
    folds = [read_fold(folder) for folder in folders]
    check_apart(folds)
    tables = [by_fold(folds), together(folds)]
    if name is None:
        print("\n".join(table.markdown() for table in tables))
    else:
        publish(name, tables, settings={"races": "; ".join(f"{fold.name}: {fold.about['date']}" for fold in folds)})


def read_fold(folder: Path) -> Fold:
    """The scores of the last weights of both sides; SystemExit where one of them did not come to its end."""
    about = json.loads((folder / "time_to_accuracy.json").read_text(encoding="utf-8"))["about"]
    ours, theirs = _last(folder, "ours/kept/*/masks_scores", depth=1), _last(folder, "nnunet/masks/*_scores", depth=0)
    patients = {one.case: one.patient for one in read_cases(ours)}
    return Fold(str(about["fold"]), about, read_scores(ours), read_scores(theirs), patients)


def _last(folder: Path, pattern: str, *, depth: int) -> Path:
    """The folder of scores of the weights that were kept last: they are numbered."""
    found = {int([path, path.parent][depth].name.removesuffix("_scores")): path for path in folder.glob(pattern)}
    if not found:
        raise SystemExit(f"{folder}: no {pattern}; expected the output of time_to_accuracy.py with both sides")
    return found[max(found)]


def check_apart(folds: Sequence[Fold]) -> None:
    """SystemExit where a patient is in two of them: then they are no folds of one split."""
    seen: dict[str, str] = {}
    for fold in folds:
        for patient in set(fold.patients.values()):
            if patient in seen:
                raise SystemExit(f"patient {patient} is tested in fold {seen[patient]} and in fold {fold.name}")
            seen[patient] = fold.name


def by_fold(folds: Sequence[Fold]) -> Table:
    """One row a fold and region."""
    columns = ["fold", "cases", "region", "nnU-Net", "ours", "difference", "95 % interval", "won : lost"]
    table = Table("Dice of each fold's cases", columns)
    for fold in folds:
        for one in compare_scores(fold.theirs, fold.ours, patients=fold.patients, metrics=["dice"]):
            row = [fold.name, one.cases, one.region, f"{one.mean_a:.4f}", f"{one.mean_b:.4f}"]
            interval = ends(one.difference_ci95, "+.4f")
            table.rows.append([*row, f"{one.mean_difference:+.4f}", interval, f"{one.wins} : {one.losses}"])
    return table


def together(folds: Sequence[Fold]) -> Table:
    """All cases of the folds as one table of scores; intervals by patients."""
    ours = [row for fold in folds for row in fold.ours]
    theirs = [row for fold in folds for row in fold.theirs]
    patients = {case: patient for fold in folds for case, patient in fold.patients.items()}
    columns = ["region", "nnU-Net", "ours", "difference", "95 % interval", "p (permutation)", "won : lost"]
    table = Table(f"Dice of the {len(patients)} cases of {len(folds)} folds", columns)
    for one in compare_scores(theirs, ours, patients=patients, metrics=["dice"]):
        means = [
            f"{mean:.4f} ({_interval(rows, one.region, patients)})"
            for mean, rows in ((one.mean_a, theirs), (one.mean_b, ours))
        ]
        interval = ends(one.difference_ci95, "+.4f")
        row = [one.region, *means, f"{one.mean_difference:+.4f}", interval]
        table.rows.append([*row, f"{one.p_permutation:.2g}", f"{one.wins} : {one.losses}"])
    table.notes.append("In brackets the 95 % bootstrap interval of each side's mean.")
    return table


def _interval(rows: Sequence[CaseScore], region: str, patients: dict[str, str]) -> str:
    chosen = [row for row in rows if row.region == region]
    values = [row.scores["dice"] for row in chosen]
    return ends(mean_interval(values, patients=[patients[row.case] for row in chosen]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--publish", metavar="NAME")
    given = parser.parse_args()
    main(given.folders, given.publish)
