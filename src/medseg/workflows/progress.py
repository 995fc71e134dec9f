"""How far a run over many cases has come: one bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from medseg.terminal import wants_progress

logger = logging.getLogger(__name__)

LINE_EVERY_SECONDS = 10.0


class CaseProgress:
    """Count finished cases and tell how many, how fast, and how long the rest will take.

    Parameters
    ----------
    total
        How many cases there are.
    clock
        Gives seconds; for tests.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        from tqdm import tqdm

        self.total, self.done, self.failed = total, 0, 0
        self._worked, self._clock, self._started, self._said = 0, clock, clock(), clock()
        self._bar: Any = tqdm(total=total, unit="case", disable=not wants_progress())

    def count(self, *, failed: bool, skipped: bool) -> None:
        """One case more is finished; a case skipped by --resume says nothing of the speed."""
        self.failed += failed
        self.done += not failed
        self._worked += not skipped
        if not self._bar.disable:
            self._bar.set_postfix(failed=self.failed, refresh=False)
            self._bar.update(1)
        elif self._due():
            self._said = self._clock()
            logger.info("%s", self.line())

    def line(self) -> str:
        """Such as "12 of 20 cases done, 1 failed; 0.8 cases/s, 9 s left"."""
        text = f"{self.done} of {self.total} cases done, {self.failed} failed"
        left, seconds = self.total - self.done - self.failed, self._clock() - self._started
        if self._worked == 0 or seconds <= 0:
            return text
        rate = self._worked / seconds
        speed = f"{rate:.1f} cases/s" if rate >= 1 else f"{1 / rate:.1f} s a case"
        return f"{text}; {speed}, {left / rate:.0f} s left"

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

    def _due(self) -> bool:
        finished = self.done + self.failed == self.total
        return finished or self._clock() - self._said >= LINE_EVERY_SECONDS
