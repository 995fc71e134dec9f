"""SIGINT and SIGTERM as a request that a run looks at where it can stop cleanly."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

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
