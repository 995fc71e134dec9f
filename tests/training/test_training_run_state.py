"""What a resumed run needs besides weights: random numbers, and what handlers, schedules and scalers remember."""

from __future__ import annotations

import random
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping, EMAHandler
from monai.handlers import EarlyStopHandler
from monai.utils import set_determinism
from training_parts import difference

from medseg.training import Checkpoints
from medseg.training.run_state import plain, random_states, restore_random_states

LEGACY = np.random  # what the transforms of others draw from


def drawn() -> list[float]:
    """Two numbers of each source; of the second normal one, generators keep a half from the first."""
    return [
        *(random.random(), random.gauss(0, 1)),
        *(float(LEGACY.normal()), float(LEGACY.rand())),
        *torch.rand(2).tolist(),
        *torch.randn(1).tolist(),
    ]


def test_random_numbers_of_python_numpy_and_torch_go_on(tmp_path: Path) -> None:
    random.gauss(0, 1)
    LEGACY.normal()
    torch.save(random_states(), tmp_path / "states.pt")
    expected = drawn()
    drawn()
    restore_random_states(torch.load(tmp_path / "states.pt", weights_only=True))
    assert drawn() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        ((1, (2, None)), [1, [2, None]]),
        ({"a": np.arange(2), 3: True}, {"a": [0, 1], 3: True}),
        ("text", "text"),
        ([], []),
    ],
    ids=["a number of NumPy", "tuples", "an array in a dictionary", "text", "nothing"],
)
def test_a_state_is_made_of_what_loads_without_running_code(value: Any, expected: Any, tmp_path: Path) -> None:
    torch.save(plain(value), tmp_path / "value.pt")
    assert torch.load(tmp_path / "value.pt", weights_only=True) == expected


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="a PosixPath"):
        plain({"where": Path("here")})


class Run:
    """A network of one weight that follows random numbers; each epoch is scored by the given numbers."""

    def __init__(self, folder: Path, scores: list[float], handlers: tuple[str, ...], epochs: int) -> None:
        set_determinism(seed=0)
        self.network = torch.nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, mode="max", factor=0.5, patience=1)
        self.average = EMAHandler(self.network, momentum=0.01, momentum_warmup=0.5, warmup_iters=10)
        self.evaluator = SimpleNamespace(state=SimpleNamespace(best_metric=-1.0, best_metric_epoch=-1, metrics={}))
        self.engine, self.scores = Engine(self._step), scores
        self.engine.state.max_epochs, self.engine.state.epoch_length = epochs, 2
        self.average.attach(self.engine)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)
        for name in handlers:
            getattr(self, name)()
        self.checkpoints = Checkpoints(
            run_dir=str(folder),
            network=self.network,
            evaluated=self.average.ema_model,
            evaluator=self.evaluator,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
        )
        self.checkpoints.attach(self.engine)

    def go(self, *, resume: bool) -> Run:
        self.checkpoints.restore(self.engine, resume=resume)
        self.engine.run([0, 1], max_epochs=self.engine.state.max_epochs)
        return self

    def ignites(self) -> None:
        self.engine.add_event_handler(
            Events.EPOCH_COMPLETED, EarlyStopping(patience=3, score_function=self._score, trainer=self.engine)
        )

    def monais(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # MONAI names an argument as ignite used to
            stop = EarlyStopHandler(patience=3, score_function=self._score, trainer=self.engine)
        stop.attach(self.engine)

    def filtered(self) -> None:
        stop = EarlyStopping(patience=2, score_function=self._score, trainer=self.engine)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), stop)

    def scaled(self) -> None:
        """MONAI's trainer makes one as it starts, where amp is on."""
        self.engine.add_event_handler(Events.STARTED, self._new_scaler)
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self._scale())

    def _new_scaler(self, engine: Any) -> None:
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)

    def _scale(self) -> None:
        self.engine.scaler.scale(torch.ones(1))
        self.engine.scaler.update(self.engine.scaler.get_scale() * 1.5)

    def _score(self, _: Any) -> np.float64:
        return np.float64(self.evaluator.state.metrics["dice"])

    def _step(self, engine: Any, _: Any) -> dict[str, torch.Tensor]:
        noise = random.random() + float(LEGACY.rand())
        loss = (self.network(torch.rand(1)) - noise).square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def _validate(self, engine: Any) -> None:
        self.evaluator.state.metrics["dice"] = score = self.scores[engine.state.epoch - 1]
        self.scheduler.step(score)
        if score > self.evaluator.state.best_metric:
            self.evaluator.state.best_metric, self.evaluator.state.best_metric_epoch = score, engine.state.epoch


SCORES = [0.1, 0.3, 0.2, 0.2, 0.2, 0.4, 0.5, 0.6]
"""Without gain in epochs 3, 4, 5: patience 3 ends the run there; who forgets the count goes on."""


@pytest.mark.parametrize("left", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("handler", "last"), [(None, 8), ("ignites", 5), ("monais", 5), ("filtered", 8), ("scaled", 8)], ids=str
)
def test_a_run_left_behind_any_epoch_ends_like_the_whole_one(
    handler: str | None, last: int, left: int, tmp_path: Path
) -> None:
    handlers = () if handler is None else (handler,)
    whole = Run(tmp_path / "whole", SCORES, handlers, 8).go(resume=False)
    Run(tmp_path / "left", SCORES, handlers, left).go(resume=False)
    resumed = Run(tmp_path / "left", SCORES, handlers, 8).go(resume=True)
    assert resumed.engine.state.epoch == whole.engine.state.epoch == last
    assert resumed.engine.state.ema_momentum == whole.engine.state.ema_momentum
    states = [torch.load(tmp_path / name / "models" / "last.pt", weights_only=True) for name in ("whole", "left")]
    assert difference(*states) == []


def test_handlers_that_changed_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Run(tmp_path, SCORES, ("ignites",), 2).go(resume=False)
    Run(tmp_path, SCORES, (), 3).go(resume=True)
    assert "EarlyStopping: only in one of the run and its checkpoint" in caplog.text


def stopped(run: Run, event: Any, *, resume: bool) -> dict[str, Any]:
    """SIGTERM comes to `run` at `event`, it ends, and this is its checkpoint."""
    requests = run.checkpoints.stops.requests
    run.engine.add_event_handler(event, lambda _: setattr(requests, "signal", signal.SIGTERM))
    try:
        with pytest.raises(SystemExit, match="143"):
            run.go(resume=resume)
    finally:
        requests.release()
    return torch.load(run.checkpoints.folder / "last.pt", weights_only=True)


def test_a_run_resumed_within_an_epoch_and_stopped_before_its_first_step_keeps_its_checkpoint(tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.3]
    whole = Run(tmp_path / "whole", scores, (), 3).go(resume=False)
    within = stopped(Run(tmp_path / "legs", scores, (), 3), Events.ITERATION_COMPLETED(once=3), resume=False)
    assert (within["epoch"], within["steps"]) == (1, 1)
    again = stopped(Run(tmp_path / "legs", scores, (), 3), Events.STARTED, resume=True)
    assert difference(again, within) == []
    last = Run(tmp_path / "legs", scores, (), 3).go(resume=True)
    assert torch.equal(last.network.weight, whole.network.weight)
