"""What became of each case of a run: report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from medseg import __version__
from medseg.files import atomic_write

Status: TypeAlias = Literal["done", "failed"]


@dataclass(frozen=True)
class CaseReport:
    """What became of one case.

    Attributes
    ----------
    id
        The case's id.
    status
        "done" or "failed".
    reason
        Why it failed, in one sentence; None if it is done.
    outputs
        Kind ("mask", "preview", ...) to file name in the output folder.
    seconds
        Wall-clock time it took, where it was measured.
    """

    id: str
    status: Status
    reason: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True)
class Report:
    """All cases of a run, in the order in which they were worked on."""

    cases: tuple[CaseReport, ...]

    @property
    def failed(self) -> tuple[CaseReport, ...]:
        """The cases that failed."""
        return tuple(case for case in self.cases if case.status == "failed")

    @property
    def exit_code(self) -> int:
        """0 when every case is done, 1 when at least one failed."""
        return 1 if self.failed else 0


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json (version of medseg, counts, cases) to an existing folder; the path of the file."""
    path = folder / "report.json"
    content = {
        "medseg_version": __version__,
        "done": len(report.cases) - len(report.failed),
        "failed": len(report.failed),
        "cases": [asdict(case) for case in report.cases],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
