"""Many cases segmented as `PredictCases` does, and scored on their native grid against their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.case import Image
from medseg.datasets.datalist import relative_path
from medseg.evaluation import (
    CaseScore,
    Reliability,
    ReliabilityCounter,
    ScorePlan,
    calibration_summary,
    score_case,
    summarise,
    write_reliability,
    write_scores,
    write_summary,
)
from medseg.evaluation.flag_summary import confidence_against_dice, flag_summary
from medseg.evaluation.measurements import Measured, measurement_summary, write_measurements
from medseg.evaluation.table import CASES_FILE, SCORES_FILE, CaseRecord, truth_sha256, write_cases
from medseg.files import atomic_write
from medseg.intake import check_pair, read_label
from medseg.outputs import check_output_folder, save_picture
from medseg.pictures import comparison
from medseg.workflows.cases import PredictCases
from medseg.workflows.fingerprints import input_sha256
from medseg.workflows.work import CaseWork

RELIABILITY_FILE = "reliability.csv"
MEASUREMENTS_FILE = "measurements.csv"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class _Scored:
    """What one case gives to the tables."""

    record: CaseRecord
    rows: list[CaseScore]
    predicted: Mapping[str, float | None]
    expected: Mapping[str, float | None]
    reliability: Reliability | None

    def measured(self, case: str) -> list[Measured]:
        """Rows of measurements.csv."""
        return [Measured(case, name, value, self.expected[name]) for name, value in self.predicted.items()]


class EvaluateCases(PredictCases):
    """Segment each case as `PredictCases` does and score it on its native grid against its truth.

    Parameters
    ----------
    regions
        Unions of labels scored besides each label, e.g. {"lungs": [1, 2]}.
    scores
        Tolerances, tubes and lesions, by the names of labels and regions; None takes none of them.
    reliability
        Count how often the network is right at which confidence: reliability.csv, and the expected calibration error
        in summary.json. Costs the probabilities of every voxel of the native grid.
    others
        As for `PredictCases`.

    Raises
    ------
    BundleError
        `scores` names a region that is not there.
    """

    check_folder = staticmethod(check_output_folder)  # an earlier evaluation may be there: all its tables are replaced
    tables = (*PredictCases.tables, SCORES_FILE, CASES_FILE, SUMMARY_FILE, RELIABILITY_FILE, MEASUREMENTS_FILE)

    def __init__(
        self,
        *,
        regions: Mapping[str, Sequence[int]] | None = None,
        scores: ScorePlan | None = None,
        reliability: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        single = {name: [value] for value, name in self.names.items() if value != 0}
        self.regions: dict[str, Sequence[int]] = {**single, **(regions or {})}
        self.plan = scores or ScorePlan()
        self.plan.check(self.regions)
        self.reliability = reliability
        self._scored: dict[int, _Scored] = {}

    def read(self, work: CaseWork) -> None:
        """Stage 1, with the truth."""
        path = Path(work.item["label"])
        work.truth_sha256, work.truth = input_sha256(path), read_label(path)
        super().read(work)
        if work.resumed:
            work.truth = None
            return
        assert work.read is not None
        check_pair(work.read.native, work.truth, case_id=work.id, labels=self.names)
        if self.reliability:
            work.sinks["reliability"] = ReliabilityCounter(work.truth.array)

    def take_over(self, work: CaseWork, manifest: Mapping[str, Any]) -> bool:
        """Score the mask that an earlier run wrote; its counts stand in the manifest."""
        counts = manifest.get("reliability") if self.reliability else None
        if self.reliability and "squared_error" not in (counts or {}):
            return False
        super().take_over(work, manifest)
        mask = read_label(self.folder / manifest["outputs"]["mask"]["file"])
        self._score(work, mask, None if counts is None else Reliability.from_json(counts))
        return True

    def write_more(self, work: CaseWork) -> dict[str, str]:
        """The picture of image, truth and prediction; the scores."""
        result, truth = work.segmentation, work.truth
        assert result is not None
        assert truth is not None
        counter = work.sinks.get("reliability")
        self._score(work, result.labels, None if counter is None else counter.counts)
        picture = self.folder / f"{work.id}_comparison.png"
        with atomic_write(picture) as temporary:
            panel = comparison(result.image, truth, result.labels, label_names=self.names)
            save_picture(panel, temporary)
        return {**super().write_more(work), "comparison": picture.name}

    def manifest(self, work: CaseWork) -> dict[str, object]:
        """With the counts of confidence and truth, from which a resumed run goes on."""
        counts = self._scored[work.index].reliability
        return {**super().manifest(work), **({} if counts is None else {"reliability": counts.to_json()})}

    def expected(self, work: CaseWork) -> dict[str, object]:
        """The truth has to be the same too."""
        return {**super().expected(work), "truth_sha256": work.truth_sha256}

    def sources(self, work: CaseWork) -> dict[str, object]:
        """And the truth."""
        return {**super().sources(work), "truth": relative_path(Path(work.item["label"]), self.folder)}

    def kinds(self) -> set[str]:
        """And the comparison."""
        return {*super().kinds(), "comparison"}

    def write_tables(self) -> None:
        """Write report.json, scores.csv, summary.json and, where there is something in them, the other tables."""
        super().write_tables()
        done = {work.id: self._scored[work.index] for work in self.finished() if work.reason is None}
        rows = [row for scored in done.values() for row in scored.rows]
        records = [scored.record for scored in done.values()]
        patients = {one.case: one.patient for one in records}
        summary: dict[str, Any] = summarise(rows, patients=patients) if rows else {"cases": 0, "regions": {}}
        summary["failed_cases"] = [case.id for case in self.report.failed]
        counts = [scored.reliability for scored in done.values() if scored.reliability is not None]
        if counts:
            together = Reliability.of(counts)
            summary["calibration"] = calibration_summary(together, self.names, cases=len(counts))
            summary["calibration"]["case_confidence"] = confidence_against_dice(records, rows)
            write_reliability(together, self.names, self.folder / RELIABILITY_FILE)
        if self.flagging.record is not None:
            judged = {w.id: w.judgement for w in self.finished() if w.id in done and w.judgement is not None}
            summary["failure_flags"] = flag_summary(judged, rows, self.flagging.record, patients=patients)
        if self.measurements:
            measured = [row for case, scored in done.items() for row in scored.measured(case)]
            summary["measurements"] = measurement_summary(measured, patients=patients)
            write_measurements(measured, self.folder / MEASUREMENTS_FILE)
        write_cases(records, self.folder / CASES_FILE, strata={})
        write_summary(summary, self.folder / SUMMARY_FILE)
        write_scores(rows, self.folder / SCORES_FILE)  # last: where it is, all is

    def _score(self, work: CaseWork, labels: Image, reliability: Reliability | None) -> None:
        truth = work.truth
        assert truth is not None
        rows = score_case(work.id, labels, truth, self.regions, spatial_dims=truth.array.ndim, plan=self.plan)
        record = _record(work, truth)
        self._scored[work.index] = _Scored(record, rows, self.measure(labels), self.measure(truth), reliability)


def _record(work: CaseWork, truth: Image) -> CaseRecord:
    judged = work.judgement
    return CaseRecord(
        work.id,
        str(work.item.get("patient", work.id)),
        truth_sha256(truth),
        work.confidence.get("mean_confidence"),
        work.confidence.get("mean_entropy"),
        min(judged.predicted_dice.values(), default=None) if judged is not None else None,
        tuple(dict.fromkeys(flag.rule for flag in judged.flags)) if judged is not None else (),
    )
