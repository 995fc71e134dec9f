"""Commands at once: how many, what becomes of a signal, who is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.workflows.side_by_side import run_side_by_side

PATIENCE_S = 60.0
STOPPABLE = """
import pathlib, signal, sys, time
file = pathlib.Path(sys.argv[1])
def stop(number, frame):
    with file.open("a") as log:
        log.write(f"heard {number} ")
    time.sleep(0.5)
    with file.open("a") as log:
        log.write("checkpoint")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
file.write_text("")
time.sleep(60)
"""
PARENT = """
import os, sys
from medseg.workflows.side_by_side import run_side_by_side
commands = {name: [sys.executable, "-c", sys.argv[1], name] for name in sys.argv[2:]}
print(run_side_by_side(commands, at_once=2, environment=os.environ))
"""


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(files: list[Path]) -> subprocess.Popen[bytes]:
    """Another process that has two of the commands running and the others waiting."""
    words = [sys.executable, "-c", PARENT, STOPPABLE, *map(str, files)]
    parent = subprocess.Popen(words, start_new_session=True)
    until(lambda: all(file.exists() for file in files[:2]))
    return parent


def test_exit_codes_are_by_name_and_no_more_run_at_once_than_asked_for(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, time; here = pathlib.Path(sys.argv[1]); (here / sys.argv[2]).touch(); "
        "time.sleep(0.2); alone = len(list(here.iterdir())) == 1; (here / sys.argv[2]).unlink(); "
        "sys.exit(int(sys.argv[2]) if alone and os.environ['MEDSEG_SIDE_BY_SIDE'] == '1' else 9)"
    )
    commands = {str(i): [sys.executable, "-c", code, str(tmp_path), str(i)] for i in range(3)}
    assert run_side_by_side(commands, at_once=1, environment=os.environ) == {"0": 0, "1": 1, "2": 2}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_to_the_whole_group_is_heard_once_and_waited_for(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    files = [tmp_path / name for name in "abc"]
    parent = started(files)
    os.killpg(parent.pid, number)
    assert parent.wait(PATIENCE_S) == code
    assert [file.read_text() for file in files[:2]] == [f"heard {int(number)} checkpoint"] * 2
    assert not files[2].exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a process outlives its parent elsewhere")
def test_a_killed_parent_leaves_nothing_running(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    parent = started(files)
    parent.kill()
    parent.wait(PATIENCE_S)
    until(lambda: all(file.read_text() == "heard 15 checkpoint" for file in files))
