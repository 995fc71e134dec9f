"""What inspection lists and reading refuses, in one form, and the command that repairs it."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import GeometryError

logger = logging.getLogger(__name__)
_told: set[tuple[Path, str]] = set()

Severity = Literal["error", "warning", "note"]
"""An error is refused when the image is read; a warning is logged; a note says what was done."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd about an image, free of patient data and of its path.

    Attributes
    ----------
    code
        Names the kind of finding for programs: "missing-slices".
    severity
        "error", "warning" or "note".
    what, got, expected, next_step
        As in `MedsegError`.
    repair
        The arguments of `medseg data fix PATH -o OUT` that repair it safely; None where nothing does.
    """

    code: str
    severity: Severity
    what: str
    got: str | None = None
    expected: str | None = None
    next_step: str | None = None
    repair: str | None = None

    @property
    def message(self) -> str:
        """What, got and expected as one text."""
        parts = [self.what]
        parts += [f"{name} {value}" for name, value in (("got", self.got), ("expected", self.expected)) if value]
        return "; ".join(parts)

    def command(self, source: Path) -> str | None:
        """The whole command that repairs `source`, or None."""
        return None if self.repair is None else fix_command(source, self.repair)

    def error(self, source: Path, *, case: str = "") -> GeometryError:
        """The refusal of `source` for this reason; `case` stands in front where it is known."""
        steps = [step for step in (self.next_step, self.command(source)) if step]
        what = f"{case}{source}: {self.what}"
        return GeometryError(what, got=self.got, expected=self.expected, next_step=": ".join(steps) or None)


def doubts(findings: list[Finding], source: Path) -> tuple[str, ...]:
    """The warnings among `findings` in words, logged once for each source; notes are logged for debugging."""
    words = []
    for finding in findings:
        text = "; ".join(part for part in (finding.message, finding.next_step) if part)
        if finding.severity == "warning":
            words.append(text)
        if (source, finding.code) not in _told:
            _told.add((source, finding.code))
            logger.log(logging.WARNING if finding.severity == "warning" else logging.DEBUG, "%s: %s", source, text)
    return tuple(words)


def fix_command(source: Path, arguments: str) -> str:
    """`medseg data fix` as it is typed in a shell."""
    return f"medseg data fix {shlex.quote(str(source))} -o fixed.nii.gz {arguments}"


def refuse(findings: list[Finding], source: Path, *, allowed: frozenset[str] = frozenset()) -> None:
    """Raise the first error among `findings` whose code is not `allowed`."""
    for finding in findings:
        if finding.severity == "error" and finding.code not in allowed:
            raise finding.error(source)
