"""What a stream can show, and what of it commands use."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from medseg.cli.log import ScreenFormatter, set_up_logging
from medseg.terminal import coloured, knows_colours, redraws, wants_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def own_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("medseg")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.mark.parametrize(
    ("stream", "variables", "bar", "colours"),
    [
        (Terminal, {"TERM": "xterm"}, True, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        (Terminal, {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        (Terminal, {"TERM": "dumb"}, False, False),
        (io.StringIO, {"TERM": "xterm"}, False, False),
    ],
    ids=["terminal", "no colour", "no colour, empty", "dumb", "pipe"],
)
def test_bars_and_colours_are_for_terminals_that_have_them(
    stream: type[io.StringIO], variables: dict[str, str], bar: bool, colours: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    shown = stream()
    assert (redraws(shown), knows_colours(shown)) == (bar, colours)
    assert coloured("x", "red", stream=shown) == ("\x1b[31mx\x1b[0m" if colours else "x")


@pytest.mark.parametrize(("quiet", "expected"), [(False, True), (True, False)], ids=["plain", "quiet"])
def test_quiet_draws_no_bar_even_while_a_log_takes_everything(
    quiet: bool, expected: bool, monkeypatch: pytest.MonkeyPatch, own_logging: None
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    set_up_logging(quiet=quiet, debug=False)
    logging.getLogger("medseg").setLevel(logging.DEBUG)
    assert wants_progress() is expected


@pytest.mark.parametrize(
    ("level", "shown"),
    [("INFO", "told"), ("WARNING", "\x1b[33mtold\x1b[0m"), ("ERROR", "\x1b[31mtold\x1b[0m")],
    ids=["info", "warning", "error"],
)
def test_warnings_and_errors_are_coloured(level: str, shown: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    record = logging.LogRecord("medseg.x", getattr(logging, level), "x.py", 1, "told", (), None)
    assert ScreenFormatter("%(message)s").format(record) == shown
