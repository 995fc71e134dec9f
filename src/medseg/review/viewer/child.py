"""The viewer's side of the child process that holds the networks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

WORKER = ("-m", "medseg.review.viewer.worker")


class ChildDiedError(RuntimeError):
    """The process has ended while it was to answer; the argument is its exit code."""


class Child:
    """A process that is started when it is needed and can be killed at any time, whatever it is at.

    Parameters
    ----------
    command
        What is run, after the interpreter: `WORKER` and the viewer's folder.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process, if it does not run."""
        self._running()

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request whose answers nobody waits for."""
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()

    def ask(self, request: Mapping[str, Any], *, told: Callable[[Mapping[str, Any]], bool]) -> None:
        """Send a request and hand each answer to `told`, until that returns True.

        Raises
        ------
        ChildDiedError
            The process ended before.
        """
        process = self._running()
        try:
            self.send(request)
        except OSError as error:
            raise ChildDiedError(process.wait()) from error
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n") and told(json.loads(line)):  # a killed process may leave half a line
                return
        raise ChildDiedError(process.wait())

    def kill(self) -> None:
        """End the process at once; whoever waits for its answers is told so."""
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def release(self) -> None:
        """Kill the process and close the pipes to it, once nobody waits for its answers any more."""
        self.kill()
        with self._lock:
            if self._process is not None:
                _close(self._process)
                self._process = None

    def _running(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                _close(self._process)
                self._process = None
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, *self._command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is the viewer's to answer
                )
            return self._process


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # a request that was never read
                continue
