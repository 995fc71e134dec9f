"""Handlers of the training engine: validation, schedule, early stop, watch over the loss, progress, run.json."""

from __future__ import annotations

import json
import logging
import operator
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from torch.optim.lr_scheduler import ReduceLROnPlateau

from medseg.errors import BundleError, TrainingError
from medseg.files import atomic_write
from medseg.processes import is_first
from medseg.terminal import wants_progress
from medseg.training.distributed import gathered, processes
from medseg.training.epoch_losses import EpochLosses, epoch_losses
from medseg.training.failures import not_finite, on_exception, reason

logger = logging.getLogger(__name__)

_DICE = "val_mean_dice"
"""The key metric of the bundles that ship."""


class FiniteLoss:
    """Stop the run when a loss or a gradient is not finite, naming the step and the cases of its batch.

    A step is looked at when the next one is done, so that a GPU never waits for it; the epoch's last one before
    validation and checkpoint, so that the last checkpoint on disk is always from before.
    """

    def __init__(self) -> None:
        self._pending: tuple[int, Mapping[str, Any], Sequence[str]] | None = None

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)

    def _step(self, engine: Any) -> None:
        self._check(engine)
        numbers = {name: engine.state.output.get(name) for name in ("loss", "gradient_norm")}
        self._pending = (engine.state.iteration, numbers, engine.state.batch.get("id", ()))

    def _check(self, engine: Any) -> None:
        what = None if self._pending is None else not_finite(self._pending[1])
        if self._pending is not None and what is not None:
            step, _, mine = self._pending
            cases = gathered(mine)  # the loss is that of the whole batch: every process comes here
            raise TrainingError(
                f"the {what[0]} is not finite at step {step} (epoch {engine.state.epoch}), cases {', '.join(cases)}",
                got=what[1],
                next_step="look at these cases, or start anew with a lower learning rate; what is saved is from before",
            )
        self._pending = None


class Validation:
    """Validate every so many epochs, and in any case after the run's last, whose weights could not ship otherwise.

    MONAI's ValidationHandler leaves the last epoch out where the interval does not divide their number.

    Parameters
    ----------
    validator
        Validation engine; it runs as the trainer's epoch.
    interval
        Epochs between two validations.

    Raises
    ------
    BundleError
        An interval that is no positive whole number.
    """

    def __init__(self, *, validator: Any, interval: int) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise BundleError(
                "validate_every counts epochs between validations",
                got=interval,
                expected="a whole number from 1 on",
                next_step="to validate the last epoch alone, give the number of epochs",
            )
        self.validator, self.interval = validator, interval

    def attach(self, engine: Any) -> None:
        engine.validation_interval = self.interval
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)

    def _validate(self, engine: Any) -> None:
        epoch = engine.state.epoch
        if epoch % self.interval == 0 or epoch == engine.state.max_epochs:
            self.validator.run(epoch)


class Schedule:
    """Step the learning rate's schedule once an epoch; ReduceLROnPlateau sees the newest validation metric.

    Parameters
    ----------
    scheduler
        Any schedule of torch.optim.lr_scheduler that counts epochs.
    evaluator
        Validation engine whose `best_metric` metric a plateau schedule watches.

    Raises
    ------
    BundleError
        A plateau schedule that takes the better scores for the worse ones; torch's own default does, for Dice.
    """

    def __init__(self, *, scheduler: Any, evaluator: Any) -> None:
        self.scheduler, self.evaluator = scheduler, evaluator
        if isinstance(scheduler, ReduceLROnPlateau):
            better = "max" if getattr(evaluator, "metric_cmp_fn", operator.gt)(1.0, 0.0) else "min"
            if scheduler.mode != better:
                raise BundleError(
                    "train::scheduler: ReduceLROnPlateau would lower the rate while the validation score gets better",
                    got=f"mode {scheduler.mode}",
                    expected=f"mode {better}",
                    next_step=f"set train::scheduler::mode={better}",
                )

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._step)

    def _step(self, engine: Any) -> None:
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        elif self.evaluator.state.epoch == engine.state.epoch:
            self.scheduler.step(self.evaluator.state.metrics[self.evaluator.state.key_metric_name])


class EarlyStop:
    """End the run when validation has not improved for `patience` epochs; a resumed run too.

    Only an epoch that is validated can end it: before the validation after the best one nothing is known to be worse.

    Parameters
    ----------
    patience
        Epochs; None never ends a run early.
    evaluator
        Validation engine, whose `best_metric_epoch` counts.

    Raises
    ------
    BundleError
        A patience below 1, with which the first validation would be the last.
    """

    def __init__(self, *, patience: int | None, evaluator: Any) -> None:
        if patience is not None and patience < 1:
            raise BundleError(
                "early_stop_patience counts epochs without a better score",
                got=patience,
                expected="a whole number from 1 on, or null for a run of all its epochs",
            )
        self.patience, self.evaluator = patience, evaluator

    def attach(self, engine: Any) -> None:
        if self.patience is None:
            return
        engine.add_event_handler(Events.STARTED, self._check)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)

    def _check(self, engine: Any) -> None:
        validated, best = self.evaluator.state.epoch, self.evaluator.state.best_metric_epoch
        if self.patience is not None and best > 0 and validated - best >= self.patience:
            logger.info("no better validation score for %d epochs: stopping after %d", validated - best, validated)
            engine.terminate()


