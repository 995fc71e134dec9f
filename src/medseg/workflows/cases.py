"""Many cases through one loaded model: each is segmented, written and reported on its own.

The steps are `iteration_update` and handler of the evaluator in inference.yaml and evaluate.yaml, so that
`python -m monai.bundle run inference` and `medseg predict` do the same. The evaluator hands over one case after the
other and is held back while enough of them are in flight; reading, the network and writing run in threads of their own.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medseg.bundle import mask_settings
from medseg.case import Image, Prediction
from medseg.datasets.datalist import relative_path
from medseg.dicom.codes import segment_codes
from medseg.errors import RunError
from medseg.evaluation.flag_record import FLAGS_FILE
from medseg.files import SharedFolder, remove_own_temporaries
from medseg.inference import Segmenter
from medseg.intake.own_outputs import manifest_path
from medseg.networks.weights import weights_sha256
from medseg.outputs import (
    Algorithm,
    Meaning,
    ProbabilityFiles,
    Report,
    check_apart,
    check_unscored,
    known_formats,
    prepare_output_folder,
    write_formats,
    write_prediction,
    write_report,
)
from medseg.pictures import label_colour
from medseg.signals import StopRequests
from medseg.workflows.fingerprints import input_sha256, renew_sources, settings_sha256, valid_manifest
from medseg.workflows.flagging import Flagging, case_confidence, judgement_of
from medseg.workflows.heap import TRIM_EVERY_CASES, trim_heap
from medseg.workflows.pipeline import Pipeline, Stage
from medseg.workflows.progress import CaseProgress
from medseg.workflows.provenance import confidence_table, peak_memory_bytes, precision_used
from medseg.workflows.stopping import begun, report_if_possible, stale_mask, told, writing_tables
from medseg.workflows.work import CaseWork, at_least_one, batches

logger = logging.getLogger(__name__)

Measurement = Callable[[Image], Mapping[str, float | None]]
Unit = list[CaseWork]

STOP_SECONDS = 2.0
"""How long work at hand may go on after a run was stopped: with all else it ends within 5 s."""


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
    settings
        What can change a mask, for the manifests and for `resume`; None takes `medseg.bundle.mask_settings` of the
        configuration that is being evaluated.
    measurements
        Functions of the native label map whose numbers go into the manifests.
    jobs
        Cases in flight at once, from the start of reading to the end of writing; of pictures, batches.
    batch
        Pictures that go through the network at once, if they have one size there; 1 for volumes.
    resume
        Skip cases whose manifest and files show that they were done with this input, these weights and settings.
    save_probabilities
        Write `<id>_probability_<label>` files too.
    formats
        What each label map is written as besides its mask: some of `medseg.outputs.FORMATS`.
    segments
        Label value as text to its DICOM codes and colour, as in metadata.json.
    flags
        The bundle's models/flags.json, by which manifests, flags.csv and the report say which cases to look at first;
        without that file nothing is flagged.

    Raises
    ------
    RunError
        From the evaluator's run: nothing more can be written to the output folder, or a stage has died.
    """

    check_folder = staticmethod(check_unscored)
    tables: tuple[str, ...] = (FLAGS_FILE,)

    def __init__(
        self,
        *,
        segmenter: Segmenter,
        output_dir: str,
        labels: Mapping[str, str],
        weights: str | Sequence[str],
        bundle: Mapping[str, str],
        settings: Mapping[str, Any] | None = None,
        measurements: Sequence[Measurement] = (),
        jobs: int = 2,
        batch: int = 1,
        resume: bool = False,
        save_probabilities: bool = False,
        formats: Sequence[str] = (),
        segments: Mapping[str, Mapping[str, Any]] | None = None,
        flags: str | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.names = {int(value): name for value, name in labels.items()}
        self.measurements = tuple(measurements)
        self.resume, self.save_probabilities = resume, save_probabilities
        self.batch, self.jobs = at_least_one("batch", batch), at_least_one("jobs", jobs)
        settings = mask_settings() if settings is None else dict(settings)
        self.made_by = {
            "bundle": dict(bundle),
            "weights_sha256": weights_sha256(weights),
            "settings": settings,
            "settings_sha256": settings_sha256(settings),
        }
        self.flagging = Flagging(flags, names=self.names, weights_sha256=str(self.made_by["weights_sha256"]))
        self.formats, self.algorithm = known_formats(formats), Algorithm(bundle["name"], bundle["version"])
        self.codes = segment_codes(self.names, segments, colours={value: label_colour(value) for value in self.names})
        self.watch: Callable[[CaseWork, str], None] = lambda work, stage: None
        self._begin_in(Path(output_dir))

    def afresh(self, output_dir: Path) -> PredictCases:
        """The same loaded model and settings with nothing done yet, writing into another folder."""
        other = copy.copy(self)
        other._begin_in(output_dir)
        return other

    def _begin_in(self, folder: Path) -> None:
        self.folder = folder
        self._requests, self._taken, self._waiting = StopRequests(), 0, Unit()
        self._finished: dict[int, CaseWork] = {}
        self._full: CaseWork | None = None
        self._stopped: str | None = None
        self._total = 0
        self._pipeline: Pipeline[Unit] | None = None
        self.check_folder(self.folder)
        prepare_output_folder(self.folder)

    @property
    def report(self) -> Report:
        """What became of each case so far, in the order of the inputs."""
        cases = tuple(work.report() for work in self.finished())
        return Report(cases, stopped=self._stopped, not_done=max(0, self._total - len(cases)))

    def finished(self) -> list[CaseWork]:
        """Cases that have passed all stages, in the order of the inputs."""
        return [self._finished[index] for index in sorted(self._finished)]

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.STARTED, lambda started: self.begin(started.state.epoch_length))
        engine.add_event_handler(Events.COMPLETED, lambda _: self.finish())
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda _, error: self.abort(error))

    def begin(self, total: int) -> None:
        """Clear what a killed run left in the folder, start the stages."""
        self._shared = SharedFolder(self.folder)
        self._total, self._progress = total, CaseProgress(total)
        begun(self.folder, total=total, tables=self.tables)
        self._requests.listen()
        stages = [
            Stage("read", self._read_all, self.jobs),
            Stage("network", self._segment_all, 1),  # one model, called from one thread
            Stage("write", self._write_all, self.jobs),
        ]
        self._pipeline = Pipeline(stages, at_most=self.jobs, finished=self._record, check=self._check)

    def __call__(self, engine: Any, item: Mapping[str, Any]) -> dict[str, Any]:
        """Take in a case; waits while enough are in flight."""
        self._waiting.append(CaseWork(self._taken, item))
        self._taken += 1
        if len(self._waiting) == self.batch:
            self._send()
        return {}

    def finish(self) -> None:
        """Wait for the last case and write report.json."""
        if self._waiting:
            self._send()
        self._running.drain()
        self._running.stop(within_seconds=STOP_SECONDS)
        self._close()
        with writing_tables(self.folder):
            self.write_tables()

    def abort(self, error: BaseException) -> None:
        """End the run because of `error`, which is raised again; what is done is in report.json."""
        if self._stopped is None:
            self._stopped = told(error, self._requests)
            if self._pipeline is not None:
                self._pipeline.stop(within_seconds=STOP_SECONDS)
                self._close()
            remove_own_temporaries()
            self._report_what_is_done()
        raise error

    def write_tables(self) -> None:
        """What is written once at the end of a whole run."""
        write_report(self.report, self.folder)
        self.flagging.write([(w.id, w.judgement) for w in self.finished() if w.judgement is not None], self.folder)

    def read(self, work: CaseWork) -> None:
        """Stage 1: is the case done already? If not, load and preprocess it."""
        check_apart(self.folder, [Path(work.item[key]) for key in ("image", "label") if key in work.item])
        work.input_sha256 = input_sha256(Path(work.item["image"]))
        manifest = self._manifest(work) if self.resume else None
        if manifest is not None and self.take_over(work, manifest):
            renew_sources(self.folder / work.outputs["manifest"], manifest, self.sources(work))
            return
        work.read = self.segmenter.read(work.item)
        work.intensity = self.flagging.look(work.read)
        if self.save_probabilities:
            work.sinks["probabilities"] = ProbabilityFiles(
                work.id, folder=self.folder, labels=self.names, image=work.read.native
            )

    def take_over(self, work: CaseWork, manifest: Mapping[str, Any]) -> bool:
        """Make a case done with what an earlier run wrote."""
        work.outputs = {kind: one["file"] for kind, one in manifest["outputs"].items()}
        work.outputs["manifest"] = manifest_path(self.folder, work.id).name
        work.notes, work.resumed = tuple(manifest.get("notes", ())), True
        work.judgement, work.confidence = judgement_of(manifest), manifest.get("case_confidence", {})
        return True

    def write(self, work: CaseWork) -> None:
        """Stage 3: write a segmented case: mask, preview, what belongs to the task, and last its manifest."""
        result = work.segmentation
        assert result is not None
        more = self.write_more(work)
        prediction = Prediction(work.id, result.labels, self.names)
        work.outputs = write_prediction(
            prediction, result.image, self.folder, manifest=lambda: self.manifest(work), more=more
        )

    def write_more(self, work: CaseWork) -> dict[str, str]:
        """Files besides mask and preview: kind to name."""
        probabilities = work.sinks.get("probabilities")
        saved = {} if probabilities is None else probabilities.save()
        return {**saved, **self._write_formats(work)} if self.formats else saved

    def _write_formats(self, work: CaseWork) -> dict[str, str]:
        result = work.segmentation
        assert result is not None
        meaning = Meaning(self.codes, self.algorithm, measurements=self.measure(result.labels))
        image = replace(result.image, source=Path(work.item["image"]))  # FOLDER/#UID tells the series too
        prediction = Prediction(work.id, result.labels, self.names)
        return write_formats(prediction, image, self.folder, formats=self.formats, meaning=meaning)

    def manifest(self, work: CaseWork) -> dict[str, object]:
        """All that is known of how a case's mask was made, once the files are written."""
        result = work.segmentation
        assert result is not None
        seconds = {**work.seconds, "write": work.so_far("write")}
        return {
            **self.made_by,
            **{key: value for key, value in self.expected(work).items() if value is not None},
            **self.sources(work),
            "device": str(self.segmenter.device),
            "precision": precision_used(self.segmenter),
            "seconds": {stage: round(value, 6) for stage, value in seconds.items()},
            "peak_memory_bytes": peak_memory_bytes(self.segmenter.device),
            "confidence": confidence_table(result.confidence, self.names),
            "case_confidence": dict(work.confidence),
            **({} if work.judgement is None else work.judgement.to_json()),
            "notes": list(work.notes),
            "measurements": self.measure(result.labels),
        }

    def sources(self, work: CaseWork) -> dict[str, object]:
        """Where the image lies, seen from the output folder: the viewer and the report find it there."""
        return {"input": relative_path(Path(work.item["image"]), self.folder)}

    def expected(self, work: CaseWork) -> dict[str, object]:
        """What the manifest of a case must hold, or not (None), so that the case need not be done again."""
        return {
            "input_sha256": work.input_sha256,
            "weights_sha256": self.made_by["weights_sha256"],
            "settings_sha256": self.made_by["settings_sha256"],
            "flags_sha256": self.flagging.sha256,
        }

    def kinds(self) -> set[str]:
        """Outputs that a finished case has."""
        named = {f"probability_{value}" for value in self.names} if self.save_probabilities else set()
        return {"mask", "preview", *named, *self.formats}

    def measure(self, labels: Image) -> dict[str, float | None]:
        """All measurements of a label map by name."""
        return {name: value for each in self.measurements for name, value in each(labels).items()}

    @property
    def _running(self) -> Pipeline[Unit]:
        assert self._pipeline is not None
        return self._pipeline

    def _send(self) -> None:
        unit, self._waiting = self._waiting, Unit()
        self._running.put(unit)

    def _manifest(self, work: CaseWork) -> Mapping[str, Any] | None:
        path = manifest_path(self.folder, work.id)
        return valid_manifest(path, expected=self.expected(work), kinds=self.kinds())

    def _read_all(self, unit: Unit) -> None:
        for work in unit:
            work.begin()
            self.watch(work, "read")
            work.attempt("read", self.read)

    def _segment_all(self, unit: Unit) -> None:
        for group in batches(unit):
            self._segment(group)

    def _segment(self, group: Unit) -> None:
        """The network's part of a batch; if that fails, of each of its cases alone, so that only the bad one fails."""
        for work in group:
            self.watch(work, "network")
        cases = [work.read for work in group if work.read is not None]
        try:
            results = self.segmenter.segment(cases, sinks=tuple(group[0].sinks.values()))
        except Exception as error:  # noqa: BLE001 (one bad case must not stop ten thousand good ones)
            if len(group) == 1:
                group[0].fail(error)
                return
            for work in group:
                self._segment([work])
            return
        for work, result in zip(group, results, strict=True):
            work.take(result)

    def _write_all(self, unit: Unit) -> None:
        for work in unit:
            self.watch(work, "write")
            work.attempt("postprocess", self._postprocess)
            work.attempt("write", self.write)
            work.end()

    def _postprocess(self, work: CaseWork) -> None:
        before = work.segmentation
        assert before is not None
        work.segmentation = self.segmenter.finish(before)
        work.confidence = case_confidence(before.confidence)
        work.judgement = self.flagging.judge(before, work.segmentation, work.intensity)

    def _record(self, unit: Unit) -> None:
        for work in unit:
            self._finished[work.index] = work
            self._full = work if work.no_room else self._full
            logger.debug("case %s: %s", work.id, {stage: round(value, 3) for stage, value in work.seconds.items()})
            if work.reason is not None:
                work.reason += stale_mask(work.id, self.folder)
                logger.error("%s", f"case {work.id} failed: {work.reason}\n{work.trace}".rstrip())
            self._progress.count(failed=work.reason is not None, skipped=work.resumed)
            if len(self._finished) % TRIM_EVERY_CASES == 0:
                trim_heap()

    def _check(self) -> None:
        self._requests.check()
        if self._full is not None:  # every later case would cost its time and then fail in the same way
            raise RunError(
                f"nothing more can be written to {self.folder}",
                got=f"case {self._full.id}: {self._full.reason}",
                next_step="make room there, then give the same command again with --resume",
            )

    def _close(self) -> None:
        self._progress.close()
        self._requests.release()
        self._shared.close()

    def _report_what_is_done(self) -> None:
        report = self.report
        done = len(report.cases) - len(report.failed)
        told = f"{done} of {self._total} cases done"
        logger.warning("%s: %s; the same command with --resume does the rest", self._stopped, told)
        report_if_possible(report, self.folder)
