"""log.txt: all levels of our own code, nothing that could tell of a patient, and older logs kept."""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.cli.arguments import Parser
from medseg.cli.log import KEPT_LOGS, run_command
from medseg.errors import DataError, OutputError, RunError

SECRET = "SECRETNAME"


def arguments(folder: Path, handler: Callable[[argparse.Namespace], int]) -> argparse.Namespace:
    return argparse.Namespace(
        handler=handler,
        parser=Parser(prog="medseg predict"),
        run_log=True,
        output=folder,
        input=Path(SECRET),
        overrides=[f"input={SECRET}"],
        jobs=3,
        quiet=False,
    )


def logged(folder: Path, handler: Callable[[argparse.Namespace], int]) -> str:
    run_command(arguments(folder, handler))
    return (folder / "log.txt").read_text(encoding="utf-8")


def test_every_level_is_kept_from_the_start_though_the_folder_is_made_later(tmp_path: Path):
    def handler(given: argparse.Namespace) -> int:
        logging.getLogger("medseg.somewhere").debug("before the folder")
        given.output.mkdir()
        logging.getLogger("medseg.somewhere").debug("after it")
        return 1

    text = logged(tmp_path / "out", handler)
    told = ["medseg predict; medseg ", "jobs=3, input=...", "before the folder", "after it", "exit code 1"]
    assert [line.partition(": ")[2].startswith(start) for line, start in zip(text.splitlines(), told, strict=True)]
    assert text.index("before") < text.index("after")


def test_libraries_that_read_patient_files_are_not_logged_nor_are_values_of_flags(tmp_path: Path):
    def handler(given: argparse.Namespace) -> int:
        for name in ("pydicom", "pynetdicom.assoc", "PIL.PngImagePlugin", "nibabel.global", "urllib3.connectionpool"):
            logging.getLogger(name).critical("read %s", SECRET)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn_explicit(f"the value {SECRET} is odd", UserWarning, "/site-packages/pydicom/valuerep.py", 1)
            warnings.warn_explicit("a setting is old", UserWarning, "/site-packages/monai/utils/module.py", 1)
        return 0

    text = logged(tmp_path, handler)
    assert SECRET not in text
    assert "a setting is old" in text


def test_a_bug_is_told_by_its_place_and_a_refusal_by_its_message(tmp_path: Path):
    def bug(given: argparse.Namespace) -> int:
        raise ValueError(f"cannot parse {SECRET}")

    def refusal(given: argparse.Namespace) -> int:
        raise DataError("case 7: image and label differ")

    with pytest.raises(ValueError, match=SECRET):
        logged(tmp_path, bug)
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "stopped by ValueError:" in text
    assert "in bug" in text
    assert SECRET not in text.replace(f'raise ValueError(f"cannot parse {SECRET}")', "")
    with pytest.raises(DataError):
        logged(tmp_path, refusal)
    assert "refused: DataError: case 7: image and label differ" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_refusal_leaves_no_log_in_a_folder_of_others(tmp_path: Path):
    def refusal(given: argparse.Namespace) -> int:
        raise OutputError("a folder that holds inputs")

    def stop(given: argparse.Namespace) -> int:
        raise RunError("the disk is full")

    with pytest.raises(OutputError):
        run_command(arguments(tmp_path, refusal))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError):
        run_command(arguments(tmp_path, stop))
    assert "the disk is full" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_older_logs_are_kept_up_to_a_number(tmp_path: Path):
    for number in range(KEPT_LOGS + 3):
        logged(tmp_path, lambda given, number=number: logging.getLogger("medseg").debug("run %d", number) or 0)
    assert len(list(tmp_path.iterdir())) == KEPT_LOGS + 1
    newest = [tmp_path / "log.txt", tmp_path / "log.txt.1"]
    assert [f"run {KEPT_LOGS + 2 - i}" in path.read_text(encoding="utf-8") for i, path in enumerate(newest)] == [
        True
    ] * 2


def test_the_handlers_levels_and_warnings_are_as_they_were(tmp_path: Path):
    root, shown = logging.getLogger(), warnings.showwarning
    before = root.handlers[:], logging.getLogger("medseg").level, logging.getLogger("monai").level
    logged(tmp_path, lambda given: 0)
    assert (root.handlers, logging.getLogger("medseg").level, logging.getLogger("monai").level) == before
    assert warnings.showwarning is shown
