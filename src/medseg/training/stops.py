"""A training run that is asked to stop: it ends its step, writes a checkpoint, and says how to go on."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medseg.processes import is_first
from medseg.signals import StopRequests
from medseg.training.checkpoint_files import has_checkpoint
from medseg.training.distributed import processes
from medseg.training.failures import not_finite, on_exception

logger = logging.getLogger(__name__)

VALIDATION_SECONDS = 10.0
"""So long may a validation go on that was under way: it is what makes the epoch's checkpoint worth having."""


class Stops:
    """Handler of the trainer that looks for SIGTERM and SIGINT where a run can be left and taken up again.

    Between two steps it has a checkpoint written; a validation may end within `VALIDATION_SECONDS`, or its epoch is
    run again. A second signal ends the process where it is: what is on the disk is whole. Several processes, which
    hear of it at different steps, keep the checkpoint of the last epoch.

    Parameters
    ----------
    run_dir
        The run's folder, for the command that goes on.
    evaluator
        Validation engine.
    save
        Writes a checkpoint of the trainer as it is between two steps.
    """

    def __init__(self, *, run_dir: Path, evaluator: Any, save: Callable[[Any], None]) -> None:
        self.run_dir, self.evaluator, self.save = run_dir, evaluator, save
        self.requests = StopRequests()
        self._noticed: float | None = None
        self._told = False

    def attach(self, engine: Any) -> None:
        """Listen while the trainer runs."""
        engine.stop_requests = self.requests
        engine.add_event_handler(Events.STARTED, lambda _: self.requests.listen())
        engine.add_event_handler(Events.COMPLETED, lambda _: self.requests.end())
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._between_steps)
        if hasattr(self.evaluator, "add_event_handler"):
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._in_validation)
        on_exception(engine, self._failed)

    def after_epoch(self, engine: Any) -> None:
        """Stop behind the checkpoint of an epoch; a run that is through ends as one that was not asked."""
        if engine.state.epoch < engine.state.max_epochs:
            self.requests.check()

    def _between_steps(self, engine: Any) -> None:
        if self.requests.signal is None:
            return
        begun = engine.state.iteration % engine.state.epoch_length > 0
        taken = engine.state.output is not None  # a step of this process: before it, the disk has all that there is
        if begun and taken and processes() == 1 and not_finite(engine.state.output) is None:
            self.save(engine)
        self.requests.check()

    def _in_validation(self, _: Any) -> None:
        if self.requests.signal is None:
            return
        self._noticed = self._noticed or time.monotonic()
        if time.monotonic() - self._noticed > VALIDATION_SECONDS:
            self.requests.check()

    def _failed(self, engine: Any, error: BaseException) -> None:
        self.requests.release()
        if self._told or not is_first():  # ignite reports an exception twice: of the step's loop and of the run
            return
        self._told = True
        why = f"stopped by {self.requests.signal.name}" if self.requests.signal else "the run has stopped"
        if not has_checkpoint(self.run_dir / "models"):
            logger.warning("%s before its first checkpoint: start it again as before", why)
            return
        logger.warning("%s; to go on from its last checkpoint:\n  %s", why, resume_command(self.run_dir))


def resume_command(run_dir: Path) -> str:
    """What to type to go on with a run, whichever command began it: its folder has configuration and datalist.

    A run of several processes goes on with as many.
    """
    run, count = shlex.quote(str(run_dir)), processes()
    program = "medseg" if count == 1 else f"torchrun --standalone --nproc_per_node={count} -m medseg.cli"
    return f"{program} train {run} -o {run} --datalist {shlex.quote(str(run_dir / 'datalist.json'))} --resume"
