"""Checkpoints of a run: models/model.pt, the best weights, and models/last.pt, all that a resume needs.

The checkpoint before stays as models/before_last.pt, in case the last one is damaged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events

from medseg.errors import BundleError
from medseg.files import atomic_write
from medseg.training.checkpoint_files import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

_PARTS = ("network", "evaluated", "optimizer", "scheduler")
_REST = ("epoch", "best_metric", "best_metric_epoch", "torch_random_state")


class Checkpoints:
    """Handler of the trainer: saves after each epoch, and restores a run so that it continues the same curve.

    Attach it behind the validation handler, the schedule and the records of the epoch: what it saves has them in it,
    and an epoch without a checkpoint is run and recorded again.

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
        self.parts = dict(zip(_PARTS, (network, evaluated, optimizer, scheduler), strict=True))

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def save(self, engine: Any) -> None:
        """Write models/last.pt, and models/model.pt when this epoch is the best so far."""
        validation = self.evaluator.state
        if validation.best_metric_epoch == engine.state.epoch:
            _save(self.evaluated.state_dict(), self.folder / "model.pt")
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state["epoch"], state["epochs"] = engine.state.epoch, engine.state.max_epochs
        state["best_metric"] = float(validation.best_metric)
        state["best_metric_epoch"] = int(validation.best_metric_epoch)
        state["torch_random_state"] = torch.get_rng_state()  # dropout; data are drawn from (seed, epoch, case) alone
        if torch.cuda.is_available():
            state["cuda_random_state"] = torch.cuda.get_rng_state()
        save_checkpoint(state, self.folder)

    def finish(self, engine: Any) -> None:
        """A run that ended before its first validation ships its last weights, so that it is a complete bundle."""
        if self.evaluator.state.best_metric_epoch < 1:
            logger.warning("the run was never validated (validate_every): models/model.pt are its last weights")
            _save(self.evaluated.state_dict(), self.folder / "model.pt")

    def restore(self, engine: Any, *, resume: bool) -> None:
        """Put the run back where its last whole checkpoint left it; nothing happens unless `resume`.

        The schedule goes on as it was started: a changed number of epochs does not change its shape.

        Raises
        ------
        BundleError
            No checkpoint that is whole, one of another network, or one of a run that is finished.
        """
        if not resume:
            return
        state = load_checkpoint(self.folder, needed=(*_PARTS, *_REST))
        self._refuse_finished(state, engine)
        for name, part in self.parts.items():
            try:
                part.load_state_dict(state[name])
            except (RuntimeError, KeyError, ValueError) as error:
                raise BundleError(
                    f"{self.folder / 'last.pt'}: the checkpoint does not fit the {name} of this run",
                    got=str(error).splitlines()[0],
                    next_step="resume with the settings that the run was started with",
                ) from error
        length, epochs = engine.state.epoch_length, engine.state.max_epochs
        engine.load_state_dict({"epoch": state["epoch"], "max_epochs": epochs, "epoch_length": length})
        self.evaluator.state.best_metric = state["best_metric"]
        self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        torch.set_rng_state(state["torch_random_state"])
        if "cuda_random_state" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_random_state"])
        logger.info("resumed after epoch %d of %d", state["epoch"], epochs)

    def _refuse_finished(self, state: Mapping[str, Any], engine: Any) -> None:
        epoch, epochs = state["epoch"], engine.state.max_epochs
        if epoch >= epochs:
            raise BundleError(
                f"{self.folder / 'last.pt'}: the run is finished, there is nothing to resume",
                got=f"epoch {epoch} of {epochs}",
                next_step="for more, give a larger number of epochs: epochs=...",
            )
        if (started := state.get("epochs", epochs)) != epochs:
            text = "started for %d epochs, resumed for %d: the learning rate's schedule stays as it was started"
            logger.warning(text, started, epochs)


def _save(state: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save(state, temporary)
