"""SIGINT and SIGTERM: what a run looks at where it can stop cleanly, or what unwinds it where it is."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar, NoReturn

logger = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM
"""What a shell reports for a program that SIGTERM ended."""


class StopRequests:
    """Take the signals of this process while a run goes on.

    Handlers that raise would do so anywhere, also between a rename and its record. These only note the signal;
    `check` raises. A second signal finds the handlers that were there before, so nobody is locked in.
    """

    _late: ClassVar[signal.Signals | None] = None

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

    def end(self) -> None:
        """`release` behind work that is through: what it was asked for too late to heed is left to `heed_late`."""
        self.release()
        StopRequests._late = self.signal

    @classmethod
    def heed_late(cls) -> None:
        """Raise, as `check` does, what came too late for the work before: for who goes on with other work."""
        late, cls._late = cls._late, None
        _raise(late)

    def check(self) -> None:
        """Raise what the signal asks for.

        Raises
        ------
        KeyboardInterrupt
            After SIGINT.
        SystemExit
            After SIGTERM, with the code that a shell expects.
        """
        _raise(self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self.release()


def _raise(number: signal.Signals | None) -> None:
    if number is signal.SIGINT:
        raise KeyboardInterrupt
    if number is not None:
        raise SystemExit(TERMINATED)


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
