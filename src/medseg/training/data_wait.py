"""How much of the training's time goes into waiting for data."""

from __future__ import annotations

import logging
import time
from typing import Any

from ignite.engine import Events

from medseg.processes import is_first
from medseg.training.failures import on_exception

logger = logging.getLogger(__name__)

MOST = 0.05
"""The share of the steps' time above which the run says what to do."""

LEAST_SECONDS = 10.0
"""A run that has waited less than this altogether needs no advice."""


class DataWait:
    """Handler of the trainer that measures what share of the steps' time is spent waiting for the next batch.

    A step is from asking for a batch to the end of what is done with it; validation and checkpoints are not counted.
    Behind each epoch its share stands in `engine.state.data_wait`, from where `History` and `Board` take it. However
    the process's part of the run ends, it tells the share of that part, and above 5 % what to do. Attach it before
    those two.
    """

    def __init__(self) -> None:
        self._workers = 0
        self._told = False
        self._asked = 0.0
        self._waited = self._spent = 0.0
        self._waited_before = self._spent_before = 0.0

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._got)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._done)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED, self._tell)
        on_exception(engine, self._tell)

    def _start(self, engine: Any) -> None:
        self._workers = getattr(engine.state.dataloader, "num_workers", 0)  # a resumed epoch has a loader of its own

    def _begin(self, engine: Any) -> None:
        self._waited_before, self._spent_before = self._waited, self._spent

    def _ask(self, engine: Any) -> None:
        self._asked = time.perf_counter()

    def _got(self, engine: Any) -> None:
        self._waited += time.perf_counter() - self._asked

    def _done(self, engine: Any) -> None:
        self._spent += time.perf_counter() - self._asked

    def _epoch(self, engine: Any) -> None:
        spent = self._spent - self._spent_before
        engine.state.data_wait = (self._waited - self._waited_before) / spent if spent > 0 else 0.0

    def _tell(self, engine: Any, *_: BaseException) -> None:
        if self._spent == 0 or self._told or not is_first():
            return
        self._told = True  # ignite reports an exception twice: of the step's loop and of the run
        share = self._waited / self._spent
        text, numbers = "waiting for data: %.1f %% of the steps' time (%.1f of %.1f s)", (self._waited, self._spent)
        if share > MOST and self._waited > LEAST_SECONDS:
            logger.warning(text + "; %s", 100 * share, *numbers, self._advice(engine))
        else:
            logger.info(text, 100 * share, *numbers)

    def _advice(self, engine: Any) -> str:
        more = (
            f"more workers (workers={2 * self._workers} instead of {self._workers})" if self._workers else "workers=2"
        )
        device = getattr(engine.state, "device", None)
        if device is None or device.type != "cuda":
            return f"{more} would help where there are cores for them"
        return f"{more}, or augmentation on the GPU (--overlay gpu_augmentation, where the bundle has it), would help"
