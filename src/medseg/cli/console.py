"""What the user sees: exit codes, messages, the log."""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.outputs import Report

DONE = 0
SOME_FAILED = 1
WRONG_INPUT = 2
OUR_BUG = 70
"""EX_SOFTWARE of BSD's sysexits: no code that a wrong input or a failed case could give."""
INTERRUPTED = 130
TERMINATED = 143
"""What a shell reports for a program that SIGTERM (15) ended: 128 + 15."""
PIPE_CLOSED = 141
"""What a shell reports for a program that SIGPIPE (13) ended: 128 + 13."""


def say(text: str) -> None:
    """One result for the user, on standard output."""
    sys.stdout.write(text + "\n")


def say_error(error: Exception, *, cause: BaseException | None) -> None:
    """One message on standard error, after the traceback of `cause` where one is given."""
    if cause is not None:
        traceback.print_exception(cause)
    sys.stderr.write(f"medseg: error: {error}\n")


def say_report(report: Report, *, folder: object, quiet: bool) -> int:
    """Name each failed case on standard error, tell where the results are; the exit code of the command."""
    for case in report.failed:
        sys.stderr.write(f"medseg: case {case.id} failed: {case.reason}\n")
    if not quiet:
        say(f"{len(report.cases) - len(report.failed)} of {len(report.cases)} cases done; results in {folder}")
    return report.exit_code


def say_scores(folder: Path) -> None:
    """One line a region from the summary.json in `folder`: mean Dice and IoU with the interval of the Dice."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for name, region in summary["regions"].items():
        dice, (low, high) = region["dice"], region["dice"]["mean_ci95"]
        say(f"{name}: Dice {dice['mean']:.4f} [{low:.4f}, {high:.4f}], IoU {region['iou']['mean']:.4f}, n {dice['n']}")


def set_up_logging(*, quiet: bool, debug: bool) -> None:
    """Log to standard error: ours from INFO (WARNING if quiet, DEBUG if asked), others' from WARNING (INFO)."""
    ours = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else "%(message)s")
    )
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("medseg").setLevel(ours)
    if not debug:
        _silence_what_does_not_concern()


def _silence_what_does_not_concern() -> None:
    """MONAI says at import, twice, that a DICOM decoder for GPUs is missing: our reader never uses that one."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader", category=UserWarning)
