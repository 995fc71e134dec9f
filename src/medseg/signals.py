"""SIGINT and SIGTERM: what a run looks at where it can stop cleanly, or what unwinds it where it is."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM
"""What a shell reports for a program that SIGTERM ended."""


class StopRequests:
    """Take the signals of this process while a run goes on.

    Handlers that raise would do so anywhere, also between a rename and its record. These only note the signal;
    `check` raises. A second signal finds the handlers that were there before, so nobody is locked in.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Begin; without effect outside the main thread, where Python allows no handlers."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)

    def release(self) -> None:
        """Put back the handlers that were there before."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise what the signal asks for.

        Raises
        ------
        KeyboardInterrupt
            After SIGINT.
        SystemExit
            After SIGTERM, with the code that a shell expects.
        """
        if self.signal is signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(TERMINATED)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self.release()


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit, so that nothing half made stays behind; without effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _unwind(number: int, frame: FrameType | None) -> NoReturn:
    logger.warning("stopped by SIGTERM")
    raise SystemExit(TERMINATED)
