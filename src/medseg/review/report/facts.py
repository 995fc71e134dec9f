"""What was run: bundle, data, hashes, versions, seed; of a training run and of the folders with results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeAlias

from medseg.review.report.folders import Bundle, Results, Run
from medseg.review.report.svg import number
from medseg.review.report.table import Cell, Column, Table, figure, text

Facts: TypeAlias = list[tuple[str, str]]
NOT_STATED = "not stated"


def of_run(run: Run) -> Facts:
    """A training run, from run.json and the files of its folder."""
    record, settings = run.record, run.record.get("settings", {})
    environment = record.get("environment", {})
    facts = [
        ("bundle", f"{settings.get('bundle', NOT_STATED)} {settings.get('version', '')}".strip()),
        ("data", _data(run)),
        ("datalist SHA-256", run.data_sha256),
        ("status", _status(record)),
        ("epochs", f"{record.get('epoch', '?')} of {record.get('epochs', '?')}"),
        (f"best validation {run.best_name}", "never validated" if run.best is None else _best(run.best, record)),
        ("training time", _duration(record.get("training_seconds"))),
    ]
    facts += [(name.replace("_", " "), str(settings[name])) for name in settings if name not in ("bundle", "version")]
    facts += [
        ("weights SHA-256 (models/model.pt)", run.bundle.weights_sha256 or "there are no weights"),
        ("medseg", str(environment.get("medseg", NOT_STATED))),
        (
            "versions",
            ", ".join(f"{k} {environment[k]}" for k in ("python", "torch", "monai", "numpy") if k in environment),
        ),
        ("machine", f"{environment.get('machine', NOT_STATED)}, {environment.get('threads', '?')} threads"),
        ("written", str(record.get("written", NOT_STATED))),
    ]
    return [(name, value or NOT_STATED) for name, value in facts]


def of_results(results: Results, known: Iterable[Bundle]) -> Facts:
    """An evaluation or predictions, from report.json and the manifests."""
    many = list(results.manifests.values())
    failed = [case for case in results.cases if case["status"] != "done"]
    facts = [
        ("cases", f"{len(results.done)} done, {len(failed)} failed{_left(results)}"),
        ("medseg", str(results.report.get("medseg_version", NOT_STATED))),
    ]
    if results.report.get("stopped"):
        facts.append(("stopped", str(results.report["stopped"])))
    if not many:
        return [*facts, ("bundle", "not known: the masks were only scored; how they were made is not recorded")]
    facts += [
        (
            "bundle",
            _one([f"{one['bundle'].get('name')} {one['bundle'].get('version')}" for one in many if "bundle" in one]),
        ),
        ("weights SHA-256", _one([str(one.get("weights_sha256")) for one in many])),
        ("weights are those of", _origin(many, known)),
        ("settings SHA-256", _one([str(one.get("settings_sha256", NOT_STATED)) for one in many])),
        ("device", _one([str(one.get("device", NOT_STATED)) for one in many])),
        ("precision", _one([str(one.get("precision", NOT_STATED)) for one in many])),
        ("time a case", _seconds([case["seconds"] for case in results.cases if case.get("seconds")])),
        ("peak memory", _memory(many)),
        ("seed", "none: nothing is drawn at random when a trained network is applied"),
    ]
    return facts


def hashes(results: Results) -> Table | None:
    """SHA-256 of each input and mask."""
    rows: list[Sequence[Cell]] = [
        [
            text(case),
            text(one.get("input_sha256", NOT_STATED)),
            text(one.get("outputs", {}).get("mask", {}).get("sha256", NOT_STATED)),
            figure(next((c.get("seconds") for c in results.cases if c["id"] == case), None)),
        ]
        for case, one in results.manifests.items()
    ]
    columns = [Column("Case"), Column("Input SHA-256"), Column("Mask SHA-256"), Column("Seconds", numeric=True)]
    return Table("Inputs and masks", columns, rows) if rows else None


def failures(results: Results) -> Table | None:
    """The cases that failed, with the reason; they count in no mean."""
    rows = [
        [text(case["id"]), text(case.get("reason") or NOT_STATED)] for case in results.cases if case["status"] != "done"
    ]
    return Table("Failed cases", [Column("Case"), Column("Reason")], rows, sortable=False) if rows else None


def _data(run: Run) -> str:
    counts = ", ".join(f"{part} {count}" for part, count in run.counts.items())
    return f"{run.data_name}: {counts}" if counts else ""


def _left(results: Results) -> str:
    left = results.report.get("not_done", 0)
    return f", {left} not come to" if left else ""


def _status(record: Mapping[str, Any]) -> str:
    reason = record.get("reason")
    return f"{record.get('status', NOT_STATED)}{f': {reason}' if reason else ''}"


def _best(best: float, record: Mapping[str, Any]) -> str:
    return f"{number(best)} at epoch {record.get('best_epoch', '?')}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NOT_STATED
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _one(values: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(values))
    if len(kinds) > 1:
        return f"{len(kinds)} different: {', '.join(kinds)}"
    return kinds[0] if kinds else NOT_STATED


def _origin(manifests: Sequence[Mapping[str, Any]], known: Iterable[Bundle]) -> str:
    used = {str(one.get("weights_sha256")) for one in manifests}
    owners = [bundle.folder.resolve().name for bundle in known if {bundle.weights_sha256} == used]
    return ", ".join(owners) if owners else "none of the folders of this report"


def _seconds(values: Sequence[float]) -> str:
    if not values:
        return NOT_STATED
    return f"median {number(median(values), 3)} s ({number(min(values), 3)} to {number(max(values), 3)} s)"


def _memory(manifests: Sequence[Mapping[str, Any]]) -> str:
    peaks: dict[str, int] = {}
    for one in manifests:
        for where, size in one.get("peak_memory_bytes", {}).items():
            peaks[where] = max(size, peaks.get(where, 0))
    return ", ".join(f"{where} {size / 1e9:.2f} GB" for where, size in peaks.items()) or NOT_STATED
