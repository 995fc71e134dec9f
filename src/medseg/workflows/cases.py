"""Many cases through one loaded model: each is segmented, written and reported on its own.

The steps are `iteration_update` and handler of the evaluator in inference.yaml and evaluate.yaml, so that
`python -m monai.bundle run inference` and `medseg predict` do the same.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medseg.case import Image, Prediction
from medseg.errors import user_error
from medseg.evaluation import CaseScore, score_case, summarise, write_scores, write_summary
from medseg.files import atomic_write, sha256_of
from medseg.inference import Segmentation, Segmenter
from medseg.intake import check_pair, read_label
from medseg.outputs import CaseReport, Report, prepare_output_folder, write_prediction, write_report
from medseg.pictures import comparison

logger = logging.getLogger(__name__)

Measurement = Callable[[Image], Mapping[str, float | None]]


class PredictCases:
    """Segment each case and write its mask, preview and manifest; a case that fails is reported, the others go on.

    Parameters
    ----------
    segmenter
        The bundle's model with all that belongs before and behind it.
    output_dir
        Where masks, previews, manifests and report.json go.
    labels
        Value to name, as in metadata.json.
    weights
        The file the network was loaded from; its hash goes into the manifests.
    bundle
        Name and version of the bundle, for the manifests.
    measurements
        Functions of the native label map whose numbers go into the manifests.
    """

    def __init__(
        self,
        *,
        segmenter: Segmenter,
        output_dir: str,
        labels: Mapping[str, str],
        weights: str,
        bundle: Mapping[str, str],
        measurements: Sequence[Measurement] = (),
    ) -> None:
        self.segmenter, self.folder = segmenter, Path(output_dir)
        self.names = {int(value): name for value, name in labels.items()}
        self.measurements = tuple(measurements)
        self.provenance = {"bundle": dict(bundle), "weights_sha256": sha256_of(Path(weights))}
        self._cases: list[CaseReport] = []
        prepare_output_folder(self.folder)

    @property
    def report(self) -> Report:
        """What became of each case so far."""
        return Report(tuple(self._cases))

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.COMPLETED, lambda _: self.finish())

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            outputs = self.run_case(batch)
        except Exception as error:  # one bad case must not stop ten thousand good ones
            reason = _reason(error)
            logger.error("case %s failed: %s", batch["id"], reason, exc_info=user_error(error) is None)
            self._cases.append(CaseReport(batch["id"], "failed", reason=reason, seconds=_since(started)))
        else:
            logger.info("case %s done in %.1f s", batch["id"], _since(started))
            self._cases.append(CaseReport(batch["id"], "done", outputs=outputs, seconds=_since(started)))
        return {}

    def run_case(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Segment and write one case; the names of what was written."""
        return self.write(item, self.segmenter(item))

    def write(self, item: Mapping[str, Any], result: Segmentation) -> dict[str, str]:
        """Write a segmented case: mask, preview, manifest."""
        manifest = {
            **self.provenance,
            "input_sha256": _fingerprint(Path(item["image"])),
            "device": str(self.segmenter.device),
            "measurements": self.measure(result.labels),
        }
        prediction = Prediction(item["id"], result.labels, self.names)
        return write_prediction(prediction, result.image, self.folder, manifest=manifest)

    def measure(self, labels: Image) -> dict[str, float | None]:
        """All measurements of a label map by name."""
        return {name: value for each in self.measurements for name, value in each(labels).items()}

    def finish(self) -> None:
        """Write report.json."""
        write_report(self.report, self.folder)


@dataclass(frozen=True)
class _Measured:
    case: str
    measurement: str
    predicted: float | None
    truth: float | None


class EvaluateCases(PredictCases):
    """Segment each case as `PredictCases` does and score it on its native grid against its truth.

    Parameters
    ----------
    regions
        Unions of labels scored besides each label, e.g. {"lungs": [1, 2]}.
    others
        As for `PredictCases`.
    """

    def __init__(self, *, regions: Mapping[str, Sequence[int]] | None = None, **others: Any) -> None:
        super().__init__(**others)
        single = {name: [value] for value, name in self.names.items() if value != 0}
        self.regions: dict[str, Sequence[int]] = {**single, **(regions or {})}
        self._rows: list[CaseScore] = []
        self._measured: list[_Measured] = []

    def run_case(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Segment, write and score one case."""
        result, truth = self.segmenter(item), read_label(Path(item["label"]))
        check_pair(result.image, truth, case_id=item["id"], labels=self.names)
        outputs = self.write(item, result)
        dims = truth.array.ndim
        self._rows += score_case(item["id"], result.labels, truth, self.regions, spatial_dims=dims)
        predicted, expected = self.measure(result.labels), self.measure(truth)
        self._measured += [_Measured(item["id"], name, predicted[name], expected[name]) for name in predicted]
        picture = self.folder / f"{item['id']}_comparison.png"
        with atomic_write(picture) as temporary:
            panel = comparison(result.image, truth, result.labels, label_names=self.names)
            panel.save(temporary, format="PNG")
        return {**outputs, "comparison": picture.name}

    def finish(self) -> None:
        """Write report.json, scores.csv, summary.json and, where the bundle measures, measurements.csv."""
        super().finish()
        summary: dict[str, Any] = summarise(self._rows) if self._rows else {"cases": 0, "regions": {}}
        summary["failed_cases"] = [case.id for case in self.report.cases if case.status == "failed"]
        write_scores(self._rows, self.folder / "scores.csv")
        write_summary(summary, self.folder / "summary.json")
        if self.measurements:
            self._write_measurements()

    def _write_measurements(self) -> None:
        with (
            atomic_write(self.folder / "measurements.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["case", "measurement", "predicted", "truth"])
            table.writerows([m.case, m.measurement, _number(m.predicted), _number(m.truth)] for m in self._measured)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _reason(error: Exception) -> str:
    known = user_error(error)
    return str(known) if known is not None else f"{type(error).__name__}: {error}"


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of the sorted hashes of a series folder's files."""
    import hashlib

    if path.is_file():
        return sha256_of(path)
    hashes = sorted(sha256_of(file) for file in path.iterdir() if file.is_file())
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
