"""One case on its way through the stages, and what it leaves for the report."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medseg.case import Image
from medseg.errors import BundleError, OutputError, user_error
from medseg.evaluation.flag_record import Judgement
from medseg.inference import ReadCase, Segmentation
from medseg.inference.memory import is_out_of_memory
from medseg.outputs import CaseReport

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_NO_FOLDER = frozenset({errno.EACCES, errno.ENOENT})
"""Of the output folder where a result cannot be written; of an input they are the case's own."""


@dataclass
class CaseWork:
    """What is known of a case so far; each stage adds to it, and a failed or resumed case passes the rest untouched.

    Attributes
    ----------
    index, item
        Its place among the inputs, and its entry of the data set ("id", "image", for evaluation "label").
    input_sha256, truth, truth_sha256
        Of the read stage; the truth ``(X, Y[, Z])`` where the case is to be scored.
    read, segmentation
        What one stage hands to the next; freed when no longer needed.
    sinks
        Take logits on the native grid while the case is in the network's stage, by name.
    intensity, confidence, judgement
        Of what the network was given; how sure it was of the case as a whole; which failure flags the case has.
    seconds
        Stage to wall-clock time.
    outputs, notes, reason, resumed
        For the report: see `CaseReport`.
    no_room
        It failed because nothing more can be written.
    trace
        Traceback of a failure that may be a bug of ours.
    """

    index: int
    item: Mapping[str, Any]
    input_sha256: str = ""
    truth: Image | None = None
    truth_sha256: str | None = None
    read: ReadCase | None = None
    segmentation: Segmentation | None = None
    sinks: dict[str, Any] = field(default_factory=dict)
    intensity: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, float | None] = field(default_factory=dict)
    judgement: Judgement | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reason: str | None = None
    no_room: bool = False
    trace: str = ""
    resumed: bool = False
    _clock: dict[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The case's id."""
        return str(self.item["id"])

    @property
    def open(self) -> bool:
        """True while there is work to do on it."""
        return self.reason is None and not self.resumed

    def begin(self) -> None:
        """It leaves the queue."""
        self._clock["case"] = time.perf_counter()

    def end(self) -> None:
        """It has passed the last stage."""
        self.seconds["case"] = self.so_far("case")
        self.release()

    def attempt(self, stage: str, work: Callable[[CaseWork], None]) -> None:
        """Do the work of a stage, if the case is open; what it raises fails this case alone."""
        if not self.open:
            return
        self._clock[stage] = time.perf_counter()
        try:
            work(self)
        except Exception as error:  # noqa: BLE001 (one bad case must not stop ten thousand good ones)
            self.fail(error)
        self.seconds[stage] = self.so_far(stage)

    def so_far(self, stage: str) -> float:
        """Seconds since a stage was begun; "case": since the case left the queue."""
        return time.perf_counter() - self._clock[stage]

    def take(self, result: Segmentation) -> None:
        """What the network's stage gave."""
        self.read, self.segmentation = None, result
        self.notes += (*result.image.doubts, *result.notes)
        self.seconds.update(result.seconds)

    def fail(self, error: Exception) -> None:
        """End the case with a reason."""
        known = user_error(error)
        number = _errno(error)
        self.no_room = number in _NO_ROOM or (number in _NO_FOLDER and isinstance(known, OutputError))
        self.reason = str(known).removeprefix(f"case {self.id}: ") if known is not None else _plain(error)
        # As text: a traceback that is kept would keep the voxels that its frames hold.
        self.trace = "" if known is not None else "".join(traceback.format_exception(error))
        self.release()

    def release(self) -> None:
        """Let go of voxels, and of what sinks keep on disk."""
        self.read = self.segmentation = self.truth = None
        for sink in self.sinks.values():
            sink.discard()
        self.sinks = {}

    def report(self) -> CaseReport:
        """What became of it."""
        return CaseReport(
            self.id,
            "done" if self.reason is None else "failed",
            reason=self.reason,
            outputs=dict(self.outputs),
            seconds=round(self.seconds.get("case", 0.0), 3),
            resumed=self.resumed,
            notes=self.notes,
            flags=() if self.judgement is None else tuple(flag.text for flag in self.judgement.flags),
        )


def batches(unit: Sequence[CaseWork]) -> Iterator[list[CaseWork]]:
    """The open cases of a unit, together where their inputs have one size; alone where their logits go to sinks."""
    together: dict[tuple[tuple[int, ...], int], list[CaseWork]] = {}
    for work in unit:
        if work.open:
            assert work.read is not None
            alone = work.index if work.sinks else -1
            together.setdefault((tuple(work.read.inputs.shape), alone), []).append(work)
    yield from together.values()


def at_least_one(name: str, value: int) -> int:
    """A setting that counts; BundleError where it is no whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BundleError(f"wrong {name}", got=repr(value), expected="a whole number from 1 on")
    return value


def _plain(error: Exception) -> str:
    """An error that no one foresaw, in one line; libraries tell of memory in many."""
    lines = str(error).strip().splitlines() or ["nothing said"]
    if is_out_of_memory(error):
        return f"out of memory ({lines[0]}); give fewer --jobs, or work on a machine with more memory"
    return f"{type(error).__name__}: {lines[0]}"


def _errno(error: BaseException | None) -> int | None:
    """Of the first OSError among an error and its causes."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return None if error is None else error.errno
