"""Checkpoints of a run: models/model.pt, the best weights, and models/last.pt, all that a resume needs.

The checkpoint before stays as models/before_last.pt, in case the last one is damaged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from torch.optim.lr_scheduler import ReduceLROnPlateau

from medseg.errors import BundleError, first_line
from medseg.files import SharedFolder
from medseg.processes import is_first, launched
from medseg.training.checkpoint_files import LAST, load_checkpoint, save_checkpoint, save_weights
from medseg.training.distributed import gathered
from medseg.training.epoch_losses import epoch_losses
from medseg.training.handlers import is_done
from medseg.training.rates import rates_after
from medseg.training.run_state import (
    handler_states,
    plain_parts,
    random_states,
    restore_handler_states,
    restore_random_states,
)
from medseg.training.stops import Stops

logger = logging.getLogger(__name__)

_PARTS = ("network", "evaluated", "optimizer", "scheduler")
_REST = ("epoch", "best_metric", "best_metric_epoch")


class Checkpoints:
    """Handler of the trainer: saves after each epoch, and restores a run so that it continues the same curve.

    Attach it behind the validation handler, the schedule and the records of the epoch: what it saves has them in it,
    and an epoch without a checkpoint is run and recorded again. Of several processes the first saves, all restore.
    SIGTERM and SIGINT are heeded between two steps, with a checkpoint (`medseg.training.stops.Stops`).

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
        self.stops = Stops(run_dir=Path(run_dir), evaluator=evaluator, save=self._save_last)

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.STARTED, self._tidy)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        self.stops.attach(engine)

    def save(self, engine: Any) -> None:
        """Write models/last.pt, and models/model.pt when this epoch is the best so far."""
        self._save_last(engine)
        if self.evaluator.state.best_metric_epoch == engine.state.epoch:
            self._save_best()
        self.stops.after_epoch(engine)

    def finish(self, engine: Any) -> None:
        """A run that ended before its first validation ships its last weights, so that it is a complete bundle."""
        if is_first() and self.evaluator.state.best_metric_epoch < 1:
            logger.warning("the run was never validated (validate_every): models/model.pt are its last weights")
            self._save_best()

    def restore(self, engine: Any, *, resume: bool) -> None:
        """Put the run back where its last whole checkpoint left it; nothing happens unless `resume`.

        For another number of epochs than it was started for, the schedule goes on as in a run of so many. A run that
        was killed behind its last epoch, before it was done, is brought to its end.

        Raises
        ------
        BundleError
            No checkpoint that is whole, one of another network, or one of a run that is finished.
        """
        if not resume:
            return
        epochs = engine.state.max_epochs
        state = resumable(self.folder, epochs=epochs)
        self._restore_parts(state, epochs=epochs)
        self._restore_engines(state, engine)
        if state["epoch"] == epochs:
            _Finish().attach(engine)
        steps = state.get("steps", 0)
        if state["best_metric_epoch"] == state["epoch"] and not steps:
            self._save_best()  # the run may have been killed behind last.pt and before model.pt
        begun = f" and step {steps} of the next" if steps else ""
        logger.info("resumed after epoch %d of %d%s", state["epoch"], epochs, begun)

    def _tidy(self, engine: Any) -> None:
        """Remove what a killed run had begun to write."""
        if is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            run = self.folder.parent
            for folder in filter(Path.is_dir, (self.folder, run, run / "configs")):
                SharedFolder(folder).close()

    def _save_best(self) -> None:
        if is_first():
            save_weights(self.evaluated.state_dict(), self.folder / "model.pt")

    def _save_last(self, engine: Any) -> None:
        randoms = gathered([random_states()])
        if is_first():
            save_checkpoint({**self._state(engine), "random_states": randoms}, self.folder)

    def _state(self, engine: Any) -> dict[str, Any]:
        validation = self.evaluator.state
        epochs, steps = divmod(engine.state.iteration, engine.state.epoch_length)
        network, evaluated, optimizer, scheduler = (part.state_dict() for part in self.parts.values())
        scaler = getattr(engine, "scaler", None)  # of MONAI's own step in float16; bfloat16 has none
        return {
            **dict(zip(_PARTS, (network, evaluated, optimizer, plain_parts("scheduler", scheduler)), strict=True)),
            "epoch": epochs,
            "steps": steps,
            "losses": epoch_losses(engine).values() if steps else [],
            "epochs": engine.state.max_epochs,
            "best_metric": float(validation.best_metric),
            "best_metric_epoch": int(validation.best_metric_epoch),
            "validated_epoch": int(getattr(validation, "epoch", 0)),
            "validation": {name: float(value) for name, value in getattr(validation, "metrics", {}).items()},
            "handlers": handler_states([engine, self.evaluator]),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def _restore_parts(self, state: Mapping[str, Any], *, epochs: int) -> None:
        rates = self._rates(state, epochs=epochs)
        for name, part in self.parts.items():
            if name == "scheduler" and rates is not None:
                continue
            try:
                part.load_state_dict(state[name])
            except (RuntimeError, KeyError, ValueError) as error:
                raise BundleError(
                    f"{self.folder / LAST}: the checkpoint does not fit the {name} of this run",
                    got=first_line(error),
                    next_step="resume with the settings that the run was started with",
                ) from error
        for group, rate in zip(self.parts["optimizer"].param_groups, rates or (), strict=False):
            group["lr"] = rate

    def _rates(self, state: Mapping[str, Any], *, epochs: int) -> list[float] | None:
        """Those behind the epochs that are done in a run of another length; None where it has the same."""
        started, scheduler = state.get("epochs", epochs), self.parts["scheduler"]
        if started == epochs or isinstance(scheduler, ReduceLROnPlateau):
            return None
        rates = rates_after(state["epoch"], scheduler)
        text = "started for %d epochs, resumed for %d: the learning rate goes on as in a run of %d epochs, at %g"
        logger.warning(text, started, epochs, epochs, rates[0])
        return rates

    def _restore_engines(self, state: Mapping[str, Any], engine: Any) -> None:
        length, epochs, steps = engine.state.epoch_length, engine.state.max_epochs, state.get("steps", 0)
        done = state["epoch"] * length + steps
        engine.load_state_dict({"iteration": done, "max_epochs": epochs, "epoch_length": length})
        validation = self.evaluator.state
        validation.best_metric, validation.best_metric_epoch = state["best_metric"], state["best_metric_epoch"]
        validation.epoch = state.get("validated_epoch", 0)
        getattr(validation, "metrics", {}).update(state.get("validation", {}))
        restore_handler_states([engine, self.evaluator], state.get("handlers", {}))
        if state.get("scaler") is not None:
            engine.add_event_handler(Events.STARTED, lambda _: engine.scaler.load_state_dict(state["scaler"]))
        if steps:
            epoch_losses(engine).go_on_from(state["losses"])
            _Rest(steps, _random_states(state)).attach(engine)
        else:
            restore_random_states(_random_states(state))


def resumable(folder: Path, *, epochs: int, quiet: bool = False) -> dict[str, Any]:
    """The checkpoint that a run of `epochs` epochs goes on from.

    Parameters
    ----------
    folder
        models/ of the run.
    quiet
        Do not tell of a damaged one that is passed over.

    Raises
    ------
    BundleError
        None that is whole, or one of a run that is finished.
    """
    state = load_checkpoint(folder, needed=(*_PARTS, *_REST), quiet=quiet)
    if state["epoch"] > epochs or (state["epoch"] == epochs and is_done(folder.parent)):
        raise BundleError(
            f"{folder / LAST}: the run is finished, there is nothing to resume",
            got=f"epoch {state['epoch']} of {epochs}",
            next_step="for more, give a larger number of epochs: epochs=...",
        )
    return state


class _Finish:
    """The end of a run whose epochs are all done: its handlers close it, and no step is taken.

    ignite begins a run anew whose epochs are done, so it is told of one more until it has started.
    """

    def attach(self, engine: Any) -> None:
        engine.state.max_epochs += 1
        engine.add_event_handler(Events.STARTED, self._end)

    def _end(self, engine: Any) -> None:
        engine.state.max_epochs -= 1
        engine.terminate()


class _Rest:
    """An epoch that goes on behind its first `steps` batches, and with the random states behind them.

    The batches are drawn again and dropped: any loader has them in the same order. Random states come last, since
    beginning with a loader takes a number of its own.
    """

    def __init__(self, steps: int, states: Mapping[str, Any]) -> None:
        self.steps, self.states = steps, states
        self._data: Any = None

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._skip)
        engine.add_event_handler(Events.ITERATION_STARTED, self._draw)

    def __iter__(self) -> Any:
        steps, self.steps = self.steps, 0
        return islice(iter(self._data), steps, None)

    def _skip(self, engine: Any) -> None:
        self._data = engine.state.dataloader
        engine.set_data(self)
        engine.remove_event_handler(self._skip, Events.GET_BATCH_STARTED)

    def _draw(self, engine: Any) -> None:
        restore_random_states(self.states)
        engine.remove_event_handler(self._draw, Events.ITERATION_STARTED)


def _random_states(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of this process; of fewer processes than now, none are known of the others."""
    states, rank = state.get("random_states", [{"torch": state.get("torch_random_state")}]), launched()[0]
    return states[rank] if rank < len(states) else {}
