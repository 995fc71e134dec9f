"""What a run says: one line an epoch where no terminal is, one bar on a terminal, and nothing of the libraries."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.cli.log import set_up_logging
from medseg.workflows import train

WAITED = r"waiting for data: \d+\.\d % of the steps' time \(\d+\.\d of \d+\.\d s\)"


@pytest.fixture
def own_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("medseg")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_quietly(volumes: Path, folder: Path, tiny: dict[str, Any]) -> None:
    """Train two epochs with warnings shown as they are for users, where pytest would make them errors."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("default")
        train("mr_hippocampus", datalist=volumes, run_dir=folder, overrides={**tiny, "epochs": 2})


def test_without_a_terminal_a_run_says_one_line_an_epoch(
    volumes: Path, tmp_path: Path, tiny: dict[str, Any], own_logging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logging(quiet=False, debug=False)
    run_quietly(volumes, tmp_path / "run", tiny)
    *lines, last = stream.getvalue().splitlines()
    assert re.fullmatch(WAITED, last)
    pattern = r"epoch {}/2 loss \d\.\d{{4}} validation Dice 0\.\d{{4}} \(best 0\.\d{{4}} at \d\) \d+\.\d s"
    assert [bool(re.fullmatch(pattern.format(i + 1), line)) for i, line in enumerate(lines)] == [True, True], lines


def test_on_a_terminal_a_run_says_one_bar(
    volumes: Path, tmp_path: Path, tiny: dict[str, Any], own_logging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    set_up_logging(quiet=False, debug=False)
    run_quietly(volumes, tmp_path / "run", tiny)
    waited, last, rest = (line.rpartition("\r")[2] for line in terminal.getvalue().split("\n"))
    assert (bool(re.fullmatch(WAITED, waited)), rest) == (True, "")
    assert re.search(r"100%.* 4/4 .*dice=0\.\d{4}, epoch=2, loss=\d\.\d{4}", last), last


def test_the_log_of_the_libraries_is_there_for_who_asks(
    volumes: Path, tmp_path: Path, tiny: dict[str, Any], own_logging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logging(quiet=False, debug=True)
    run_quietly(volumes, tmp_path / "run", {**tiny, "epochs": 1})
    assert "Engine run finished" in stream.getvalue()
