"""Score any masks against any truth."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.errors import DataError, MedsegError
from medseg.evaluation import CaseScore, score_case, summarise, write_scores, write_summary
from medseg.intake import find_inputs, read_label
from medseg.outputs import CaseReport, Report, prepare_output_folder, write_report


def score(
    predictions: str | os.PathLike[str], truth: str | os.PathLike[str], *, output_dir: str | os.PathLike[str]
) -> Report:
    """Compare the masks of two folders (or two files) that have the same stems.

    Every non-zero label value that stands anywhere in truth or prediction is scored in every case. A truth without a
    prediction, and a prediction without a truth, is a failed case of the report.

    Raises
    ------
    DataError
        A folder holds no mask, or no stem stands in both.
    """
    predicted = {case.id: case.path for case in find_inputs(Path(predictions))}
    expected = {case.id: case.path for case in find_inputs(Path(truth))}
    if Path(predictions).is_file() and Path(truth).is_file():
        expected = dict(zip(predicted, expected.values(), strict=True))
    shared = sorted(predicted.keys() & expected.keys())
    if not shared:
        raise DataError(
            "no prediction has the name of a truth",
            got=f"{_some(predicted)} in {predictions}, {_some(expected)} in {truth}",
            expected="the same file stems in both",
        )
    folder = Path(output_dir)
    prepare_output_folder(folder)
    rows, cases = _score_all(shared, predicted, expected)
    cases += [CaseReport(case, "failed", reason="no prediction") for case in sorted(expected.keys() - predicted.keys())]
    cases += [CaseReport(case, "failed", reason="no truth") for case in sorted(predicted.keys() - expected.keys())]
    return _write(Report(tuple(cases)), rows, folder)


def _score_all(
    shared: Sequence[str], predicted: Mapping[str, Path], expected: Mapping[str, Path]
) -> tuple[list[CaseScore], list[CaseReport]]:
    regions = _regions([*(predicted[case] for case in shared), *(expected[case] for case in shared)])
    rows: list[CaseScore] = []
    cases: list[CaseReport] = []
    for case in shared:
        try:
            prediction, truth = read_label(predicted[case]), read_label(expected[case])
            rows += score_case(case, prediction, truth, regions, spatial_dims=truth.array.ndim)
            cases.append(CaseReport(case, "done"))
        except MedsegError as error:
            cases.append(CaseReport(case, "failed", reason=str(error)))
    return rows, cases


def _regions(files: Sequence[Path]) -> dict[str, list[int]]:
    values: set[int] = set()
    for file in files:
        try:
            values |= set(np.unique(read_label(file).array).tolist())
        except MedsegError:
            continue  # reported when the case is scored
    return {f"label {value}": [value] for value in sorted(values - {0})}


def _write(report: Report, rows: Sequence[CaseScore], folder: Path) -> Report:
    summary = summarise(rows) if rows else {"cases": 0, "regions": {}}
    summary["failed_cases"] = [case.id for case in report.cases if case.status == "failed"]
    write_scores(rows, folder / "scores.csv")
    write_summary(summary, folder / "summary.json")
    write_report(report, folder)
    return report


def _some(names: Mapping[str, Path]) -> str:
    return ", ".join(sorted(names)[:5])
