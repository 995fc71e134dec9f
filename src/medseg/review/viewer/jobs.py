"""Segmentations that were asked for: one after the other, each can be cancelled, all can be looked at any time."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg.errors import ReviewError
from medseg.review.viewer.child import Child, ChildDiedError
from medseg.review.viewer.entries import AbsentError

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]

STAGES = ("load", "read", "network", "write")
"""In the order in which a job passes them; "start" comes before where the process is still starting."""

MOST_WAITING = 200
_MOST_KEPT = 1000
_KILLED_BY_SYSTEM = -9
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """One segmentation.

    Attributes
    ----------
    id
        Names it in addresses.
    case, name
        Key and name of the case.
    bundle, bundle_folder
        What the page calls the bundle, and where it lies.
    image, output
        What is segmented, and the job's own folder for the results.
    state, stage, error
        How far it is; why it failed.
    created, started, ended
        Times, seconds since 1970.
    """

    id: str
    case: str
    name: str
    bundle: str
    bundle_folder: Path
    image: Path
    output: Path
    state: State = "waiting"
    stage: str | None = None
    error: str | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None

    def as_json(self, *, ahead: int = 0) -> dict[str, Any]:
        """For the page; `ahead` jobs come before it."""
        end = self.ended if self.ended is not None else time.time()
        return {
            "job": self.id,
            "case": self.case,
            "name": self.name,
            "bundle": self.bundle,
            "state": self.state,
            "stage": self.stage,
            "done": len(STAGES) if self.state == "done" else STAGES.index(self.stage) if self.stage in STAGES else 0,
            "total": len(STAGES),
            "ahead": ahead,
            "seconds": None if self.started is None else round(end - self.started, 1),
            "error": self.error,
        }


class Jobs:
    """The queue and the thread that works it off through the child process.

    Parameters
    ----------
    done
        Called with each job that has succeeded and the names of the files in its folder, before its state changes.
    hide
        Takes out of error texts what no user needs to see.
    child
        The process.
    """

    def __init__(
        self,
        *,
        done: Callable[[Job, Mapping[str, str]], None],
        hide: Callable[[str], str],
        child: Child,
    ) -> None:
        self._done, self._hide, self._child = done, hide, child
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="jobs", daemon=True)

    def start(self, *, bundle: Path | None) -> None:
        """Begin to work; where it is known, the process loads `bundle` before the first job asks for it."""
        self._thread.start()
        if bundle is not None:
            self._child.send({"load": str(bundle)})

    def warm_up(self) -> None:
        """Start the process, as a job is to be expected; who only looks at a folder never needs it."""
        self._child.start()

    def add(self, *, case: str, name: str, bundle: str, bundle_folder: Path, image: Path, results: Path) -> Job:
        """Queue a segmentation; its results go into a new folder in `results`.

        Raises
        ------
        ReviewError
            Too many wait already.
        """
        with self._changed:
            if sum(job.state == "waiting" for job in self._jobs.values()) >= MOST_WAITING:
                raise ReviewError("too many images wait to be segmented", expected=f"at most {MOST_WAITING}")
            job_id = secrets.token_hex(8)
            job = Job(job_id, case, name, bundle, bundle_folder, image, results / job_id)
            self._jobs[job_id] = job
            self._forget_old()
            self._changed.notify_all()
            return job

    def all(self) -> list[dict[str, Any]]:
        """Every job, the oldest first."""
        with self._changed:
            ahead, found = 0, []
            for job in self._jobs.values():
                found.append(job.as_json(ahead=ahead if job.state == "waiting" else 0))
                ahead += job.state in ("waiting", "running")
            return found

    def cancel(self, job_id: str) -> None:
        """Take a job out of the queue, end it while it runs, or forget one that has ended.

        Raises
        ------
        AbsentError
            There is no such job.
        """
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None:
                raise AbsentError("no such job")
            running = job.state == "running"
            if job.state in ("waiting", "running"):
                self._set(job_id, state="cancelled", ended=time.time())
            else:
                del self._jobs[job_id]
            if running:
                # A network cannot be asked to stop midway: its process goes, and a new one is started at once. No other
                # job begins meanwhile: it would go with it.
                self._child.kill()

    def cancel_case(self, case: str) -> None:
        """Cancel whatever is asked for a case."""
        with self._changed:
            open_ones = [j.id for j in self._jobs.values() if j.case == case and j.state in ("waiting", "running")]
        for job_id in open_ones:
            self.cancel(job_id)

    def close(self) -> None:
        """End the work at hand and the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._child.kill()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_SECONDS)
        self._child.release()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._run(job)
            except ChildDiedError as error:
                self._end(job.id, state="failed", error=_died(error.args[0]))
            except Exception as error:
                logger.exception("a job broke down")
                self._end(job.id, state="failed", error=f"{type(error).__name__}: {error}")
            if not self._closed:
                self._child.start()

    def _next(self) -> Job | None:
        """The next job, now running; None at the end."""
        with self._changed:
            while not self._closed:
                waiting = next((job for job in self._jobs.values() if job.state == "waiting"), None)
                if waiting is not None:
                    return self._set(waiting.id, state="running", stage="start", started=time.time())
                self._changed.wait()
            return None

    def _run(self, job: Job) -> None:
        def told(answer: Mapping[str, Any]) -> bool:
            if answer.get("job") != job.id:  # of a bundle that was loaded ahead
                return False
            if "stage" in answer:
                self._go_on(job, str(answer["stage"]))
                return False
            self._take(job, answer)
            return True

        self._child.ask(
            {
                "job": job.id,
                "bundle": str(job.bundle_folder),
                "image": str(job.image),
                "id": job.name,
                "output": str(job.output),
            },
            told=told,
        )

    def _go_on(self, job: Job, stage: str) -> None:
        self._note(job.id, stage=stage)
        if not self._runs(job.id):  # cancelled between two steps of ours, when there was no process to kill yet
            self._child.kill()

    def _take(self, job: Job, answer: Mapping[str, Any]) -> None:
        if "failed" in answer:
            self._end(job.id, state="failed", error=self._hide(str(answer["failed"])))
            return
        if self._runs(job.id):
            self._done(job, answer["done"])
            self._end(job.id, state="done")

    def _runs(self, job_id: str) -> bool:
        """Whether a job still runs: one that was cancelled may also be off the list already."""
        with self._changed:
            return job_id in self._jobs and self._jobs[job_id].state == "running"

    def _note(self, job_id: str, **fields: Any) -> None:
        with self._changed:
            if self._runs(job_id):
                self._set(job_id, **fields)

    def _end(self, job_id: str, *, state: State, error: str | None = None) -> None:
        self._note(job_id, state=state, error=error, ended=time.time())

    def _set(self, job_id: str, **fields: Any) -> Job:
        self._jobs[job_id] = replace(self._jobs[job_id], **fields)
        return self._jobs[job_id]

    def _forget_old(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.state not in ("waiting", "running")]
        for job_id in ended[: max(0, len(self._jobs) - _MOST_KEPT)]:
            del self._jobs[job_id]


def _died(code: int) -> str:
    if code == _KILLED_BY_SYSTEM:
        return "the network's process was killed, most likely for want of memory: try a smaller image"
    return f"the network's process has ended unexpectedly (exit code {code})"
