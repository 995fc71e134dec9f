"""The tables of a folder of scores, read back: scores.csv, and cases.csv with what belongs to a case as a whole."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from medseg.case import Image
from medseg.errors import DataError
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.overlap import Empty
from medseg.evaluation.scores import CaseScore
from medseg.files import atomic_write

SCORES_FILE = "scores.csv"
CASES_FILE = "cases.csv"
_COLUMNS = ("case", "patient", "truth_sha256", "confidence", "entropy", "predicted_dice", "flags")


@dataclass(frozen=True)
class CaseRecord:
    """One case as a whole: a row of cases.csv.

    Attributes
    ----------
    case, patient
        Ids, as the datalist has them; without one each case is its own patient.
    truth_sha256
        Of the truth's label values and shape (`truth_sha256`), so that two tables can be seen to be of one truth.
    confidence, entropy
        Mean over the voxels that the network gives to any class but the background; None where it gives none, or
        where nobody asked a network.
    predicted_dice
        The smallest predicted Dice of its regions, where the bundle has a regression for it.
    flags
        The rules that it breaks.
    """

    case: str
    patient: str
    truth_sha256: str = ""
    confidence: float | None = None
    entropy: float | None = None
    predicted_dice: float | None = None
    flags: tuple[str, ...] = field(default=())


def truth_sha256(truth: Image) -> str:
    """SHA-256 of a label map's shape and values ``(X, Y[, Z])``, whatever the file's type, order and compression."""
    import hashlib

    digest = hashlib.sha256(repr(truth.array.shape).encode())
    for k in range(truth.array.shape[-1]):  # a slice at a time: no copy of the volume is made
        digest.update(truth.array[..., k].astype("<i4").tobytes())
    return digest.hexdigest()


def read_scores(folder: Path) -> list[CaseScore]:
    """The rows of scores.csv in `folder`.

    Raises
    ------
    DataError
        It is missing, or no table of scores.
    """
    path = folder / SCORES_FILE
    rows = _read(path, next_step="make it: medseg score or medseg evaluate")
    if not rows or not {"case", "region", "dice", "empty"} <= rows[0].keys():
        raise DataError(f"{path}: no table of scores", got=", ".join(rows[0]) if rows else "no row")
    return [_score(row, path) for row in rows]


def write_cases(records: Iterable[CaseRecord], path: Path, *, strata: Mapping[str, Mapping[str, str]]) -> None:
    """Write cases.csv: one row a case, and a column `stratum:<name>` for each way in which the cases were split.

    Parameters
    ----------
    records
        The cases.
    path
        The file; an existing one is replaced in one step.
    strata
        Name of the column that split them to case to stratum.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*_COLUMNS, *(f"stratum:{name}" for name in strata)])
        for one in records:
            numbers = ["" if v is None else f"{v:.6g}" for v in (one.confidence, one.entropy, one.predicted_dice)]
            split = [of_case.get(one.case, "") for of_case in strata.values()]
            table.writerow([one.case, one.patient, one.truth_sha256, *numbers, " ".join(one.flags), *split])


def read_cases(folder: Path) -> list[CaseRecord]:
    """The rows of cases.csv in `folder`; none where there is no such file.

    Raises
    ------
    DataError
        It is no table of cases.
    """
    path = folder / CASES_FILE
    if not path.is_file():
        return []
    rows = _read(path, next_step="score the cases again")
    if rows and not set(_COLUMNS) <= rows[0].keys():
        raise DataError(f"{path}: no table of cases", got=", ".join(rows[0]), expected=", ".join(_COLUMNS))
    return [
        CaseRecord(
            row["case"],
            row["patient"],
            row["truth_sha256"],
            _number(row["confidence"], path),
            _number(row["entropy"], path),
            _number(row["predicted_dice"], path),
            tuple(row["flags"].split()),
        )
        for row in rows
    ]


def some(names: Sequence[str]) -> str:
    """The first five of some names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _score(row: Mapping[str, str], path: Path) -> CaseScore:
    values = {name: _number(text, path) for name, text in row.items() if name in METRICS}
    empty: dict[str, Empty] = {one: one for one in get_args(Empty)}
    if row["empty"] not in empty:
        raise DataError(f"{path}: case {row['case']}", got=f"empty {row['empty']!r}", expected=", ".join(empty))
    scores = {name: value for name, value in values.items() if value is not None}
    return CaseScore(row["case"], row["region"], scores, empty[row["empty"]])


def _number(text: str | None, path: Path) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise DataError(f"{path}: no number", got=repr(text)) from error


def _read(path: Path, *, next_step: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, restkey="", restval=""))  # Excel leaves out the commas of last empty cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the table cannot be read", got=str(error), next_step=next_step) from error
