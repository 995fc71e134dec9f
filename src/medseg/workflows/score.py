"""Score any masks against any truth."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medseg.case import Image
from medseg.datasets.label_files import WHITE
from medseg.errors import BundleError, DataError, MedsegError, OutputError
from medseg.evaluation import CaseScore, ScorePlan, label_values, score_case, summarise, write_scores, write_summary
from medseg.evaluation.strata import read_all_strata
from medseg.evaluation.table import CASES_FILE, CaseRecord, truth_sha256, write_cases
from medseg.intake import find_inputs, read_label
from medseg.intake.own_outputs import manifest_path, manifests_in, output_of
from medseg.outputs import CaseReport, Report, prepare_output_folder, write_report
from medseg.workflows.stratified import add_strata, known_patients

logger = logging.getLogger(__name__)


def score(
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str],
    plan: ScorePlan | None = None,
    patient_csv: str | None = None,
    patient_regex: str | None = None,
    strata: Sequence[str] = (),
) -> Report:
    """Compare the masks of two folders (or two files) that have the same stems.

    Every non-zero label value that stands anywhere in truth or prediction, or that the plan names, is scored in every
    case, as the region "label <value>"; where one label is all there is, 1 on one side and 255 on the other, it is
    label 1. A truth without a prediction, and a prediction without a truth, is a failed case of the report. One pair is
    held in memory at a time. Of a folder with manifests the masks that they name are taken.

    Parameters
    ----------
    predictions, truth
        Folders, or two files.
    output_dir
        For scores.csv, cases.csv, summary.json and report.json.
    plan
        Tolerances, and which of the labels are tubes or lesions; None takes neither.
    patient_csv, patient_regex
        Which patient a case is of, for the intervals: "FILE:COLUMN", or a pattern searched in its id. Without either
        each case is its own patient.
    strata
        "FILE:COLUMN" of a table by case or patient, or "size": summary.json has the scores of each stratum too.

    Raises
    ------
    DataError
        A folder holds no mask, no stem stands in both, or patients or strata cannot be told.
    OutputError
        The output folder is that of the masks, or cannot be written.
    BundleError
        The plan names a region that is not of the form "label <value>".
    """
    plan = plan or ScorePlan()
    named = _values(plan)
    predicted, expected = _files(Path(predictions), Path(truth))
    shared = sorted(predicted.keys() & expected.keys())
    of = known_patients(shared, pattern=patient_regex, table=patient_csv)
    chosen = read_all_strata(strata, of)
    folder = Path(output_dir)
    _refuse_folder_of_masks(folder, Path(predictions), Path(truth))
    prepare_output_folder(folder)
    scored = _score_all({case: (predicted[case], expected[case]) for case in shared}, plan)
    cases = [CaseReport(case, "failed" if one.reason else "done", reason=one.reason) for case, one in scored.items()]
    cases += [CaseReport(case, "failed", reason="no prediction") for case in sorted(expected.keys() - predicted.keys())]
    cases += [CaseReport(case, "failed", reason="no truth") for case in sorted(predicted.keys() - expected.keys())]
    records = [CaseRecord(case, of[case], one.truth_sha256) for case, one in scored.items() if not one.reason]
    rows = _every_label(scored.values(), named, plan)
    _tell_what_is_missing(plan, rows, records)
    report = _write(Report(tuple(cases)), rows, records, folder)
    if rows:
        add_strata(folder, chosen)
    return report


def _refuse_folder_of_masks(folder: Path, predictions: Path, truth: Path) -> None:
    is_one_of_them = folder.resolve() in (predictions.resolve(), truth.resolve())
    if is_one_of_them or any(folder.glob(manifest_path(Path(), "*").name)):
        raise OutputError(
            f"output folder {folder}",
            got="a folder of masks",
            expected="another one: report.json and the tables of whoever made the masks would be replaced",
            next_step="name another folder",
        )


def _is_one_label_in_two_ways(scored: Iterable[_Scored]) -> bool:
    """Whether both sides hold one label, but another value: 1, and 255 in masks that were made to be looked at.

    Where they share no value for another reason a warning says so, and where predictions have some that no truth has:
    a mask in JPEG, or one that was resampled by interpolation, has values that nobody meant.
    """
    sides = [one.values for one in scored if not one.reason]
    predicted, true = (frozenset[int]().union(*(side[i] for side in sides)) for i in (0, 1))
    if not predicted or not true:
        return False
    if predicted & true:
        if predicted - true:
            logger.warning("label values that stand in the predictions alone: %s", _listed(predicted - true))
        return False
    told = f"predictions hold {_listed(predicted)}, truth {_listed(true)}"
    if len(predicted) == len(true) == 1 and (predicted | true) & WHITE:
        logger.warning("%s: both are taken for label 1", told)
        return True
    logger.warning("%s, no value stands in both: are these masks of the same labels?", told)
    return False


def _tell_what_is_missing(plan: ScorePlan, rows: Sequence[CaseScore], records: Sequence[CaseRecord]) -> None:
    """Warn where there is no row at all, none with the NSD that was asked for, or a label named that no mask holds."""
    absent = sorted(_values(plan) - {_value(row.region) for row in rows if row.empty != "both"})
    if rows and absent:
        logger.warning("no mask on either side holds %s: the scores are those of empty masks", _listed(absent))
    if records and not rows:
        logger.warning("all masks are empty on both sides: no label is known that could be scored, there are no rows")
    stated = bool(plan.tolerances_mm) or bool(plan.tolerances_px)
    if stated and rows and not any(name.startswith("nsd_") for row in rows for name in row.scores):
        given, needed = ("mm", "px") if plan.tolerances_mm else ("px", "mm")
        logger.warning("no NSD: tolerances are in %s, the spacing of these masks is in %s", given, needed)


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def _files(predictions: Path, truth: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The files of both sides by case, which have at least one case in common."""
    predicted = _masks(predictions)
    expected = {case.id: case.path for case in find_inputs(truth)}
    if predictions.is_file() and truth.is_file():
        expected = dict(zip(predicted, expected.values(), strict=True))
    if not predicted.keys() & expected.keys():
        raise DataError(
            "no prediction has the name of a truth",
            got=f"{_some(predicted)} in {predictions}, {_some(expected)} in {truth}",
            expected="the same file stems in both",
        )
    return predicted, expected


