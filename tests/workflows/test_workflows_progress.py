"""What a run over many cases says while it goes on."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from medseg.cli.log import ScreenHandler
from medseg.workflows.progress import CaseProgress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (2.0, "3 of 8 cases done, 1 failed; 2.0 cases/s, 2 s left"),
        (8.0, "3 of 8 cases done, 1 failed; 2.0 s a case, 8 s left"),
        (0.0, "3 of 8 cases done, 1 failed"),
    ],
)
def test_the_line_tells_cases_rate_and_time_left(seconds: float, line: str) -> None:
    clock = Clock()
    progress = CaseProgress(8, clock=clock)
    clock.now += seconds
    for failed in (False, True, False, False):
        progress.count(failed=failed, skipped=False)
    assert progress.line() == line


def test_cases_that_were_done_before_say_nothing_of_the_speed() -> None:
    clock = Clock()
    progress = CaseProgress(12, clock=clock)
    for _ in range(8):
        progress.count(failed=False, skipped=True)
    assert progress.line() == "8 of 12 cases done, 0 failed"
    clock.now += 3
    progress.count(failed=False, skipped=False)
    assert progress.line() == "9 of 12 cases done, 0 failed; 3.0 s a case, 9 s left"


def test_lines_come_now_and_then_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO, "medseg"):
        progress = CaseProgress(40, clock=clock)
        for _ in range(40):
            clock.now += 1
            progress.count(failed=False, skipped=False)
    assert [message.split()[0] for message in caplog.messages] == ["10", "20", "30", "40"]


def test_a_terminal_gets_one_bar_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, "medseg"):
        progress = CaseProgress(3)
        for failed in (False, True, False):
            progress.count(failed=failed, skipped=False)
        progress.close()
    assert caplog.messages == []
    assert terminal.getvalue().count("\n") == 1
    last = terminal.getvalue().rstrip().rpartition("\r")[2]
    assert "3/3" in last
    assert "failed=1" in last


def test_an_error_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ours = logging.getLogger("medseg.workflows.cases")
    handler = ScreenHandler(terminal)
    ours.addHandler(handler)
    monkeypatch.setattr(ours, "level", logging.INFO)
    try:
        progress = CaseProgress(2)
        progress.count(failed=False, skipped=False)
        ours.error("case b failed: truncated")
        progress.count(failed=True, skipped=False)
        progress.close()
    finally:
        ours.removeHandler(handler)
    lines = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")]
    assert lines[0] == "case b failed: truncated"


def test_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.WARNING, "medseg"):
        progress = CaseProgress(1)
        progress.count(failed=False, skipped=False)
        progress.close()
    assert (caplog.messages, terminal.getvalue()) == ([], "")
