"""Checkpoints of a run: models/model.pt, the best weights, and models/last.pt, all that a resume needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events

from medseg.errors import TrainingError
from medseg.files import atomic_write

logger = logging.getLogger(__name__)


class Checkpoints:
    """Handler of the trainer: saves after each epoch, and restores a run so that it continues the same curve.

    Attach it behind the validation handler and the schedule, so that what it saves has them in it.

    Parameters
    ----------
    run_dir
        Checkpoints go to `run_dir`/models.
    network
        The trained network.
    evaluated
        The network that is validated and shipped: `network` itself or its moving average.
    evaluator
        Validation engine; a new `best_metric` of its state makes the epoch's weights models/model.pt.
    optimizer, scheduler
        Restored with the networks.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        network: torch.nn.Module,
        evaluated: torch.nn.Module,
        evaluator: Any,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
    ) -> None:
        self.folder = Path(run_dir) / "models"
        self.evaluated, self.evaluator = evaluated, evaluator
        self.parts = {"network": network, "evaluated": evaluated, "optimizer": optimizer, "scheduler": scheduler}

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Any) -> None:
        """Write models/last.pt, and models/model.pt when this epoch is the best so far."""
        epoch = engine.state.epoch
        if self.evaluator.state.best_metric_epoch == epoch:
            _save(self.evaluated.state_dict(), self.folder / "model.pt")
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state["epoch"] = epoch
        state["best_metric"] = float(self.evaluator.state.best_metric)
        state["best_metric_epoch"] = int(self.evaluator.state.best_metric_epoch)
        state["torch_random_state"] = torch.get_rng_state()
        _save(state, self.folder / "last.pt")

    def restore(self, engine: Any, *, resume: bool) -> None:
        """Put the run back where models/last.pt left it; nothing happens unless `resume`.

        Raises
        ------
        TrainingError
            No checkpoint, an unreadable one, or one of another network.
        """
        if not resume:
            return
        state = _load(self.folder / "last.pt")
        for name, part in self.parts.items():
            try:
                part.load_state_dict(state[name])
            except (RuntimeError, KeyError, ValueError) as error:
                raise TrainingError(
                    f"{self.folder / 'last.pt'}: the checkpoint does not fit the {name} of this run",
                    got=str(error).splitlines()[0],
                    next_step="resume with the settings that the run was started with",
                ) from error
        epoch_length = engine.state.epoch_length
        engine.load_state_dict(
            {"epoch": state["epoch"], "max_epochs": engine.state.max_epochs, "epoch_length": epoch_length}
        )
        self.evaluator.state.best_metric = state["best_metric"]
        self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        torch.set_rng_state(state["torch_random_state"])
        logger.info("resumed after epoch %d of %d", state["epoch"], engine.state.max_epochs)


def _save(state: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint to resume from", next_step="start the run without --resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read", got=str(error).splitlines()[0]) from error
    return state
