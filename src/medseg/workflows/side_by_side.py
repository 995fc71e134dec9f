"""Commands that run at once on this machine, and hear what this process hears."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from medseg.processes import SIDE_BY_SIDE, begun_side_by_side
from medseg.signals import StopRequests

_LOOK_SECONDS = 0.1


def run_side_by_side(
    commands: Mapping[str, Sequence[str]], *, at_once: int, environment: Mapping[str, str]
) -> dict[str, int]:
    """Run commands and give their exit codes by name.

    SIGTERM and SIGINT are passed on, once, to those that run, and no other is begun: a training writes its checkpoint
    and ends. A second signal ends them where they are. So each hears a signal from here alone, a command has a session
    of its own; on Linux it hears SIGTERM, too, when this process is killed.

    Parameters
    ----------
    commands
        The words of each, by name, in the order in which they are begun.
    at_once
        How many of them.
    environment
        Theirs; with it each hears how many share the memory (`medseg.processes.memory_share_bytes`).

    Raises
    ------
    KeyboardInterrupt, SystemExit
        When all have ended, where SIGINT or SIGTERM (exit code 143) asked for it.
    """
    requests, waiting = StopRequests(), dict(commands)
    sharing = begun_side_by_side() * max(1, min(at_once, len(commands)))
    environment = {**environment, SIDE_BY_SIDE: str(sharing)}
    running: dict[str, subprocess.Popen[bytes]] = {}
    codes: dict[str, int] = {}
    told = False
    requests.listen()
    try:
        while running or (waiting and requests.signal is None):
            while requests.signal is None and waiting and len(running) < at_once:
                name = next(iter(waiting))
                running[name] = _begin(waiting.pop(name), environment)
            if requests.signal is not None and not told:
                told = True
                _tell(running, requests.signal)
            time.sleep(_LOOK_SECONDS)
            ended = {name: code for name, one in running.items() if (code := one.poll()) is not None}
            codes |= ended
            running = {name: one for name, one in running.items() if name not in ended}
    finally:
        requests.release()
        _tell(running, signal.SIGTERM)
    requests.check()
    return codes


def _begin(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    prepare = _ends_with(os.getpid()) if sys.platform == "linux" else None
    return subprocess.Popen(words, env=environment, start_new_session=True, preexec_fn=prepare)


def _ends_with(parent: int) -> Callable[[], None]:
    """What a process does before it becomes the command: it asks to be ended with its parent."""
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return prepare


def _tell(running: Mapping[str, subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for one in running.values():
        one.send_signal(number)
