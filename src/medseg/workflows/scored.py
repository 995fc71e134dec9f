"""Many cases segmented as `PredictCases` does, and scored on their native grid against their truth."""

from __future__ import annotations

import csv
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
    calibration_summary,
    score_case,
    summarise,
    write_reliability,
    write_scores,
    write_summary,
)
from medseg.files import atomic_write
from medseg.intake import check_pair, read_label
from medseg.outputs import save_picture
from medseg.pictures import comparison
from medseg.workflows.cases import PredictCases
from medseg.workflows.fingerprints import input_sha256
from medseg.workflows.work import CaseWork


@dataclass(frozen=True)
class _Scored:
    """What one case gives to the tables."""

    rows: list[CaseScore]
    predicted: Mapping[str, float | None]
    expected: Mapping[str, float | None]
    reliability: Reliability | None


class EvaluateCases(PredictCases):
    """Segment each case as `PredictCases` does and score it on its native grid against its truth.

    Parameters
    ----------
    regions
        Unions of labels scored besides each label, e.g. {"lungs": [1, 2]}.
    reliability
        Count how often the network is right at which confidence: reliability.csv, and the expected calibration error
        in summary.json. Costs the probabilities of every voxel of the native grid.
    others
        As for `PredictCases`.
    """

    def __init__(
        self, *, regions: Mapping[str, Sequence[int]] | None = None, reliability: bool = False, **others: Any
    ) -> None:
        super().__init__(**others)
        single = {name: [value] for value, name in self.names.items() if value != 0}
        self.regions: dict[str, Sequence[int]] = {**single, **(regions or {})}
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
        counts = manifest.get("reliability")
        if self.reliability and counts is None:
            return False
        mask = read_label(self.folder / manifest["outputs"]["mask"]["file"])
        self._score(work, mask, None if counts is None else Reliability.from_json(counts))
        return super().take_over(work, manifest)

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
        summary: dict[str, Any] = summarise(rows) if rows else {"cases": 0, "regions": {}}
        summary["failed_cases"] = [case.id for case in self.report.failed]
        counts = [scored.reliability for scored in done.values() if scored.reliability is not None]
        if counts:
            together = Reliability.of(counts)
            summary["calibration"] = calibration_summary(together, self.names, cases=len(counts))
            write_reliability(together, self.names, self.folder / "reliability.csv")
        write_scores(rows, self.folder / "scores.csv")
        write_summary(summary, self.folder / "summary.json")
        if self.measurements:
            self._write_measurements(done)

    def _score(self, work: CaseWork, labels: Image, reliability: Reliability | None) -> None:
        truth = work.truth
        assert truth is not None
        rows = score_case(work.id, labels, truth, self.regions, spatial_dims=truth.array.ndim)
        self._scored[work.index] = _Scored(rows, self.measure(labels), self.measure(truth), reliability)

    def _write_measurements(self, scored: Mapping[str, _Scored]) -> None:
        with (
            atomic_write(self.folder / "measurements.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["case", "measurement", "predicted", "truth"])
            for case, one in scored.items():
                table.writerows(
                    [case, name, _number(v), _number(one.expected[name])] for name, v in one.predicted.items()
                )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
