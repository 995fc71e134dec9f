"""What the check of a bundle's configuration finds, one thing at a time, and how it is told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import BundleError

Severity = Literal["error", "warning"]
"""An error refuses the run; a warning is shown."""

COMMAND_LINE = "command line"
_LONG = 160
"""From here on a list of what is expected is told only where nothing was probably meant."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd in a bundle's configuration.

    Attributes
    ----------
    code
        Names the kind of finding for programs: "unknown-argument".
    severity
        "error" or "warning".
    file
        Path of the file, or "command line" for what an override says.
    line
        From 1 on; None where there is none.
    what, got, expected
        As in `MedsegError`; `what` names the id of the configuration.
    hint
        What was probably meant: "did you mean epochs?".
    """

    code: str
    severity: Severity
    file: str
    line: int | None
    what: str
    got: str | None = None
    expected: str | None = None
    hint: str | None = None

    @property
    def place(self) -> str:
        """The file and its line, as editors and terminals understand it."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def text(self, folder: Path | None = None) -> str:
        """The finding in one line; paths are told from `folder` on where they lie in it."""
        place = self.place if folder is None else self.place.removeprefix(f"{folder}/")
        parts = [self.what]
        expected = None if self.hint and len(self.expected or "") > _LONG else self.expected
        parts += [f"{name} {value}" for name, value in (("got", self.got), ("expected", expected)) if value]
        return f"{place}: {self.severity}: {'; '.join([*parts, *([self.hint] if self.hint else [])])}"


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """A hint at the name that was probably meant, if one is close; what `name` is the last part of is not looked at."""
    close = closest(name, known, cutoff=cutoff)
    return None if close is None else f"did you mean {close}?"


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar of the `known` names, letters' case counting little; None where none is similar."""
    folded: dict[str, str] = {}
    for one in sorted(known):
        folded.setdefault(one.lower(), one)
    folded.pop("", None)
    match = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    found = folded[match[0]] if match else None
    return None if found == name else found


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that refuse a run."""
    return [finding for finding in findings if finding.severity == "error"]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, errors first, then by file and line."""
    return sorted(dict.fromkeys(findings), key=lambda f: (f.severity, f.file, f.line or 0, f.what))


def refuse(findings: Sequence[Finding], bundle: Path, *, also: str | None = None) -> None:
    """Raise a BundleError that lists all errors among `findings`, if there is one; `also` is told behind them."""
    wrong = errors(findings)
    if wrong:
        many = f"{len(wrong)} errors" if len(wrong) > 1 else "an error"
        lines = [finding.text(bundle) for finding in wrong]
        text = "\n  ".join([f"bundle {bundle.name}: {many} in its configuration:", *lines])
        raise BundleError(text if also is None else f"{text}\n{also}")
