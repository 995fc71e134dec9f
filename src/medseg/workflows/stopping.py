"""A run over many cases that ends early: why, and what its folder then tells."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import RunError
from medseg.intake.own_outputs import manifest_path
from medseg.outputs import Report, write_report
from medseg.signals import StopRequests

logger = logging.getLogger(__name__)

UNDER_WAY = "it is under way, or was killed; the same command with --resume does the rest"
"""What report.json says from the start of a run: a killed one must not leave the report of the run before."""


def begun(folder: Path, *, total: int, tables: Sequence[str]) -> None:
    """Say in a folder that a run over `total` cases is under way; tables of the run before go: masks are about to."""
    for name in tables:
        (folder / name).unlink(missing_ok=True)
    report_if_possible(Report((), stopped=UNDER_WAY, not_done=total), folder)


@contextmanager
def writing_tables(folder: Path) -> Iterator[None]:
    """What stops the tables of a whole run from being written, as a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the tables of the run cannot be written to {folder}",
            got=error.strerror or str(error),
            next_step="make room there, then give the same command again with --resume",
        ) from error


def told(error: BaseException, requests: StopRequests) -> str:
    """Why a run ended before its last case, for its report."""
    if requests.signal is not None:
        return f"stopped by {requests.signal.name}"
    return str(error) if isinstance(error, RunError) else f"stopped by {type(error).__name__}"


def report_if_possible(report: Report, folder: Path) -> None:
    """Write report.json; a folder that cannot be written to is warned of, as the run has other errors to tell."""
    try:
        write_report(report, folder)
    except OSError as error:
        logger.warning("report.json cannot be written: %s", error.strerror)


def stale_mask(case_id: str, folder: Path) -> str:
    """What is added to the reason of a case that failed where an earlier run left a mask of it; else nothing."""
    if not os.path.exists(manifest_path(folder, case_id)):  # noqa: PTH110 (false for what can be no file name)
        return ""
    return "; its mask in the output folder is of an earlier run, and may be of another image or other weights"
