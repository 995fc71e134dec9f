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
    resumed
        True for a case that an earlier run had done with the same input, weights and settings.
    notes
        What had to be done otherwise than asked ("out of memory on cuda:0 ...: went on with 1"), one sentence each.
    flags
        Why a person should look at it first, one sentence each; none for most cases.
    """

    id: str
    status: Status
    reason: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    resumed: bool = False
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The cases of a run, in the order of the inputs.

    Attributes
    ----------
    cases
        Those that were done or failed.
    stopped
        Why the run ended before its last case; None where it did not.
    not_done
        How many cases it did not come to.
    """

    cases: tuple[CaseReport, ...]
    stopped: str | None = None
    not_done: int = 0

    @property
    def failed(self) -> tuple[CaseReport, ...]:
        """The cases that failed."""
        return tuple(case for case in self.cases if case.status == "failed")

    @property
    def flagged(self) -> tuple[CaseReport, ...]:
        """The cases that a person should look at first."""
        return tuple(case for case in self.cases if case.flags)

    @property
    def exit_code(self) -> int:
        """0 when every case is done, 1 when at least one failed or was not come to."""
        return 1 if self.failed or self.stopped is not None else 0


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json (version of medseg, counts, cases) to an existing folder; the path of the file."""
    path = folder / "report.json"
    content = {
        "medseg_version": __version__,
        "done": len(report.cases) - len(report.failed),
        "failed": len(report.failed),
        "not_done": report.not_done,
        "stopped": report.stopped,
        "cases": [asdict(case) for case in report.cases],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
