"""A run in legs: where a machine is lent for minutes, each leg ends behind an epoch and the next one goes on there."""

from __future__ import annotations

import time
from typing import Any

from ignite.engine import Events

from medseg.training.distributed import first_decides


class LegOver(SystemExit):
    """The time of a leg is over: the process ends well, with exit code 0."""

    def __init__(self, minutes: float) -> None:
        super().__init__(0)
        self.minutes = minutes

    def __str__(self) -> str:
        return f"{self.minutes:g} minutes are over, the run is not finished"


class StopAfter:
    """Stop a run behind an epoch, before its minutes are over: the next epoch is not begun if it may not end in time.

    It counts as long as the longest one so far. The clock starts when the configuration is built, so reading the cases
    counts; starting Python, which takes some seconds, does not. The first epoch of a leg is always run to its end. Of
    several processes the first one's clock counts. Attach it behind the checkpoints, and behind `EarlyStop`: a run
    that is through is not one that was stopped.

    Parameters
    ----------
    minutes
        How long the leg may take; None for a run without a limit.
    """

    def __init__(self, *, minutes: float | None) -> None:
        self.minutes = minutes
        self._began = self._epoch_began = time.monotonic()
        self._longest_seconds = 0.0

    def attach(self, engine: Any) -> None:
        if self.minutes is None:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def _begin(self, _: Any) -> None:
        self._epoch_began = time.monotonic()

    def _end(self, engine: Any) -> None:
        now = time.monotonic()
        self._longest_seconds = max(self._longest_seconds, now - self._epoch_began)
        if engine.should_terminate or engine.state.epoch >= engine.state.max_epochs or self.minutes is None:
            return
        if first_decides(now - self._began + self._longest_seconds > 60 * self.minutes):
            raise LegOver(self.minutes)
