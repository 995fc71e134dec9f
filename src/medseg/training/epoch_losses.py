"""The losses of the steps of an epoch, collected once for all who tell of them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from ignite.engine import Events

_OF_ENGINE: weakref.WeakKeyDictionary[Any, EpochLosses] = weakref.WeakKeyDictionary()


class EpochLosses:
    """The losses of the epoch that runs; they stay on their device, so that a step never waits for them."""

    def __init__(self) -> None:
        self._before: list[float] = []
        self._losses: list[torch.Tensor] = []

    def attach(self, engine: Any) -> None:
        """Begin anew with each epoch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)

    def mean(self) -> float:
        """Over the steps of the epoch so far, each in float64."""
        return float(torch.tensor(self.values(), dtype=torch.float64).mean())

    def values(self) -> list[float]:
        """The loss of each step of the epoch so far."""
        new = torch.stack(self._losses).double().tolist() if self._losses else []
        return [*self._before, *new]

    def go_on_from(self, values: list[float]) -> None:
        """Count `values` as the first steps of the epoch that the run will start with."""
        self._before = list(values)

    def _begin(self, engine: Any) -> None:
        if self._losses:
            self._before, self._losses = [], []

    def _collect(self, engine: Any) -> None:
        self._losses.append(engine.state.output["loss"])


def epoch_losses(engine: Any) -> EpochLosses:
    """The losses of `engine`, a trainer; the first call attaches what collects them."""
    if engine not in _OF_ENGINE:
        _OF_ENGINE[engine] = EpochLosses()
        _OF_ENGINE[engine].attach(engine)
    return _OF_ENGINE[engine]
