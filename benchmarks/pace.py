"""The clock of a training that another process starts and stops: for all sides of training_speed.py.

The other process writes a line of JSON for each thing to do and reads a line that begins with @ for each answer:

- train: go on until enough seconds are spent in iterations; an iteration is from asking for a batch to the end of its
  step, so validation and checkpoints do not count;
- step: the step alone on the last batch; a thread that prepares batches has had time to fill its store, processes that
  do so stand still;
- profile: the same with torch.profiler.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import torch

WARM_STEPS = 2
SETTLE_S = 0.5


class Pace:
    """Tell it of each iteration: `asked`, `got`, `done`; it returns from `done` when there is something to do.

    Parameters
    ----------
    step
        One step on a batch.
    device
        Where the step runs.
    about
        What is answered when the first steps are done: the side in words and numbers.
    answers
        Where answers are written: see `only_answers`.
    """

    def __init__(
        self,
        step: Callable[[Any], object],
        *,
        device: torch.device,
        about: Mapping[str, object],
        answers: TextIO,
    ) -> None:
        self.step, self.device, self.about, self.answers = step, device, dict(about), answers
        self._batch: Any = None
        self._asked = self._limit_s = 0.0
        self._skip, self._ready = WARM_STEPS, False
        self._clear()

    def paced(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, each told of."""
        source = iter(batches)
        while True:
            self.asked()
            batch = next(source, None)
            if batch is None:
                return
            self.got(batch)
            yield batch
            self.done()

    def asked(self) -> None:
        """A batch is asked for."""
        self._asked = time.perf_counter()

    def got(self, batch: Any) -> None:
        """It is there."""
        self._batch, waited = batch, time.perf_counter() - self._asked
        self._waited += waited

    def done(self) -> None:
        """Its step is over; answers and takes the next order where the time is up."""
        if self._skip:
            self._skip -= 1
            if self._skip == 0:
                self._synchronize()
                self._clear()
                if not self._ready:
                    self._ready = True
                    self._orders(self.about)
            return
        self._spent += time.perf_counter() - self._asked
        self._steps += 1
        if self._spent >= self._limit_s:
            late = time.perf_counter()
            self._synchronize()
            self._spent += time.perf_counter() - late
            self._orders({"steps": self._steps, "seconds": self._spent, "waited": self._waited})

    def _clear(self) -> None:
        self._steps, self._spent, self._waited = 0, 0.0, 0.0

    def _orders(self, answer: Mapping[str, object]) -> None:
        """Answer, and do what is asked for until that is to train."""
        while True:
            self.answers.write("@" + json.dumps(answer) + "\n")
            self.answers.flush()
            line = sys.stdin.readline()
            if not line:
                os._exit(0)  # the other process is gone
            order = json.loads(line)
            if order["do"] == "train":
                self._skip, self._limit_s = 1, order["seconds"]
                return
            time.sleep(SETTLE_S)
            with others_paused():
                answer = self._alone(order["seconds"]) if order["do"] == "step" else self._profile(order["seconds"])

    def _alone(self, seconds: float) -> dict[str, object]:
        steps, spent = self._steps_for(seconds)
        return {"steps": steps, "seconds": spent}

    def _steps_for(self, seconds: float) -> tuple[int, float]:
        steps, started = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - started < seconds:
            self.step(self._batch)
            steps += 1
        self._synchronize()
        return steps, time.perf_counter() - started

    def _profile(self, seconds: float) -> dict[str, object]:
        from torch.profiler import ProfilerActivity, profile

        steps, _ = self._steps_for(seconds)
        kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])
        with profile(activities=kinds) as profiler:
            for _ in range(steps):
                self.step(self._batch)
            self._synchronize()
        field = "self_device_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
        # On a GPU kernels have rows of their own beside those of the operators that started them.
        found = [one for one in profiler.key_averages() if one.device_type == torch.autograd.DeviceType.CPU]
        rows = [(one.key, getattr(one, field) / steps / 1e3, one.count / steps) for one in found]
        return {"operators": [row for row in rows if row[1] > 0]}

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def only_answers() -> TextIO:
    """Standard output for answers alone: what anybody prints from now on goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


@contextmanager
def others_paused() -> Iterator[None]:
    """Worker processes of this one stand still."""
    children = multiprocessing.active_children()
    for child in children:
        os.kill(child.pid or 0, signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            os.kill(child.pid or 0, signal.SIGCONT)


def parameters_of(network: torch.nn.Module) -> int:
    """How many numbers are trained."""
    return sum(one.numel() for one in network.parameters() if one.requires_grad)
