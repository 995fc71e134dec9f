"""TensorBoard: curves, pictures, precision and recall, the network's graph, and settings with final scores."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events

from medseg.pictures import training_panel
from medseg.processes import is_first
from medseg.training.epoch_losses import EpochLosses, epoch_losses
from medseg.training.failures import no_space
from medseg.training.precision_recall import CurveCounts, PrecisionRecall

logger = logging.getLogger(__name__)


class Board:
    """Handler of the trainer that writes `run_dir`/tensorboard.

    Scalars: loss (mean of the epoch), learning rate, seconds an epoch, the share of waiting for data, and all
    validation metrics (each label's Dice and IoU). Images: of the first `pictures` validation cases, input | truth |
    prediction | contours of both, volumes in three planes. PR curves: each label's, over all voxels of the validation
    cases. Graph: the network as it runs on the first batch. HParams: `settings` and the final scores, by which runs
    are compared. Of several processes the first writes, and draws the first of its own cases.

    Parameters
    ----------
    run_dir
        The run's folder.
    evaluator
        Validation engine.
    pictures
        How many validation cases are drawn each time; 0 for none.
    labels
        Value to name, as in metadata.json; without it labels are called by their value.
    settings
        What runs differ in: learning rate, batch size, seed, ...
    """

    def __init__(
        self,
        *,
        run_dir: str,
        evaluator: Any,
        pictures: int = 3,
        labels: Mapping[str | int, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.evaluator, self.pictures = Path(run_dir) / "tensorboard", evaluator, pictures
        self.settings = dict(settings or {})
        self._curves = PrecisionRecall({int(value): name for value, name in (labels or {}).items()})
        self._writer: Any = None
        self._training = False
        self._losses = EpochLosses()
        self._counts: dict[str, CurveCounts] = {}
        self._epoch_start, self._learning_rate = 0.0, 0.0

    def attach(self, engine: Any) -> None:
        self.evaluator.add_event_handler(Events.EPOCH_STARTED, lambda _: self._curves.reset())
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._writing(self._validated))
        engine.add_event_handler(Events.STARTED, self._writing(self._open))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._count)
        if not is_first():
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self._graph)
        self._losses = epoch_losses(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._writing(self._scalars))
        engine.add_event_handler(Events.COMPLETED, self._writing(self._close))

    def _writing(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        """`handler`, with the folder named where it cannot write: TensorBoard writes in a thread, and names no file."""

        def told(engine: Any) -> None:
            try:
                handler(engine)
            except OSError as error:
                raise no_space(str(self.folder), error) from error

        return told

    def _open(self, engine: Any) -> None:
        self._training = True
        if not is_first():
            return
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=engine.state.epoch + 1)

    def _count(self, engine: Any) -> None:
        """Over the cases of all processes, in all of them."""
        if self.evaluator.state.epoch == engine.state.epoch:
            self._counts = self._curves.compute()

    def _begin(self, engine: Any) -> None:
        self._epoch_start = time.perf_counter()
        self._learning_rate = engine.optimizer.param_groups[0]["lr"]  # the schedule changes it before `_scalars`

    def _graph(self, engine: Any) -> None:
        """Once, behind the first step: tracing in evaluation mode changes neither weights nor random numbers."""
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # the tracer warns of each branch that it makes a constant
                network = getattr(engine.network, "module", engine.network)  # what several processes wrap
                self._writer.add_graph(network, engine.state.output["image"][:1], use_strict_trace=False)
        except Exception as error:  # noqa: BLE001 (a network that cannot be traced can still be trained)
            logger.info("no graph of the network for TensorBoard: %s", str(error).partition("\n")[0])

    def _scalars(self, engine: Any) -> None:
        epoch = engine.state.epoch
        self._writer.add_scalar("train/loss", self._losses.mean(), epoch)
        self._writer.add_scalar("train/learning_rate", self._learning_rate, epoch)
        self._writer.add_scalar("train/epoch_seconds", time.perf_counter() - self._epoch_start, epoch)
        if hasattr(engine.state, "data_wait"):
            self._writer.add_scalar("train/data_wait", engine.state.data_wait, epoch)
        if self.evaluator.state.epoch == epoch:
            for name, value in self.evaluator.state.metrics.items():
                self._writer.add_scalar(name if "/" in name else f"validation/{name}", float(value), epoch)
            for name, counts in self._counts.items():
                self._writer.add_pr_curve_raw(
                    f"pr/{name}", *counts.columns(), global_step=epoch, num_thresholds=len(counts.precision)
                )
        self._writer.flush()

    def _validated(self, evaluator: Any) -> None:
        if not self._training:  # validated without a training
            return
        self._curves.update(evaluator.state.output["pred"], evaluator.state.output["label"])
        if is_first() and evaluator.state.iteration <= self.pictures:  # counted anew at each validation
            self._picture(evaluator)

    def _picture(self, evaluator: Any) -> None:
        output, case = evaluator.state.output, evaluator.state.batch["id"][0]
        image, truth = output["image"][0, 0].float().cpu().numpy(), output["label"][0, 0].cpu().numpy().astype(int)
        panel = training_panel(image, truth, output["pred"][0].argmax(0).cpu().numpy())
        self._writer.add_image(f"validation/{case}", panel, evaluator.state.epoch, dataformats="HWC")

    def _close(self, engine: Any) -> None:
        if self.settings:
            self._write_hparams()
        self._writer.close()

    def _write_hparams(self) -> None:
        """Settings and final scores, in the run's own files: `SummaryWriter.add_hparams` would make a second run."""
        from torch.utils.tensorboard.summary import hparams

        state = self.evaluator.state
        scores = {f"final/{name}": float(value) for name, value in state.metrics.items()}
        if state.best_metric_epoch > 0:
            scores |= {"final/best": float(state.best_metric), "final/best_epoch": float(state.best_metric_epoch)}
        settings = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in self.settings.items()}
        for summary in hparams(settings, scores):
            self._writer.file_writer.add_summary(summary)
        for name, value in scores.items():
            self._writer.add_scalar(name, value, self.evaluator.state.epoch)
