"""Stages that overlap: each has threads of its own, units pass through them in order, few are in flight at once.

Threads and no processes: what the stages do (SimpleITK, torch, zlib, hashing) releases Python's lock, one loaded model
serves all, and nothing has to be copied. The thread that puts units in supervises: it waits in short steps, sees a
thread that has died and a request to stop within one of them, and never waits for a thread for longer than it says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from medseg.errors import RunError

logger = logging.getLogger(__name__)

T = TypeVar("T")

STEP_SECONDS = 0.2
"""How often the supervisor looks around while it waits."""


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One kind of work.

    Attributes
    ----------
    name
        What it is called in errors ("read").
    work
        Does the work on a unit, in place. It deals with the failures of single cases itself: whatever it raises ends
        the run.
    threads
        How many units may be in this stage at once.
    """

    name: str
    work: Callable[[T], None]
    threads: int


class Pipeline(Generic[T]):
    """Units of work through stages, at most `at_most` of them between the start of the first and the end of the last.

    Parameters
    ----------
    stages
        In the order in which a unit passes them.
    at_most
        Units in flight; `put` waits while there are as many.
    finished
        Called with each unit that has passed, in the supervising thread.
    check
        Called in the supervising thread at least every 0.2 s while it waits; what it raises ends the run.
    """

    def __init__(
        self,
        stages: Sequence[Stage[T]],
        *,
        at_most: int,
        finished: Callable[[T], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.stages, self.at_most, self._finished, self._check = tuple(stages), at_most, finished, check
        self._changed = threading.Condition()
        self._in_flight = 0
        self._passed: deque[T] = deque()
        self._broken: tuple[str, BaseException] | None = None
        self._stopping = threading.Event()
        self._queues: list[SimpleQueue[T | None]] = [SimpleQueue() for _ in self.stages]
        self._threads = [self._thread(i, n) for i, stage in enumerate(self.stages) for n in range(stage.threads)]
        for thread in self._threads:
            thread.start()

    def put(self, unit: T) -> None:
        """Send a unit on its way, once there is room for it.

        Raises
        ------
        RunError
            A stage broke down or one of its threads died.
        """
        self._wait(lambda: self._in_flight < self.at_most)
        with self._changed:
            self._in_flight += 1
        self._queues[0].put(unit)

    def drain(self) -> None:
        """Wait until nothing is in flight; raises what `put` does."""
        self._wait(lambda: self._in_flight == 0)

    def stop(self, *, within_seconds: float) -> bool:
        """Begin nothing more and wait for the work at hand, no longer than `within_seconds`; True if all has ended.

        What was finished meanwhile is handed to `finished`.
        """
        self._stopping.set()
        for queue, stage in zip(self._queues, self.stages, strict=True):
            for _ in range(stage.threads):
                queue.put(None)
        deadline = time.monotonic() + within_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._hand_over()
        return not any(thread.is_alive() for thread in self._threads)

    def _wait(self, ready: Callable[[], bool]) -> None:
        while True:
            self._hand_over()
            self._check()
            self._raise_if_broken()
            with self._changed:
                if self._passed or self._broken is not None:
                    continue
                if ready():
                    return
                self._changed.wait(STEP_SECONDS)

    def _hand_over(self) -> None:
        while True:
            with self._changed:
                if not self._passed:
                    return
                unit = self._passed.popleft()
            self._finished(unit)

    def _raise_if_broken(self) -> None:
        dead = next((thread.name for thread in self._threads if not thread.is_alive()), None)
        with self._changed:
            broken = self._broken
        if broken is None and dead is None:
            return
        name, error = broken if broken is not None else (str(dead), None)
        raise RunError(
            f"the run cannot go on: {name} has died",
            got=None if error is None else f"{type(error).__name__}: {error}",
            next_step="give the same command again with --resume",
        ) from error

    def _thread(self, index: int, number: int) -> threading.Thread:
        name = f"stage {self.stages[index].name!r}, thread {number + 1}"
        # Daemons: neither a thread that hangs in a library nor one that still computes may keep the process alive.
        return threading.Thread(target=self._serve, args=(index, name), name=name, daemon=True)

    def _serve(self, index: int, name: str) -> None:
        stage, queue = self.stages[index], self._queues[index]
        try:
            while (unit := queue.get()) is not None and not self._stopping.is_set():
                stage.work(unit)
                self._pass_on(unit, index)
        except BaseException as error:
            logger.debug("%s has died", name, exc_info=True)
            with self._changed:
                self._broken = self._broken or (name, error)
                self._changed.notify_all()

    def _pass_on(self, unit: T, index: int) -> None:
        if index + 1 < len(self.stages):
            self._queues[index + 1].put(unit)
            return
        with self._changed:
            self._in_flight -= 1
            self._passed.append(unit)
            self._changed.notify_all()
