"""TensorBoard: scalars of each epoch, and pictures of image, truth and prediction."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events

from medseg.pictures import training_panel


class Board:
    """Handler of the trainer that writes `run_dir`/tensorboard.

    Scalars: loss (mean of the epoch), learning rate, seconds an epoch, and all validation metrics (each label's Dice
    and IoU). Images: of the first `pictures` validation cases, input | truth | prediction (volumes: middle slice).

    Parameters
    ----------
    run_dir
        The run's folder.
    evaluator
        Validation engine.
    pictures
        How many validation cases are drawn each time; 0 for none.
    """

    def __init__(self, *, run_dir: str, evaluator: Any, pictures: int = 3) -> None:
        self.folder, self.evaluator, self.pictures = Path(run_dir) / "tensorboard", evaluator, pictures
        self._writer: Any = None
        self._losses: list[torch.Tensor] = []
        self._epoch_start, self._learning_rate = 0.0, 0.0

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._scalars)
        engine.add_event_handler(Events.COMPLETED, self._close)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._picture)

    def _open(self, engine: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=engine.state.epoch + 1)

    def _begin(self, engine: Any) -> None:
        self._losses, self._epoch_start = [], time.perf_counter()
        self._learning_rate = engine.optimizer.param_groups[0]["lr"]  # the schedule changes it before `_scalars`

    def _collect(self, engine: Any) -> None:
        self._losses.append(engine.state.output["loss"])

    def _scalars(self, engine: Any) -> None:
        epoch = engine.state.epoch
        self._writer.add_scalar("train/loss", float(torch.stack(self._losses).mean()), epoch)
        self._writer.add_scalar("train/learning_rate", self._learning_rate, epoch)
        self._writer.add_scalar("train/epoch_seconds", time.perf_counter() - self._epoch_start, epoch)
        if self.evaluator.state.epoch == epoch:
            for name, value in self.evaluator.state.metrics.items():
                self._writer.add_scalar(name if "/" in name else f"validation/{name}", float(value), epoch)
        self._writer.flush()

    def _picture(self, evaluator: Any) -> None:
        if self._writer is None or evaluator.state.iteration > self.pictures:  # counted anew at each validation
            return
        output, case = evaluator.state.output, evaluator.state.batch["id"][0]
        image, truth = output["image"][0, 0].float().cpu().numpy(), output["label"][0, 0].cpu().numpy().astype(int)
        panel = training_panel(image, truth, output["pred"][0].argmax(0).cpu().numpy())
        self._writer.add_image(f"validation/{case}", panel, evaluator.state.epoch, dataformats="HWC")

    def _close(self, engine: Any) -> None:
        self._writer.close()
