"""The share of the steps' time that is spent waiting for data: measured, kept, told."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medseg.training import DataWait, History
from medseg.training.legs import LegOver


class Clock:
    """Tells the time that it was told has passed."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(
    monkeypatch: pytest.MonkeyPatch,
    run_dir: Path,
    *,
    data: float,
    step: float,
    epochs: int = 2,
    workers: int = 0,
    device: str = "cpu",
    ended_by: BaseException | None = None,
) -> Any:
    """Epochs of four steps; `ended_by` is raised behind the first of them."""
    clock = Clock()
    monkeypatch.setattr("medseg.training.data_wait.time.perf_counter", clock)

    def batches() -> Any:
        for _ in range(4):
            clock.now += data
            yield {}

    def update(engine: Engine, batch: Any) -> dict[str, Any]:
        clock.now += step
        return {"loss": torch.tensor(1.0)}

    class Batches:
        num_workers = workers

        def __len__(self) -> int:
            return 4

        def __iter__(self) -> Any:
            return batches()

    engine: Any = Engine(update)
    engine.state.device = torch.device(device)
    engine.logger.disabled = True
    engine.optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    evaluator = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}))
    DataWait().attach(engine)

    def validate(_: Engine) -> None:
        clock.now += 1000.0
        if ended_by is not None:
            raise ended_by

    History(run_dir=str(run_dir), evaluator=evaluator, plots=False).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    engine.run(Batches(), max_epochs=epochs)
    return engine


def test_the_share_is_of_the_steps_alone_and_stands_in_the_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(monkeypatch, tmp_path, data=2.0, step=6.0)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["data_wait"] for row in rows] == ["0.25", "0.25"]
    assert "waiting for data: 25.0 % of the steps' time (16.0 of 64.0 s)" in caplog.text
    assert "workers=2" in caplog.text


def test_little_waiting_needs_no_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(monkeypatch, tmp_path, data=0.01, step=0.99, epochs=1)
    assert "waiting for data: 1.0 %" in caplog.text
    assert "workers" not in caplog.text


@pytest.mark.parametrize("end", [LegOver(10), SystemExit(143), KeyboardInterrupt()], ids=["leg", "SIGTERM", "SIGINT"])
def test_a_part_of_a_run_that_is_stopped_tells_its_share_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, end: BaseException
) -> None:
    with pytest.raises(type(end)):
        run(monkeypatch, tmp_path, data=5.0, step=5.0, ended_by=end)
    assert caplog.text.count("waiting for data: 50.0 % of the steps' time (20.0 of 40.0 s)") == 1
    assert "workers=2" in caplog.text


@pytest.mark.parametrize(
    ("workers", "device", "advice"),
    [
        (0, "cpu", "workers=2 would help where"),
        (3, "cpu", "more workers (workers=6 instead of 3) would help where"),
        (2, "cuda", "more workers (workers=4 instead of 2), or augmentation on the GPU (--overlay gpu_augmentation"),
    ],
)
def test_the_advice_goes_beyond_what_the_run_has(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    workers: int,
    device: str,
    advice: str,
) -> None:
    run(monkeypatch, tmp_path, data=2.0, step=6.0, workers=workers, device=device)
    assert advice in caplog.text
    assert ("gpu_augmentation" in caplog.text) == (device == "cuda")