def _masks(predictions: Path) -> dict[str, Path]:
    """By the manifests where there are any: beside a mask lie those of further formats, under the same id."""
    manifests = manifests_in(predictions) if predictions.is_dir() else {}
    named = {case: mask for case, one in manifests.items() if (mask := output_of(predictions, one, "mask"))}
    return named or {case.id: case.path for case in find_inputs(predictions)}


@dataclass(frozen=True)
class _Scored:
    """One case: a row for each label value that it holds, and its grid without voxels; or why there is none.

    `values` are those of the prediction and of the truth, 0 apart.
    """

    case: str
    rows: Mapping[int, CaseScore] = field(default_factory=dict)
    nothing: Image | None = None
    truth_sha256: str = ""
    reason: str | None = None
    values: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())


def _score_all(pairs: Mapping[str, tuple[Path, Path]], plan: ScorePlan) -> dict[str, _Scored]:
    """By case, of its prediction and its truth; once more as one label where only its value differs."""
    scored = {case: _score_one(case, *pair, plan) for case, pair in pairs.items()}
    if _is_one_label_in_two_ways(scored.values()):
        scored = {case: _score_one(case, *pair, plan, binary=True) for case, pair in pairs.items()}
    return scored


def _score_one(case: str, predicted: Path, expected: Path, plan: ScorePlan, *, binary: bool = False) -> _Scored:
    try:
        prediction, truth = read_label(predicted), read_label(expected)
        sha256 = truth_sha256(truth)
        if binary:
            prediction, truth = (replace(one, array=(one.array != 0).astype(np.uint8)) for one in (prediction, truth))
        held = [frozenset(label_values(one.array)) - {0} for one in (prediction, truth)]
        values = sorted(held[0] | held[1])
        rows = _rows(case, prediction, truth, values, plan)
    except MedsegError as error:
        return _Scored(case, reason=str(error))
    nothing = replace(truth, array=np.zeros((1,) * truth.array.ndim, dtype=np.uint8))
    return _Scored(case, dict(zip(values, rows, strict=True)), nothing, sha256, values=(held[0], held[1]))


def _rows(case: str, prediction: Image, truth: Image, values: Sequence[int], plan: ScorePlan) -> list[CaseScore]:
    regions = {_region(value): [value] for value in values}
    return score_case(case, prediction, truth, regions, spatial_dims=truth.array.ndim, plan=plan)


def _every_label(scored: Iterable[_Scored], named: set[int], plan: ScorePlan) -> list[CaseScore]:
    """The rows of all cases; a label that other cases hold, or the plan names, is empty in both masks of this one."""
    scored = [one for one in scored if one.nothing is not None]
    values = sorted(named.union(*(one.rows for one in scored)))
    rows = []
    for one in scored:
        assert one.nothing is not None
        missing = [value for value in values if value not in one.rows]
        empty = dict(zip(missing, _rows(one.case, one.nothing, one.nothing, missing, plan), strict=True))
        rows += [one.rows[value] if value in one.rows else empty[value] for value in values]
    return rows


def _region(value: int) -> str:
    return f"label {value}"


def _value(region: str) -> int:
    return int(region.removeprefix("label "))


def _values(plan: ScorePlan) -> set[int]:
    """Label values that a plan names."""
    names = {name: name.removeprefix("label ") for name in plan.named()}
    wrong = sorted(name for name, value in names.items() if not value.isdecimal() or name != _region(int(value)))
    if wrong:
        raise BundleError("scores of masks alone: no such region", got=", ".join(wrong), expected='"label 1", ...')
    return {int(value) for value in names.values()}


def _write(report: Report, rows: Sequence[CaseScore], records: Sequence[CaseRecord], folder: Path) -> Report:
    patients = {one.case: one.patient for one in records}
    summary = summarise(rows, patients=patients) if rows else {"cases": 0, "regions": {}}
    summary["failed_cases"] = [case.id for case in report.cases if case.status == "failed"]
    write_cases(records, folder / CASES_FILE, strata={})
    write_scores(rows, folder / "scores.csv")
    write_summary(summary, folder / "summary.json")
    write_report(report, folder)
    return report


def _some(names: Mapping[str, Path]) -> str:
    return ", ".join(sorted(names)[:5])
