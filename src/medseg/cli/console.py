"""What the user sees: exit codes, results, errors."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.processes import is_first, launched
from medseg.terminal import coloured

if TYPE_CHECKING:
    from medseg.outputs import Report

DONE = 0
SOME_FAILED = 1
WRONG_INPUT = 2
OUR_BUG = 70
"""EX_SOFTWARE of BSD's sysexits: no code that a wrong input or a failed case could give."""
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell reports for a program that SIGPIPE (13) ended: 128 + 13."""


FLAGS_SAID = 2
"""Reasons told of each flagged case on the console."""


def say(text: str) -> None:
    """One result for the user, on standard output."""
    sys.stdout.write(text + "\n")


def say_result(arguments: argparse.Namespace, text: str, values: object) -> None:
    """The result of a command on standard output; of several processes the first tells it.

    Parameters
    ----------
    arguments
        Those of the command: `json` and `quiet` count.
    text
        For people; not said with --quiet.
    values
        The same for machines: one JSON document in place of the text, with --json, also with --quiet.
    """
    if not is_first():
        return
    if arguments.json:
        say(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False, default=str))
    elif not arguments.quiet:
        say(text)


def complain(text: str) -> None:
    """One complaint on standard error, in red where that shows colours."""
    sys.stderr.write(f"medseg: {coloured(text, 'red', stream=sys.stderr)}\n")


def say_error(error: Exception, *, cause: BaseException | None) -> None:
    """One message on standard error, after the traceback of `cause` where one is given."""
    if cause is not None:
        traceback.print_exception(cause)
    number, count = launched()
    whose = f"process {number} of {count}: " if count > 1 else ""
    sys.stderr.write(f"medseg: {whose}{coloured('error:', 'red', stream=sys.stderr)} {error}\n")


def say_error_values(error: Exception, code: int) -> None:
    """What --json gives in place of a result."""
    say(json.dumps({"error": {"kind": type(error).__name__, "message": str(error), "exit_code": code}}, indent=2))


def say_report(arguments: argparse.Namespace, report: Report, *, scored: bool = False) -> int:
    """Name each failed case on standard error, tell where the results are; the exit code of the command.

    Parameters
    ----------
    arguments
        Those of the command; `output` is the folder of the results.
    report
        What became of each case.
    scored
        Tell the scores of each region too, from the folder's summary.json.
    """
    for case in report.failed:
        complain(f"case {case.id} failed: {case.reason}")
    done = len(report.cases) - len(report.failed)
    regions = _regions(arguments.output) if scored and done else {}
    lines = [f"{done} of {len(report.cases)} cases done; results in {arguments.output}", *_score_lines(regions)]
    lines += _flag_lines(report)
    values = _report_values(report, arguments.output) | ({"regions": regions} if scored else {})
    say_result(arguments, "\n".join(lines), values)
    return report.exit_code


def _report_values(report: Report, folder: Path) -> dict[str, Any]:
    return {
        "output": str(folder),
        "done": len(report.cases) - len(report.failed),
        "skipped": sum(case.resumed for case in report.cases),
        "failed": [{"id": case.id, "reason": case.reason} for case in report.failed],
        "flagged": [{"id": case.id, "flags": list(case.flags)} for case in report.flagged],
        "not_done": report.not_done,
    }


def _regions(folder: Path) -> dict[str, Any]:
    regions: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["regions"]
    return regions


def _flag_lines(report: Report) -> list[str]:
    """The cases to look at first, a line each with its first reasons."""
    if not report.flagged:
        return []
    lines = [f"{len(report.flagged)} flagged, to be looked at first (all reasons are in flags.csv):"]
    for case in report.flagged:
        more = len(case.flags) - FLAGS_SAID
        lines.append(f"  {case.id}: {'; '.join(case.flags[:FLAGS_SAID])}" + (f"; and {more} more" if more > 0 else ""))
    return lines


def _score_lines(regions: dict[str, Any]) -> list[str]:
    """One line a region: mean Dice and IoU with the interval of the Dice."""
    from medseg.evaluation.bootstrap import interval_text

    lines = []
    for name, region in regions.items():
        dice, iou = region["dice"], region["iou"]["mean"]
        interval = interval_text(dice["mean_ci95"])
        lines.append(f"{name}: Dice {dice['mean']:.4f} {interval}, IoU {iou:.4f}, n {dice['n']}")
    return lines