class Progress:
    """One progress bar for the whole run, on a terminal only; elsewhere one log line an epoch. The first process's."""

    def __init__(self, *, evaluator: Any) -> None:
        self.evaluator = evaluator
        self._bar: Any = None
        self._losses = EpochLosses()

    def attach(self, engine: Any) -> None:
        if not is_first():
            return
        self._losses = epoch_losses(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED, self._close)
        on_exception(engine, self._close)

    def _start(self, engine: Any) -> None:
        from tqdm import tqdm

        total = engine.state.max_epochs * engine.state.epoch_length
        done = engine.state.iteration
        self._bar = tqdm(total=total, initial=done, unit="step", disable=not wants_progress())

    def _advance(self, engine: Any) -> None:
        self._bar.update(1)

    def _epoch(self, engine: Any) -> None:
        state, validation = engine.state, self.evaluator.state
        loss = self._losses.mean()
        checked = validation.key_metric_name in validation.metrics
        score = f"{validation.metrics[validation.key_metric_name]:.4f}" if checked else "not yet"
        name = "Dice" if validation.key_metric_name == _DICE else validation.key_metric_name
        self._bar.set_postfix(epoch=state.epoch, loss=f"{loss:.4f}", **{str(name).lower(): score})
        if self._bar.disable:
            best = f" (best {validation.best_metric:.4f} at {validation.best_metric_epoch})" if checked else ""
            seconds = state.times["EPOCH_COMPLETED"]
            text = "epoch %d/%d loss %.4f validation %s %s%s %.1f s"
            logger.info(text, state.epoch, state.max_epochs, loss, name, score, best, seconds)

    def _close(self, engine: Any, *_: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()


def read_record(run_dir: Path) -> dict[str, Any]:
    """What run.json says; nothing where it is not there, or was cut short by a power cut."""
    path = run_dir / "run.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        logger.warning("%s is damaged and not heeded", path)
        return {}
    return dict(content)


def is_done(run_dir: Path) -> bool:
    """Whether run.json says that the run came to its end."""
    return bool(read_record(run_dir).get("status") == "done")


class RunRecord:
    """Keep run.json: what ran, on what, since when, how far, and how well. The first process keeps it.

    Parameters
    ----------
    run_dir
        Where run.json is written, at the start and after each epoch.
    settings
        What the run should be known by: bundle, version, seed, epochs, ...
    evaluator
        Validation engine whose scores are recorded.
    """

    def __init__(self, *, run_dir: str, settings: Mapping[str, Any], evaluator: Any) -> None:
        self.path, self.evaluator = Path(run_dir) / "run.json", evaluator
        self.settings = dict(settings)
        self._started = time.monotonic()
        self._before = 0.0

    def attach(self, engine: Any) -> None:
        if not is_first():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write, status="running")
        engine.add_event_handler(Events.COMPLETED, self._write, status="done")
        on_exception(engine, self._stopped)

    def _start(self, engine: Any) -> None:
        self._started = time.monotonic()
        if engine.state.iteration > 0:
            self._before = float(read_record(self.path.parent).get("training_seconds", 0.0))
        self._write(engine, status="running")

    def _stopped(self, engine: Any, error: BaseException) -> None:
        try:
            self._write(engine, status="stopped", reason=reason(engine, error))
        except OSError:  # no space for it: why the run ended counts for more
            logger.warning("%s could not be written", self.path)

    def _write(self, engine: Any, status: str, reason: str | None = None) -> None:
        validation = self.evaluator.state
        best = float(validation.best_metric) if validation.best_metric_epoch > 0 else None
        record = {
            "status": status,
            "reason": reason,
            "settings": self.settings,
            "epoch": engine.state.epoch,
            "epochs": engine.state.max_epochs,
            "best_validation_dice": best if validation.key_metric_name == _DICE else None,
            "best_validation_score": best,
            "best_validation_score_name": validation.key_metric_name,
            "best_epoch": validation.best_metric_epoch,
            "validation": {name: float(value) for name, value in validation.metrics.items()},
            "training_seconds": round(self._before + time.monotonic() - self._started, 1),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": _environment(),
        }
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _environment() -> dict[str, Any]:
    import monai
    import numpy

    import medseg

    return {
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": numpy.__version__,
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "threads": torch.get_num_threads(),
        "processes": processes(),
    }


def _processor() -> str:
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())
