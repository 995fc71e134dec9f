"""What ends a training run: failures told as what they are, and requests to stop."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Events

from medseg.errors import MedsegError, TrainingError, first_line
from medseg.signals import TERMINATED, StopRequests
from medseg.training.distributed import lost_process

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SIGNAL_SECONDS = 0.5
"""A signal to a whole group of processes may reach a worker that much sooner than the run itself."""


def not_finite(output: Mapping[str, Any]) -> tuple[str, float] | None:
    """Which number of a step's output is not finite, and what it is; None where all that there are are."""
    for name, what in (("loss", "loss"), ("gradient_norm", "gradient")):
        value = output.get(name)
        if value is not None and not torch.isfinite(value):
            return what, float(value)
    return None


def on_exception(engine: Any, handler: Callable[[Any, BaseException], None]) -> None:
    """Call `handler` when the run fails. ignite drops an exception that has handlers, so the last one raises it."""
    if engine.has_event_handler(_reraise, Events.EXCEPTION_RAISED):
        engine.remove_event_handler(_reraise, Events.EXCEPTION_RAISED)
    engine.add_event_handler(Events.EXCEPTION_RAISED, handler)
    engine.add_event_handler(Events.EXCEPTION_RAISED, _reraise)


def _reraise(engine: Any, error: BaseException) -> None:
    told = named(engine, error)
    if told is error:
        raise error
    raise told from error


def reason(engine: Any, error: BaseException) -> str:
    """Why the run ended, for its record."""
    told = named(engine, error)
    if isinstance(told, SystemExit) and told.code == TERMINATED:
        return "stopped by SIGTERM"
    return f"{type(told).__name__}: {told}"


def named(engine: Any, error: BaseException) -> BaseException:
    """`error` as the user should meet it: a dead worker, a full disk, a lost process; itself where it is clear.

    Where the run was asked to stop, that is what ended it, whatever broke on the way.
    """
    if isinstance(error, RuntimeError) and not isinstance(error, MedsegError):
        stop = _requested(engine, wait=_is_of_worker(error))
        return stop or _dead_worker(error) or lost_process(error) or error
    if isinstance(error, OSError) and error.errno in (*_NO_SPACE, errno.EROFS):
        return no_space("a file of the run", error)
    return _of_worker(error) or error


def no_space(what: str, error: BaseException) -> TrainingError:
    """`what` could not be written: the disk is full, or whatever else `error` says of it."""
    step = "mend that" if isinstance(error, OSError) and error.errno not in _NO_SPACE else "free some space"
    return TrainingError(
        f"{what} could not be written",
        got=first_line(error),
        next_step=f"{step} and go on; the last checkpoint that was written is whole",
    )


def _requested(engine: Any, *, wait: bool) -> BaseException | None:
    requests: StopRequests | None = getattr(engine, "stop_requests", None)
    if requests is None:
        return None
    until = time.monotonic() + (_SIGNAL_SECONDS if wait else 0.0)
    while requests.signal is None and time.monotonic() < until:
        time.sleep(0.01)
    try:
        requests.check()
    except (KeyboardInterrupt, SystemExit) as stop:
        return stop
    return None


def _is_of_worker(error: BaseException) -> bool:
    return str(error).startswith(("DataLoader worker", "DataLoader timed out"))


def _dead_worker(error: BaseException) -> TrainingError | None:
    """torch says so itself, as a RuntimeError among others; it looks every five seconds, and at once when one dies."""
    if not _is_of_worker(error):
        return None
    slow = "timed out" in str(error)
    return TrainingError(
        f"a data-loader worker {'does not answer' if slow else 'has died'}",
        got=first_line(error),
        expected="a batch",
        next_step="resume with fewer workers (workers=0 shows what goes wrong)"
        + ("" if slow else "; most often memory ran out, or shared memory in a container: --shm-size"),
    )


def _of_worker(error: BaseException) -> MedsegError | None:
    """One of ours from a worker process, which torch wraps into a text with the traceback: the message alone."""
    if not isinstance(error, MedsegError) or not str(error).startswith("Caught "):
        return None
    found = re.search(rf"^\S*\b{type(error).__name__}: (.*)\Z", str(error).strip(), re.DOTALL | re.MULTILINE)
    return type(error)(found[1]) if found else None
