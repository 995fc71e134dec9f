"""The curves of a run as a table that any program reads: history.csv, one row an epoch, and plots of it."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medseg.files import atomic_write
from medseg.pictures import save_training_plots
from medseg.processes import is_first
from medseg.training.epoch_losses import EpochLosses, epoch_losses

logger = logging.getLogger(__name__)

HISTORY_FILE = "history.csv"
_FIRST = ("epoch", "loss", "learning_rate", "seconds")


class History:
    """Handler of the trainer: writes `run_dir`/history.csv after each epoch, training.png and training.svg at the end.

    Columns: epoch, loss (mean over the epoch's steps), learning_rate (that of the epoch), seconds, data_wait (the share
    of the steps' time, where `DataWait` is attached before), and each metric of the validation engine, empty in epochs
    without validation. A resumed run goes on behind the epoch of its checkpoint: rows of later epochs, which are run
    again, are dropped. Attach it behind the validation handler and before the checkpoints. Of several processes the
    first writes.

    Parameters
    ----------
    run_dir
        The run's folder.
    evaluator
        Validation engine.
    plots
        Draw the curves when the run ends, where matplotlib is installed.
    """

    def __init__(self, *, run_dir: str, evaluator: Any, plots: bool = True) -> None:
        self.path, self.evaluator, self.plots = Path(run_dir) / HISTORY_FILE, evaluator, plots
        self._rows: list[dict[str, str]] = []
        self._losses = EpochLosses()
        self._start, self._learning_rate = 0.0, 0.0

    def attach(self, engine: Any) -> None:
        if not is_first():
            return
        engine.add_event_handler(Events.STARTED, self._take_up)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        self._losses = epoch_losses(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._record)
        engine.add_event_handler(Events.COMPLETED, self._plot)

    def _take_up(self, engine: Any) -> None:
        self._rows = _rows_until(self.path, engine.state.epoch)

    def _begin(self, engine: Any) -> None:
        self._start = time.perf_counter()
        self._learning_rate = engine.optimizer.param_groups[0]["lr"]  # the schedule changes it before `_record`

    def _record(self, engine: Any) -> None:
        values = {
            "loss": self._losses.mean(),
            "learning_rate": self._learning_rate,
            "seconds": time.perf_counter() - self._start,
        }
        if hasattr(engine.state, "data_wait"):
            values["data_wait"] = engine.state.data_wait
        if self.evaluator.state.epoch == engine.state.epoch:
            values |= {name: float(value) for name, value in self.evaluator.state.metrics.items()}
        self._rows.append({"epoch": str(engine.state.epoch), **{k: f"{v:.6g}" for k, v in values.items()}})
        self._write()

    def _write(self) -> None:
        columns = dict.fromkeys([*_FIRST, *(name for row in self._rows for name in row)])
        with atomic_write(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(self._rows)

    def _plot(self, engine: Any) -> None:
        if not self.plots or not self._rows:
            return
        try:
            save_training_plots([_numbers(row) for row in self._rows], self.path.parent)
        except ModuleNotFoundError as error:
            logger.info("no plots of the training: %s; pip install 'medseg[report]'", error)
        except Exception as error:  # noqa: BLE001 (a picture is no reason to lose a training)
            logger.warning("no plots of the training: %s: %s", type(error).__name__, error)


def _rows_until(path: Path, epoch: int) -> list[dict[str, str]]:
    """The rows up to `epoch` of a run that is resumed; none of a new one."""
    if epoch == 0 or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: text for name, text in row.items() if text} for row in csv.DictReader(file)]
    return [row for row in rows if int(row["epoch"]) <= epoch]


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {name: float(text) for name, text in row.items()}
