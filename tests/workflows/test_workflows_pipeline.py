"""Stages that overlap: what runs at once, how much is in flight, and that a thread that dies is noticed."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from medseg.errors import RunError
from medseg.workflows.pipeline import Pipeline, Stage

NAMES = ("read", "network", "write")
LONG_S = 10.0
"""No step of these tests takes as long: who waits for it in vain fails."""


@dataclass
class Recorder:
    """Stages that write down what happens; `during` is called inside a stage with its name and the unit."""

    during: Callable[[str, int], None] = lambda stage, unit: None
    events: list[tuple[str, str, int]] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    def pipeline(self, *, at_most: int, check: Callable[[], None] = lambda: None) -> Pipeline[int]:
        threads = {"read": at_most, "network": 1, "write": at_most}
        stages = [Stage(name, self._work(name), threads[name]) for name in NAMES]
        return Pipeline(stages, at_most=at_most, finished=self.finished.append, check=check)

    def run(self, units: int, *, at_most: int) -> None:
        pipeline = self.pipeline(at_most=at_most)
        try:
            for unit in range(units):
                pipeline.put(unit)
            pipeline.drain()
        finally:
            pipeline.stop(within_seconds=0.5)

    def _work(self, name: str) -> Callable[[int], None]:
        def work(unit: int) -> None:
            self.events.append((name, "begins", unit))
            self.during(name, unit)
            self.events.append((name, "ends", unit))

        return work


def test_one_unit_in_flight_goes_through_all_stages_before_the_next_begins() -> None:
    recorder = Recorder()
    recorder.run(3, at_most=1)
    expected = [(name, what, unit) for unit in range(3) for name in NAMES for what in ("begins", "ends")]
    assert recorder.events == expected
    assert recorder.finished == [0, 1, 2]


def test_with_two_in_flight_the_next_is_read_while_the_network_works() -> None:
    next_is_read = threading.Event()

    def during(stage: str, unit: int) -> None:
        if (stage, unit) == ("read", 1):
            next_is_read.set()
        if (stage, unit) == ("network", 0):
            assert next_is_read.wait(LONG_S)

    recorder = Recorder(during)
    recorder.run(2, at_most=2)
    assert sorted(recorder.finished) == [0, 1]


def test_with_three_in_flight_all_three_stages_work_at_once() -> None:
    together = threading.Barrier(3, timeout=LONG_S)
    ahead = {0: threading.Event(), 1: threading.Event()}

    def during(stage: str, unit: int) -> None:
        if stage == "network" and unit in ahead:
            ahead[unit].set()
        if stage == "read" and unit > 0:  # readers may overtake each other: here they must not
            assert ahead[unit - 1].wait(LONG_S)
        if (stage, unit) in (("read", 2), ("network", 1), ("write", 0)):
            together.wait()

    recorder = Recorder(during)
    recorder.run(3, at_most=3)
    assert sorted(recorder.finished) == [0, 1, 2]


@pytest.mark.parametrize("at_most", [1, 2, 3])
def test_never_more_are_in_flight_than_allowed_and_the_network_has_one(at_most: int) -> None:
    lock, inside, most, in_network = threading.Lock(), set[int](), [0], [0]

    def during(stage: str, unit: int) -> None:
        with lock:
            if stage == "read":
                inside.add(unit)
            if stage == "network":
                in_network[0] += 1
            most[0] = max(most[0], len(inside), in_network[0] * at_most)
        time.sleep(0.001)
        with lock:
            if stage == "network":
                in_network[0] -= 1
            if stage == "write":
                inside.discard(unit)

    recorder = Recorder(during)
    recorder.run(20, at_most=at_most)
    assert most[0] == at_most
    assert sorted(recorder.finished) == list(range(20))


class Died(BaseException):
    """Nothing that a stage may catch."""


@pytest.mark.parametrize(
    "error", [SystemExit("gone"), Died("gone"), ZeroDivisionError("gone")], ids=["exit", "any", "bug"]
)
@pytest.mark.parametrize("stage", NAMES)
def test_a_stage_that_breaks_down_ends_the_run_by_name(stage: str, error: BaseException) -> None:
    def during(name: str, unit: int) -> None:
        if (name, unit) == (stage, 1):
            raise error

    recorder, started = Recorder(during), time.monotonic()
    with pytest.raises(RunError, match=rf"stage '{stage}', thread \d has died; got {type(error).__name__}: gone"):
        recorder.run(4, at_most=2)
    assert time.monotonic() - started < 5


def kill(thread: threading.Thread) -> None:
    """As near to kill -9 as a thread of Python's can come: SystemExit wherever it is."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


@pytest.mark.parametrize("stage", NAMES)
def test_a_thread_that_is_killed_at_work_ends_the_run_within_5_s(stage: str) -> None:
    def during(name: str, unit: int) -> None:
        if (name, unit) == (stage, 1):
            kill(threading.current_thread())
            time.sleep(0.01)  # the exception comes at the next instruction
            threading.Event().wait(LONG_S)

    recorder, started = Recorder(during), time.monotonic()
    with pytest.raises(RunError, match=f"stage '{stage}'"):
        recorder.run(4, at_most=2)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("stage", NAMES)
def test_a_thread_that_is_killed_while_it_waits_ends_the_run_within_5_s(stage: str) -> None:
    others = set(threading.enumerate())
    pipeline, started = Recorder().pipeline(at_most=1), time.monotonic()
    ours = set(threading.enumerate()) - others
    kill(next(thread for thread in ours if thread.name.startswith(f"stage {stage!r}")))
    with pytest.raises(RunError, match=f"stage '{stage}'"):
        put_and_drain(pipeline)
    pipeline.stop(within_seconds=1)
    assert time.monotonic() - started < 5


def put_and_drain(pipeline: Pipeline[int]) -> None:
    pipeline.put(0)
    pipeline.drain()


def test_a_stage_that_hangs_does_not_keep_a_stop_request_waiting() -> None:
    released, hangs = threading.Event(), threading.Event()

    def during(stage: str, unit: int) -> None:
        if stage == "read":
            hangs.set()
            released.wait(LONG_S)

    def check() -> None:
        if hangs.is_set():
            raise KeyboardInterrupt

    pipeline, started = Recorder(during).pipeline(at_most=2, check=check), time.monotonic()
    pipeline.put(0)
    with pytest.raises(KeyboardInterrupt):
        pipeline.drain()
    assert not pipeline.stop(within_seconds=0.5)
    assert time.monotonic() - started < 5
    released.set()


def test_work_at_hand_is_finished_after_a_stop_and_nothing_new_begun() -> None:
    writing, go_on = threading.Event(), threading.Event()

    def during(stage: str, unit: int) -> None:
        if stage == "write":
            writing.set()
            go_on.wait(LONG_S)

    recorder = Recorder(during)
    pipeline = recorder.pipeline(at_most=1)
    pipeline.put(0)
    assert writing.wait(LONG_S)
    go_on.set()
    assert pipeline.stop(within_seconds=LONG_S)
    assert recorder.finished == [0]
