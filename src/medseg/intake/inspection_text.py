"""An inspection as a table for people and as plain values for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.intake.inspection import Entry

_HEADS = ("image", "kind", "modality", "series", "description", "slices", "size", "spacing mm", "axes", "encoding")
_LONGEST = 40


def as_table(entries: Sequence[Entry], *, root: Path) -> str:
    """One line an entry, by study, then each finding with its severity and the command that repairs it."""
    lines = []
    for study in dict.fromkeys(entry.study_uid for entry in entries):
        of_study = [entry for entry in entries if entry.study_uid == study]
        lines.append(f"study {study}" if study else "not DICOM, or of no study")
        lines += _aligned([_HEADS, *(_cells(entry, root) for entry in of_study)])
        lines += [line for entry in of_study for line in _finding_lines(entry, root)]
        lines.append("")
    return "\n".join([*lines, summary(entries)])


def as_values(entries: Sequence[Entry], *, root: Path) -> dict[str, Any]:
    """{"path", "errors", "warnings", "studies": [{"study_uid", "series"}], "images"}: what JSON can hold.

    `series` and `images` hold one object an entry, with the names of `Entry`; each finding has code, severity, message,
    next_step and repair (the whole command, or null).
    """
    studies = dict.fromkeys(entry.study_uid for entry in entries if entry.study_uid)
    return {
        "path": str(root),
        "errors": _count(entries, "error"),
        "warnings": _count(entries, "warning"),
        "studies": [
            {"study_uid": study, "series": [_values(e) for e in entries if e.study_uid == study]} for study in studies
        ],
        "images": [_values(entry) for entry in entries if not entry.study_uid],
    }


def summary(entries: Sequence[Entry]) -> str:
    """How much was looked at and found, as one line."""
    bad = sum(entry.has_errors for entry in entries)
    return (
        f"{len(entries)} images and objects: {bad} refused ({_count(entries, 'error')} errors), "
        f"{_count(entries, 'warning')} warnings"
    )


def _count(entries: Sequence[Entry], severity: str) -> int:
    return sum(finding.severity == severity for entry in entries for finding in entry.findings)


def _values(entry: Entry) -> dict[str, Any]:
    values = {item.name: getattr(entry, item.name) for item in dataclasses.fields(entry) if item.name != "findings"}
    findings = [
        {
            "code": finding.code,
            "severity": finding.severity,
            "message": finding.message,
            "next_step": finding.next_step,
            "repair": finding.command(entry.path),
        }
        for finding in entry.findings
    ]
    return {**values, "path": str(entry.path), "findings": findings}


def _cells(entry: Entry, root: Path) -> tuple[str, ...]:
    return (
        _name(entry, root),
        entry.kind,
        entry.modality or "",
        entry.series_number or "",
        (entry.description or "")[:_LONGEST],
        "" if entry.slices is None else str(entry.slices),
        "x".join(map(str, entry.size or ())),
        "x".join(f"{mm:.4g}" for mm in entry.spacing_mm or ()),
        entry.orientation or "",
        (entry.transfer_syntax or "")[:_LONGEST],
    )


def _finding_lines(entry: Entry, root: Path) -> list[str]:
    lines = []
    for finding in entry.findings:
        lines.append(f"  {finding.severity}: {_name(entry, root)}: {finding.message}")
        steps = [step for step in (finding.next_step, finding.command(entry.path)) if step]
        lines += [f"    -> {step}" for step in steps]
    return lines


def _name(entry: Entry, root: Path) -> str:
    return (
        str(entry.path.relative_to(root)) if entry.path != root and entry.path.is_relative_to(root) else entry.path.name
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of equally wide columns; columns that are empty in all rows but the head are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
